#include "scaler/aws/encoding.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace lbd::aws {
namespace {

constexpr std::string_view kUpperHex = "0123456789ABCDEF";
constexpr std::string_view kLowerHex = "0123456789abcdef";

bool unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == '~';
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// A fixed number of digits at `at`, moved past them.
std::optional<int> digits(std::string_view text, std::size_t& at, std::size_t count) {
  if (at + count > text.size()) return std::nullopt;
  int value = 0;
  const char* first = text.data() + at;
  const auto [end, error] = std::from_chars(first, first + count, value);
  if (error != std::errc() || end != first + count || *first == '-') return std::nullopt;
  at += count;
  return value;
}

bool skip(std::string_view text, std::size_t& at, std::string_view what) {
  if (!text.substr(std::min(at, text.size())).starts_with(what)) return false;
  at += what.size();
  return true;
}

struct CivilTime {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
};

std::optional<WallTime> to_wall(const CivilTime& civil) {
  const std::chrono::year_month_day date{std::chrono::year(civil.year),
                                         std::chrono::month(static_cast<unsigned>(civil.month)),
                                         std::chrono::day(static_cast<unsigned>(civil.day))};
  const bool in_day = civil.hour < 24 && civil.minute < 60 && civil.second <= 60;
  // WallTime counts nanoseconds: it ends in 2262.
  if (!date.ok() || !in_day || civil.year < 1970 || civil.year > 2200) return std::nullopt;
  return WallTime(std::chrono::sys_days(date)) + std::chrono::hours(civil.hour) +
         std::chrono::minutes(civil.minute) + std::chrono::seconds(civil.second);
}

bool take_clock(std::string_view text, std::size_t& at, CivilTime& civil) {
  const std::optional<int> hour = digits(text, at, 2);
  if (!hour || !skip(text, at, ":")) return false;
  const std::optional<int> minute = digits(text, at, 2);
  if (!minute || !skip(text, at, ":")) return false;
  const std::optional<int> second = digits(text, at, 2);
  if (!second) return false;
  civil.hour = *hour;
  civil.minute = *minute;
  civil.second = *second;
  return true;
}

CivilTime civil_time(WallTime when) {
  const auto day = std::chrono::floor<std::chrono::days>(when);
  const std::chrono::year_month_day date(day);
  const auto second = std::chrono::floor<std::chrono::seconds>(when - day).count();
  return CivilTime{static_cast<int>(date.year()),
                   static_cast<int>(static_cast<unsigned>(date.month())),
                   static_cast<int>(static_cast<unsigned>(date.day())),
                   static_cast<int>(second / 3600),
                   static_cast<int>(second / 60 % 60),
                   static_cast<int>(second % 60)};
}

}  // namespace

std::string hex(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kLowerHex[byte >> 4];
    text += kLowerHex[byte & 15U];
  }
  return text;
}

std::string uri_encode(std::string_view text, std::string_view safe) {
  std::string made;
  made.reserve(text.size());
  for (const char c : text) {
    if (unreserved(c) || safe.find(c) != std::string_view::npos) {
      made += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    made += '%';
    made += kUpperHex[byte >> 4];
    made += kUpperHex[byte & 15U];
  }
  return made;
}

std::string uri_decode(std::string_view text) {
  std::string made;
  made.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low < 0) {
      made += text[i];
      continue;
    }
    made += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return made;
}

std::string form_body(const Form& form) {
  std::string body;
  const auto add = [&body](const std::string& text) {
    for (const char c : uri_encode(text, " ")) body += c == ' ' ? '+' : c;
  };
  for (const auto& [key, value] : form) {
    if (!body.empty()) body += '&';
    add(key);
    body += '=';
    add(value);
  }
  return body;
}

std::string basic_time(WallTime when) {
  const CivilTime t = civil_time(when);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", t.year, t.month, t.day, t.hour, t.minute,
                     t.second);
}

std::string iso_time(WallTime when) {
  const CivilTime t = civil_time(when);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", t.year, t.month, t.day, t.hour,
                     t.minute, t.second);
}

std::optional<WallTime> parse_iso_time(std::string_view text) {
  std::size_t at = 0;
  CivilTime civil;
  const std::optional<int> year = digits(text, at, 4);
  if (!year || !skip(text, at, "-")) return std::nullopt;
  const std::optional<int> month = digits(text, at, 2);
  if (!month || !skip(text, at, "-")) return std::nullopt;
  const std::optional<int> day = digits(text, at, 2);
  if (!day || !(skip(text, at, "T") || skip(text, at, " "))) return std::nullopt;
  civil.year = *year;
  civil.month = *month;
  civil.day = *day;
  if (!take_clock(text, at, civil)) return std::nullopt;
  if (skip(text, at, ".")) {
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
  }
  const std::optional<WallTime> when = to_wall(civil);
  if (!when) return std::nullopt;
  const std::string_view zone = text.substr(std::min(at, text.size()));
  if (zone == "Z" || zone.empty()) return when;
  const int sign = zone.front() == '-' ? -1 : 1;
  if (zone.front() != '+' && zone.front() != '-') return std::nullopt;
  ++at;
  const std::optional<int> hours = digits(text, at, 2);
  skip(text, at, ":");
  const std::optional<int> minutes = digits(text, at, 2);
  if (!hours || !minutes || at != text.size()) return std::nullopt;
  return *when - sign * (std::chrono::hours(*hours) + std::chrono::minutes(*minutes));
}

std::optional<WallTime> parse_http_date(std::string_view text) {
  constexpr std::array<std::string_view, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::size_t at = 3;  // the day's name
  CivilTime civil;
  if (!skip(text, at, ", ")) return std::nullopt;
  const std::optional<int> day = digits(text, at, 2);
  if (!day || !skip(text, at, " ")) return std::nullopt;
  for (const std::string_view each : kMonths) {
    ++civil.month;
    if (skip(text, at, each)) break;
  }
  if (!skip(text, at, " ")) return std::nullopt;
  const std::optional<int> year = digits(text, at, 4);
  if (!year || !skip(text, at, " ")) return std::nullopt;
  civil.day = *day;
  civil.year = *year;
  if (!take_clock(text, at, civil) || !skip(text, at, " GMT")) return std::nullopt;
  return to_wall(civil);
}

}  // namespace lbd::aws
