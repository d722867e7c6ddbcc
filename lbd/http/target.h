// Request targets and authorities (RFC 9112 §3.2, RFC 3986).
#pragma once

#include "lbd/http/message.h"

namespace lbd::http {

/// host or host:port as RFC 3986 has them, without user information; an empty one too. IPv6 in
/// brackets. No commas, although the grammar has them: some readers take a list.
[[nodiscard]] bool is_authority(std::string_view text) noexcept;

/// An authority without its port.
[[nodiscard]] std::string_view host_of(std::string_view authority) noexcept;

/// Splits `out.target` into authority, path and query, in origin-form, absolute-form or "*", and
/// notes in `out.desync` what is odd about it. False: not a target we accept.
[[nodiscard]] bool split_target(RequestHead& out) noexcept;

/// True for a name that some readers take for that of a field which frames, routes or vouches for a
/// message, although it is another one: Content_Length, Transfer-Encoding., X_Forwarded_For. Cheap
/// for the names there are: only the odd ones are folded.
[[nodiscard]] bool is_lookalike(std::string_view name) noexcept;
/// As is_lookalike, of Content-Length and Transfer-Encoding only.
[[nodiscard]] bool looks_like_framing(std::string_view name) noexcept;

}  // namespace lbd::http
