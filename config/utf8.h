// UTF-8: whether a text is well formed, and columns counted in characters.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace lbd::config {

/// Offset of the first byte that is not well-formed UTF-8 (RFC 3629: no surrogates, nothing
/// overlong) or is a control character other than tab, CR and LF.
[[nodiscard]] std::optional<std::size_t> find_bad_utf8(std::string_view text);

/// Characters in a well-formed text.
[[nodiscard]] std::size_t count_characters(std::string_view text);

}  // namespace lbd::config
