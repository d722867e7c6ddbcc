// What rules look at.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "lbd/http/message.h"

namespace lbd::route {

/// IPv6, or IPv4 as ::ffff:a.b.c.d.
using IpBytes = std::array<std::uint8_t, 16>;
/// Nothing for what is no literal address.
[[nodiscard]] std::optional<IpBytes> ip_bytes(std::string_view text) noexcept;

[[nodiscard]] bool is_mapped_v4(const IpBytes& ip) noexcept;

/// What tells clients apart: the address, of IPv6 the first 64 bits. A view of `ip`.
[[nodiscard]] std::string_view client_key(const IpBytes& ip) noexcept;

struct Network {
  IpBytes ip{};
  int prefix_bits = 128;  // of the 128
};
/// "10.0.0.0" and 8. Nothing for what is no literal address.
[[nodiscard]] std::optional<Network> network_of(std::string_view ip, int prefix_bits) noexcept;

/// How the lots of `percentage` fall.
enum class Draws : std::uint8_t { by_lot, all_hold, none_holds };

/// Views; a request's own, no copies.
struct Request {
  std::string_view authority;  // any case, with or without a port
  std::string_view path;       // without the query
  std::string_view query;      // without '?'
  std::string_view method = "GET";
  std::string_view scheme = "http";
  std::string_view server_name;                        // TLS SNI, lower case
  const std::vector<http::Header>* headers = nullptr;  // null: none
  std::optional<IpBytes> source;                       // only looked at if Table::uses_source
  std::uint64_t draw = 0;                              // random; only if Table::uses_draw
  Draws draws = Draws::by_lot;
};

/// Takes "a=1; b=2" or "a=1&b=2" apart: calls `visit(name, value)` until it returns true; whether
/// it did.
template <class Visit>
bool each_pair(std::string_view text, char between, Visit visit) noexcept {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(between), text.size());
    std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    pair.remove_prefix(std::min(pair.find_first_not_of(' '), pair.size()));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view value = pair.substr(std::min(equals + 1, pair.size()));
    if (!pair.empty() && visit(pair.substr(0, equals), value)) return true;
  }
  return false;
}

/// The value of the first field of that name, or of the first cookie; empty without one.
[[nodiscard]] std::string_view first_field(const std::vector<http::Header>& headers,
                                           std::string_view name) noexcept;
[[nodiscard]] std::string_view first_cookie(const std::vector<http::Header>& headers,
                                            std::string_view name) noexcept;

}  // namespace lbd::route
