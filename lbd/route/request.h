// What rules look at.
#pragma once

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

struct Network {
  IpBytes ip{};
  int prefix_bits = 128;  // of the 128
  [[nodiscard]] bool has(const IpBytes& address) const noexcept;
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

}  // namespace lbd::route
