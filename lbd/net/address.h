// Socket addresses, IPv4 and IPv6 alike, and Unix sockets to connect to.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lbd::net {

/// A socket address that can be copied, compared and shown.
class SocketAddress {
 public:
  SocketAddress() noexcept = default;
  /// From a literal IP; nothing for a name or a malformed one.
  [[nodiscard]] static std::optional<SocketAddress> parse(std::string_view ip, std::uint16_t port);
  /// From 4 or 16 bytes in network order.
  [[nodiscard]] static SocketAddress of(std::span<const std::uint8_t> ip,
                                        std::uint16_t port) noexcept;
  [[nodiscard]] static SocketAddress peer_of(int fd) noexcept;
  [[nodiscard]] static SocketAddress local_of(int fd) noexcept;

  [[nodiscard]] const sockaddr* data() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage_);
  }
  [[nodiscard]] socklen_t size() const noexcept;
  [[nodiscard]] int family() const noexcept { return storage_.sin6_family; }
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// The address in IPv6 form; IPv4 is ::ffff:a.b.c.d.
  [[nodiscard]] std::array<std::uint8_t, 16> bytes() const noexcept;
  /// "192.0.2.1", "2001:db8::1"; an IPv4-mapped IPv6 address is shown as IPv4.
  [[nodiscard]] std::string ip() const;
  /// "192.0.2.1:80", "[2001:db8::1]:80".
  [[nodiscard]] std::string text() const;
  /// True when the address lies in `network`/`prefix_bits`.
  [[nodiscard]] bool in(const SocketAddress& network, int prefix_bits) const noexcept;

 private:
  sockaddr_in6 storage_{};  // large enough for both families; the family field is at the same place
};

/// Where a connection goes: an IP address with its port, or a Unix socket. Copies share the path.
class Endpoint {
 public:
  Endpoint() noexcept = default;
  Endpoint(const SocketAddress& address) noexcept : address_(address) {}  // as good as one
  /// "/run/app.sock", or "@app": a name in the kernel's abstract namespace. Nothing when it is
  /// empty or too long (107 bytes).
  [[nodiscard]] static std::optional<Endpoint> of_unix(std::string_view path);

  /// The same place under the name it was found by.
  [[nodiscard]] Endpoint named(std::string_view name) const;

  [[nodiscard]] bool is_unix() const noexcept { return more_ != nullptr && is_unix(*more_); }
  /// What a server there is called when nobody says otherwise: its name or IP address; of a Unix
  /// socket "localhost".
  [[nodiscard]] std::string host() const;
  /// As in a Host field: `host`, and the port unless it is a Unix socket.
  [[nodiscard]] std::string authority() const;
  [[nodiscard]] int family() const noexcept { return is_unix() ? AF_UNIX : address_.family(); }
  [[nodiscard]] const sockaddr* data() const noexcept;
  [[nodiscard]] socklen_t size() const noexcept;
  /// As SocketAddress::text, or "unix:/run/app.sock".
  [[nodiscard]] std::string text() const;

 private:
  struct More;
  [[nodiscard]] static bool is_unix(const More& more) noexcept;
  SocketAddress address_;
  std::shared_ptr<const More> more_;  // null: an IP address and nothing else
};

}  // namespace lbd::net
