#include "lbd/worker/log_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace lbd::worker {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";

/// Bytes above ASCII may be any encoding: escaped as Latin-1, so that the line is always valid
/// JSON.
constexpr std::array<std::uint8_t, 256> make_escaped_sizes() {
  std::array<std::uint8_t, 256> sizes{};
  for (std::size_t byte = 0; byte < sizes.size(); ++byte) {
    sizes[byte] = byte < 0x20 || byte >= 0x7f ? 6 : 1;
  }
  sizes['"'] = sizes['\\'] = 2;
  return sizes;
}
constexpr std::array<std::uint8_t, 256> kEscapedSize = make_escaped_sizes();

bool is_plain(char c, bool blanks) noexcept {
  return (c > ' ' || (c == ' ' && blanks)) && c < 0x7f && c != '"' && c != '\\';
}

}  // namespace

void Line::begin(std::string_view key) noexcept {
  if (at_ == start_) {
    put('{');
  } else if (at_[-1] != '{' && at_[-1] != '[') {
    put(',');
  }
  put('"');
  raw(key);
  raw("\":");
}

void Line::text(std::string_view key, std::string_view value, std::size_t bytes_max) noexcept {
  begin(key);
  put('"');
  const char* limit = at_ + std::min(bytes_max, room());
  for (const char c : value) {
    const std::size_t size = kEscapedSize[static_cast<unsigned char>(c)];
    if (size > static_cast<std::size_t>(limit - at_)) {
      raw(kJsonCut);
      break;
    }
    escaped(c, size);
  }
  put('"');
}

void Line::number(std::string_view key, std::uint64_t value) noexcept {
  begin(key);
  decimal(value);
}

void Line::seconds(std::string_view key, std::uint64_t us) noexcept {
  begin(key);
  const auto end = fmt::format_to_n(at_, room(), "{}.{:06}", us / 1'000'000, us % 1'000'000);
  at_ += std::min<std::size_t>(end.size, room());
}

void Line::flag(std::string_view key, bool value) noexcept {
  begin(key);
  raw(value ? "true" : "false");
}

void Line::decimal(std::uint64_t value) noexcept {
  const auto end = fmt::format_to_n(at_, room(), "{}", value);
  at_ += std::min<std::size_t>(end.size, room());
}

void Line::milliseconds(std::uint64_t us) noexcept {
  const std::uint64_t ms = us / 1000;
  const auto end = fmt::format_to_n(at_, room(), "{}.{:03}", ms / 1000, ms % 1000);
  at_ += std::min<std::size_t>(end.size, room());
}

void Line::raw(std::string_view text) noexcept {
  const std::size_t size = std::min(text.size(), room());
  std::memcpy(at_, text.data(), size);
  at_ += size;
}

/// There is room.
void Line::escaped(char c, std::size_t size) noexcept {
  if (size == 1) {
    *at_++ = c;
    return;
  }
  *at_++ = '\\';
  if (size == 2) {
    *at_++ = c;
    return;
  }
  const auto byte = static_cast<unsigned char>(c);
  for (const char each : {'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]}) *at_++ = each;
}

void Line::plain(std::string_view value, std::size_t bytes_max, bool blanks) noexcept {
  if (value.empty()) return raw("-");
  const char* limit = at_ + std::min(bytes_max, room());
  for (const char c : value) {
    const bool as_it_is = is_plain(c, blanks);
    if ((as_it_is ? 1 : 4) > limit - at_) {
      raw(kTextCut);
      return;
    }
    if (as_it_is) {
      *at_++ = c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    for (const char each : {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]}) *at_++ = each;
  }
}

}  // namespace lbd::worker
