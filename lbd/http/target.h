// Parts of a request-target, as strictly as they can be read.
#pragma once

#include <string_view>

namespace lbd::http {

/// A host with an optional port, of visible ASCII without user information or anything that some
/// reader could take for the start of a path.
[[nodiscard]] bool is_authority(std::string_view text) noexcept;

struct PathAndQuery {
  std::string_view path;
  std::string_view query;  // without '?'
};
/// Splits an origin-form target, "/path?query", that is_request_target holds for.
[[nodiscard]] PathAndQuery split_origin_form(std::string_view target) noexcept;
/// Visible ASCII without a fragment.
[[nodiscard]] bool is_request_target(std::string_view text) noexcept;

}  // namespace lbd::http
