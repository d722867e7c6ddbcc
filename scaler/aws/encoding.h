// The encodings AWS's protocols are made of: hex, URI encoding, forms and ISO 8601 times. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lbd/base/clock.h"

namespace lbd::aws {

/// Lower case.
[[nodiscard]] std::string hex(std::string_view bytes);

/// Percent-encodes all but letters, digits, "-_.~" and what is in `safe`; upper-case hex.
[[nodiscard]] std::string uri_encode(std::string_view text, std::string_view safe = "");
/// Undoes %XX; what is no escape stays as it is.
[[nodiscard]] std::string uri_decode(std::string_view text);

/// The parameters of a query-protocol call, in the order they were added.
using Form = std::vector<std::pair<std::string, std::string>>;
/// As HTML forms are encoded, a blank as "+": byte for byte what AWS's own clients send.
[[nodiscard]] std::string form_body(const Form& form);

/// "20260102T030405Z"
[[nodiscard]] std::string basic_time(WallTime when);
/// "2026-01-02T03:04:05Z"
[[nodiscard]] std::string iso_time(WallTime when);
/// "2026-01-02T03:04:05[.678](Z|+01:00)"; nothing when it is something else.
[[nodiscard]] std::optional<WallTime> parse_iso_time(std::string_view text);
/// "Fri, 02 Jan 2026 03:04:05 GMT" (RFC 9110's preferred form only).
[[nodiscard]] std::optional<WallTime> parse_http_date(std::string_view text);

}  // namespace lbd::aws
