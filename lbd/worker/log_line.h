// Lines of the access log, made in storage that holds any record.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "config/config.h"
#include "lbd/proxy/record.h"

namespace lbd::worker {

// What one value may take up in a line, its escapes included; a longer one is cut and marked, so
// that a line is never dropped for its length.
constexpr std::size_t kLongBytesMax = 2048;  // what clients choose freely: target, user agent
constexpr std::size_t kHostBytesMax = 512;
constexpr std::size_t kNameBytesMax = 256;
constexpr std::size_t kShortBytesMax = 64;  // times, addresses, methods, reasons

/// Where a value was cut: what no value can hold, as both quote `\` and bytes above ASCII.
constexpr std::string_view kJsonCut = "\\u2026";
constexpr std::string_view kTextCut = "\\...";

/// The most that any format makes of any record: keys and numbers, and each text as long as it may
/// be.
constexpr std::size_t kKeysBytesMax = 896;
constexpr std::size_t kAttemptBytesMax = 192 + 2 * (kShortBytesMax + kJsonCut.size());
constexpr std::size_t kLineBytesMax =
    kKeysBytesMax + 4 * (kLongBytesMax + kJsonCut.size()) + 2 * (kHostBytesMax + kJsonCut.size()) +
    7 * (kNameBytesMax + kJsonCut.size()) + 11 * (kShortBytesMax + kJsonCut.size()) +
    proxy::RequestRecord::kAttemptsMax * kAttemptBytesMax;

using LineStorage = std::array<char, kLineBytesMax>;

/// A line under construction.
class Line {
 public:
  explicit Line(LineStorage& storage) noexcept
      : start_(storage.data()), at_(start_), end_(start_ + storage.size()) {}

  // JSON: members of an object.
  void begin(std::string_view key) noexcept;
  void text(std::string_view key, std::string_view value, std::size_t bytes_max) noexcept;
  void number(std::string_view key, std::uint64_t value) noexcept;
  void seconds(std::string_view key, std::uint64_t us) noexcept;
  void flag(std::string_view key, bool value) noexcept;

  // Plain text. What is empty is "-"; what could end a field or a line is `\xHH`.
  /// Within quotes that the caller writes: blanks stay.
  void quoted(std::string_view value, std::size_t bytes_max) noexcept {
    plain(value, bytes_max, true);
  }
  /// A field between blanks.
  void word(std::string_view value, std::size_t bytes_max) noexcept {
    plain(value, bytes_max, false);
  }
  void decimal(std::uint64_t value) noexcept;
  /// With three digits behind the point.
  void milliseconds(std::uint64_t us) noexcept;

  void raw(std::string_view text) noexcept;
  [[nodiscard]] std::string_view view() const noexcept {
    return {start_, static_cast<std::size_t>(at_ - start_)};
  }

 private:
  void put(char c) noexcept {
    if (room() > 0) *at_++ = c;
  }
  void escaped(char c, std::size_t size) noexcept;
  void plain(std::string_view value, std::size_t bytes_max, bool blanks) noexcept;
  [[nodiscard]] std::size_t room() const noexcept { return static_cast<std::size_t>(end_ - at_); }

  char* start_;
  char* at_;
  char* end_;
};

/// Writes a record as one line, its line feed included.
using LineFormat = void (*)(const proxy::RequestRecord& record, Line& line);
[[nodiscard]] LineFormat line_format(config::LogFormat format) noexcept;

}  // namespace lbd::worker
