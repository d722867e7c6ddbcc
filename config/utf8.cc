#include "config/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace lbd::config {
namespace {

struct Character {
  std::size_t length = 0;  // 0: there is no well-formed one
  std::uint32_t code = 0;
};

/// The character at the start of a text that is not empty.
Character first_character(std::string_view text) {
  const auto byte = [text](std::size_t i) -> std::uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto first = byte(0);
  if (first < 0x80) {
    return {1, first};
  }
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return {};
  std::uint32_t code = first & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {};
    code = (code << 6U) | (byte(i) & 0x3FU);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (overlong || surrogate || code > 0x10FFFF) return {};
  return {length, code};
}

bool is_control(std::uint32_t code) { return code < 0x20 || (code >= 0x7F && code <= 0x9F); }

bool is_space(std::uint32_t code) { return code == '\t' || code == '\n' || code == '\r'; }

/// Line and paragraph separators; marks, embeddings, overrides and isolates of direction.
bool is_disruptive(std::uint32_t code) {
  return code == 0x200E || code == 0x200F || code == 0x061C || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF;
}

}  // namespace

std::optional<std::size_t> find_bad_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto [length, code] = first_character(text.substr(i));
    if (length == 0 || (is_control(code) && !is_space(code))) return i;
    i += length;
  }
  return std::nullopt;
}

std::string describe_bad_utf8(std::string_view text, std::size_t offset) {
  const auto [length, code] = first_character(text.substr(offset));
  if (length > 0) return fmt::format("control character 0x{:02X}", code);
  return fmt::format("byte 0x{:02X} that is not UTF-8", static_cast<unsigned char>(text[offset]));
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

std::string shown_text(std::string text) {
  const auto plain = [](char c) { return c >= ' ' && c <= '~'; };
  if (text.size() <= kShownLineBytesMax && std::all_of(text.begin(), text.end(), plain))
    return text;
  std::string shown;
  for (std::size_t i = 0; i < text.size();) {
    if (shown.size() >= kShownLineBytesMax) return shown + "…";
    const auto [length, code] = first_character(std::string_view(text).substr(i));
    if (is_space(code)) {
      shown += ' ';
    } else if (length == 0 || is_control(code) || is_disruptive(code)) {
      shown += '?';
    } else {
      shown.append(text, i, length);
    }
    i += std::max<std::size_t>(length, 1);
  }
  return shown;
}

}  // namespace lbd::config
