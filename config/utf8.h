// UTF-8: whether a text is well formed, and columns counted in characters.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace lbd::config {

/// Offset of the first byte that is not well-formed UTF-8 (RFC 3629: no surrogates, nothing
/// overlong) or is a control character (C0, DEL, C1) other than tab, CR and LF.
[[nodiscard]] std::optional<std::size_t> find_bad_utf8(std::string_view text);

/// What find_bad_utf8() found: "control character 0x1B" or "byte 0xFF that is not UTF-8".
[[nodiscard]] std::string describe_bad_utf8(std::string_view text, std::size_t offset);

/// Characters in a well-formed text.
[[nodiscard]] std::size_t count_characters(std::string_view text);

/// A text as it may be shown on one line of a terminal or a log: control characters, what is not
/// UTF-8, line separators and marks that reorder text (bidirectional controls, CVE-2021-42574)
/// become
/// '?', tab, CR and LF a space; cut with '…' after kShownLineBytesMax bytes.
[[nodiscard]] std::string shown_text(std::string text);
inline constexpr std::size_t kShownLineBytesMax = 2000;

}  // namespace lbd::config
