#include "config/scalars.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

namespace lbd::config {
namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr double kNumberMax = 1e15;

struct Unit {
  std::string_view name;
  double factor;
};
constexpr std::array kDurationUnits{Unit{"ms", 1}, Unit{"s", 1e3}, Unit{"m", 60e3},
                                    Unit{"h", 3600e3}, Unit{"d", 86400e3}};
constexpr std::array kSizeUnits{
    Unit{"B", 1},    Unit{"KiB", 1024}, Unit{"MiB", 1048576.0}, Unit{"GiB", 1073741824.0},
    Unit{"KB", 1e3}, Unit{"MB", 1e6},   Unit{"GB", 1e9}};

/// The number at the front of "30s" and what follows it.
Outcome<std::pair<double, std::string_view>> split_number(std::string_view text) {
  const auto end = std::min(text.find_first_not_of("0123456789."), text.size());
  auto number = parse_number(text.substr(0, end));
  if (!number) return number.error();
  return std::pair{*number, text.substr(end)};
}

template <std::size_t N>
Outcome<double> scaled(std::string_view text, const std::array<Unit, N>& units) {
  const auto split = split_number(text);
  if (!split) return failure("");
  if (split->second.empty() && split->first == 0) return 0.0;
  for (const auto& unit : units) {
    if (unit.name == split->second) return split->first * unit.factor;
  }
  return failure(split->second.empty() ? "no unit" : "unit");
}

Outcome<std::uint16_t> parse_port(std::string_view text) {
  const auto port = parse_whole(text);
  if (!port || *port > 65535) return failure("a port from 0 to 65535");
  return static_cast<std::uint16_t>(*port);
}

}  // namespace

Outcome<std::uint64_t> parse_whole(std::string_view text) {
  constexpr std::size_t kDigitsMax = 18;
  const bool digits = !text.empty() && text.find_first_not_of(kDigits) == std::string_view::npos;
  const bool leading_zero = text.size() > 1 && text.front() == '0';
  if (!digits || leading_zero) return failure("a whole number");
  if (text.size() > kDigitsMax) return failure("a smaller number");
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Outcome<double> parse_number(std::string_view text) {
  const auto point = text.find('.');
  const auto whole = parse_whole(text.substr(0, point));
  if (!whole) return failure("a number");
  if (point == std::string_view::npos) return static_cast<double>(*whole);
  const auto fraction = text.substr(point + 1);
  if (fraction.empty() || fraction.find_first_not_of(kDigits) != std::string_view::npos) {
    return failure("a number");
  }
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  if (!(value < kNumberMax)) return failure("a smaller number");
  return value;
}

Outcome<milliseconds> parse_duration(std::string_view text) {
  const auto value = scaled(text, kDurationUnits);
  if (!value) return failure("a duration with its unit, such as 250ms, 30s, 5m, 2h or 1d");
  constexpr double kDurationMax = 10.0 * 365 * 86400e3;
  if (*value > kDurationMax) return failure("a duration of at most ten years");
  const auto rounded = std::llround(*value);
  if (std::abs(static_cast<double>(rounded) - *value) > 1e-6) {
    return failure("a duration of whole milliseconds");
  }
  return milliseconds(rounded);
}

Outcome<std::uint64_t> parse_size(std::string_view text) {
  const auto value = scaled(text, kSizeUnits);
  if (!value) return failure("a size with its unit, such as 512B, 16KiB, 1MiB or 10MB");
  constexpr double kSizeMax = 1e15;
  if (*value > kSizeMax) return failure("a smaller size");
  return static_cast<std::uint64_t>(std::llround(*value));
}

Outcome<double> parse_ratio(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  const auto number = parse_number(text);
  if (!number) return failure("a percentage such as 90%, or a ratio such as 0.9");
  const double value = percent ? *number / 100 : *number;
  return negative ? -value : value;
}

Outcome<std::string> parse_ip(std::string_view text) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  std::array<char, INET6_ADDRSTRLEN> canonical{};
  const std::string name(text);
  if (name.find('\0') != std::string::npos) return failure("an IPv4 or IPv6 address");
  for (const int family : {AF_INET, AF_INET6}) {
    if (::inet_pton(family, name.c_str(), bytes.data()) != 1) continue;
    ::inet_ntop(family, bytes.data(), canonical.data(), canonical.size());
    return {boost::system::in_place_value, canonical.data()};
  }
  return failure("an IPv4 or IPv6 address");
}

