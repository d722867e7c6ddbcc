// The words of the configuration: durations, sizes, ratios, counts, addresses. Each reads one
// scalar's text and fails with the end of the sentence "…: expected X, found Y".
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "config/config.h"
#include "lbd/base/result.h"

namespace lbd::config {

/// "250ms", "30s", "1.5m", "2h", "1d"; the unit is required, but a plain 0 needs none.
[[nodiscard]] Outcome<milliseconds> parse_duration(std::string_view text);
/// Bytes of "512B", "16KiB", "10MB", "1.5GiB"; the unit is required, but a plain 0 needs none.
[[nodiscard]] Outcome<std::uint64_t> parse_size(std::string_view text);
/// "90%" or "0.9"; signed ("-10%") for steps.
[[nodiscard]] Outcome<double> parse_ratio(std::string_view text);
/// A whole number in decimal, no sign, no leading zero, no exponent, no separators.
[[nodiscard]] Outcome<std::uint64_t> parse_whole(std::string_view text);
/// A decimal number such as "100" or "0.25"; no exponent.
[[nodiscard]] Outcome<double> parse_number(std::string_view text);
/// "10.0.0.1:80", "[::1]:80"; with `default_port` also without a port. 0 as default: required.
[[nodiscard]] Outcome<Address> parse_address(std::string_view text, std::uint16_t default_port);
/// What follows "unix:": "/run/app.sock", or "@app" for a name in the kernel's abstract namespace.
[[nodiscard]] Outcome<Address> parse_unix_address(std::string_view path);
/// "10.0.0.0/8", "fd00::/8", or one address.
[[nodiscard]] Outcome<Cidr> parse_cidr(std::string_view text);
/// "200-299,404".
[[nodiscard]] Outcome<std::vector<CodeRange>> parse_codes(std::string_view text);
/// The canonical text of an IPv4 or IPv6 address; fails for anything else.
[[nodiscard]] Outcome<std::string> parse_ip(std::string_view text);
/// RFC 9110: a method, the name of a header field or of a cookie.
[[nodiscard]] bool is_token(std::string_view text);

/// As one would write them: "1m30s" is "90s", 16384 is "16KiB", 0.9 is "90%".
[[nodiscard]] std::string duration_text(milliseconds duration);
[[nodiscard]] std::string size_text(std::uint64_t bytes);
[[nodiscard]] std::string ratio_text(double ratio);

}  // namespace lbd::config
