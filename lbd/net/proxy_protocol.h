// The PROXY protocol, versions 1 and 2: what a proxy says before anything else about the client it
// speaks for. Bytes only; proxy_accept.h reads them from a socket.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lbd/base/result.h"
#include "lbd/net/address.h"

namespace lbd::net {

/// Why a connection that must begin with a header was closed: a word for metrics.
enum class ProxyFault : std::uint8_t {
  none,
  untrusted,  // the peer may not say who its client is
  timeout,    // no whole header in time
  closed,     // the peer left before its end
  malformed,  // neither version, or not to the letter
  too_long,   // a version 2 header of more than kProxyHeaderMax bytes
  checksum,   // its CRC32C is another
  kCount,
};
[[nodiscard]] std::string_view proxy_fault_name(ProxyFault fault) noexcept;

inline constexpr std::size_t kProxyLineMax = 107;  // version 1, with its CRLF
/// Version 2, as far as we read. Senders stay well below it: the longest things among its additions
/// are names.
inline constexpr std::size_t kProxyHeaderMax = 16 + 4096;

/// The connection that a proxy passes on: its client, and where that had connected to.
struct ProxyEndpoints {
  SocketAddress source;
  SocketAddress destination;
};

/// Reads one header. What is accepted is accepted however it was cut into pieces.
class ProxyHeaderReader {
 public:
  enum class State : std::uint8_t { reading, done, bad };

  /// Takes bytes until the header is done or bad; returns how many. What follows the header is
  /// never taken.
  std::size_t step(std::span<const std::uint8_t> bytes);
  [[nodiscard]] State state() const noexcept { return state_; }
  /// Of a bad one.
  [[nodiscard]] ProxyFault fault() const noexcept { return fault_; }
  /// Of one that is done. None: the proxy speaks for itself (LOCAL), or does not know (UNKNOWN,
  /// families that are not IP): the connection's own addresses hold.
  [[nodiscard]] const std::optional<ProxyEndpoints>& endpoints() const noexcept {
    return endpoints_;
  }

 private:
  void take(std::uint8_t byte);
  void take_line(std::uint8_t byte);
  void take_binary(std::uint8_t byte);
  void end(ProxyFault fault) noexcept;

  std::string held_;
  std::size_t whole_ = 16;  // of version 2: its length, once it is known
  State state_ = State::reading;
  ProxyFault fault_ = ProxyFault::none;
  std::optional<ProxyEndpoints> endpoints_;
};

enum class ProxyVersion : std::uint8_t { off, v1, v2 };

/// A header to send.
class ProxyHeader {
 public:
  /// Empty: none is sent.
  ProxyHeader() = default;
  /// Says that `source` connected to `destination`.
  ProxyHeader(ProxyVersion version, const SocketAddress& source, const SocketAddress& destination);
  /// Says that lbd speaks for itself.
  explicit ProxyHeader(ProxyVersion version);

  [[nodiscard]] std::string_view view() const noexcept { return {bytes_.data(), size_}; }

 private:
  void add(std::string_view bytes) noexcept;

  std::array<char, kProxyLineMax> bytes_{};
  std::uint8_t size_ = 0;
};

}  // namespace lbd::net