Outcome<Address> parse_address(std::string_view text, std::uint16_t default_port) {
  const std::string expected =
      default_port == 0 ? "an address such as 10.0.1.10:8080 or [2001:db8::1]:8080"
                        : "an address such as 10.0.1.10, 10.0.1.10:8080 or [2001:db8::1]:8080";
  std::string_view ip = text;
  std::string_view port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return failure(expected);
    ip = text.substr(1, end - 1);
    if (ip.find(':') == std::string_view::npos) return failure(expected);
    const auto rest = text.substr(end + 1);
    if (!rest.empty() && !rest.starts_with(':')) return failure(expected);
    port = rest.empty() ? rest : rest.substr(1);
    if (port.empty() && !rest.empty()) return failure(expected);
  } else if (text.find(':') == text.rfind(':') && text.find(':') != std::string_view::npos) {
    ip = text.substr(0, text.find(':'));
    port = text.substr(text.find(':') + 1);
    if (port.empty()) return failure(expected);
  }
  auto address = parse_ip(ip);
  if (!address || (port.empty() && default_port == 0)) return failure(expected);
  if (port.empty()) return Address{std::move(*address), default_port};
  const auto number = parse_port(port);
  if (!number) return number.error();
  return Address{std::move(*address), *number};
}

Outcome<Address> parse_unix_address(std::string_view path) {
  constexpr std::size_t kPathMax = 107;  // of a Unix socket's address
  if ((!path.starts_with('/') && !path.starts_with('@')) || path.size() < 2) {
    return failure("a path such as unix:/run/app.sock, or unix:@app for an abstract name");
  }
  if (path.size() > kPathMax) return failure(fmt::format("a path of at most {} bytes", kPathMax));
  if (path.find('\0') != std::string_view::npos) return failure("a path without NUL");
  return Address{{}, 0, std::string(path)};
}

Outcome<Cidr> parse_cidr(std::string_view text) {
  const auto slash = text.find('/');
  auto ip = parse_ip(text.substr(0, slash));
  if (!ip) return failure("a network such as 10.0.0.0/8 or fd00::/8");
  const int bits_max = ip->find(':') == std::string::npos ? 32 : 128;
  if (slash == std::string_view::npos) return Cidr{std::move(*ip), bits_max};
  const auto bits = parse_whole(text.substr(slash + 1));
  if (!bits || *bits > static_cast<std::uint64_t>(bits_max)) {
    return failure(fmt::format("a prefix of 0 to {} bits", bits_max));
  }
  return Cidr{std::move(*ip), static_cast<int>(*bits)};
}

Outcome<std::vector<CodeRange>> parse_codes(std::string_view text) {
  std::vector<CodeRange> codes;
  const auto code = [](std::string_view word) -> int {
    const auto number = parse_whole(word);
    return number && *number >= 100 && *number <= 599 ? static_cast<int>(*number) : 0;
  };
  while (true) {
    const auto comma = text.find(',');
    auto word = text.substr(0, comma);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    const auto dash = word.find('-');
    const int first = code(word.substr(0, dash));
    const int last = dash == std::string_view::npos ? first : code(word.substr(dash + 1));
    if (first == 0 || last == 0 || last < first) {
      return failure("status codes from 100 to 599, such as 200, \"200-299\" or \"200-299,404\"");
    }
    codes.push_back({first, last});
    if (comma == std::string_view::npos) return codes;
    text.remove_prefix(comma + 1);
  }
}

bool is_token(std::string_view text) {
  static constexpr std::string_view kTokenPunctuation = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           kTokenPunctuation.find(c) != std::string_view::npos;
  });
}

std::string duration_text(milliseconds duration) {
  const auto count = duration.count();
  if (count == 0) return "0s";
  for (const auto& [name, size] : {std::pair<std::string_view, long>{"d", 86'400'000},
                                   {"h", 3'600'000},
                                   {"m", 60'000},
                                   {"s", 1'000}}) {
    if (count % size == 0) return fmt::format("{}{}", count / size, name);
  }
  return fmt::format("{}ms", count);
}

std::string size_text(std::uint64_t bytes) {
  for (const auto& [name, size] : {std::pair<std::string_view, std::uint64_t>{"GiB", 1U << 30U},
                                   {"MiB", 1U << 20U},
                                   {"KiB", 1U << 10U}}) {
    if (bytes != 0 && bytes % size == 0) return fmt::format("{}{}", bytes / size, name);
  }
  return fmt::format("{}B", bytes);
}

std::string ratio_text(double ratio) { return fmt::format("{:.6g}%", ratio * 100); }

}  // namespace lbd::config
