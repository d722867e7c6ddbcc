// The small values that a configuration is made of.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>

namespace lbd::config {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Where a value stands in the YAML files; line and column count from 1, 0 means unknown (a
/// default).
struct Origin {
  std::string file;
  int line = 0;
  int column = 0;
};

/// A literal socket address: IPv4 or IPv6 with port (port 0 binds a free one; tests only), or, of
/// targets, a Unix socket.
struct Address {
  std::string ip;  // "0.0.0.0", "::", "10.0.1.10"; never a name; empty with `path`
  std::uint16_t port = 0;
  std::string path = {};                   // "/run/app.sock", or "@app": abstract
  [[nodiscard]] std::string text() const;  // "10.0.1.10:80", "[::1]:80", "unix:/run/app.sock"
  [[nodiscard]] bool empty() const noexcept { return ip.empty() && path.empty(); }
  friend bool operator==(const Address&, const Address&) = default;
  friend auto operator<=>(const Address&, const Address&) = default;
};

/// IPv4 or IPv6 prefix, e.g. "10.0.0.0/8".
struct Cidr {
  std::string ip;
  int prefix_bits = 0;
  friend bool operator==(const Cidr&, const Cidr&) = default;
};

}  // namespace lbd::config
