#include "lbd/net/address.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <utility>

namespace lbd::net {

std::optional<SocketAddress> SocketAddress::parse(std::string_view ip, std::uint16_t port) {
  SocketAddress address;
  const std::string text(ip);
  sockaddr_in v4{};
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&address.storage_, &v4, sizeof v4);
    return address;
  }
  if (::inet_pton(AF_INET6, text.c_str(), &address.storage_.sin6_addr) == 1) {
    address.storage_.sin6_family = AF_INET6;
    address.storage_.sin6_port = htons(port);
    return address;
  }
  return std::nullopt;
}

SocketAddress SocketAddress::of(std::span<const std::uint8_t> ip, std::uint16_t port) noexcept {
  SocketAddress address;
  if (ip.size() == 4) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&v4.sin_addr, ip.data(), 4);
    std::memcpy(&address.storage_, &v4, sizeof v4);
  } else if (ip.size() == 16) {
    address.storage_.sin6_family = AF_INET6;
    address.storage_.sin6_port = htons(port);
    std::memcpy(&address.storage_.sin6_addr, ip.data(), 16);
  }
  return address;
}

SocketAddress SocketAddress::peer_of(int fd) noexcept {
  SocketAddress address;
  socklen_t size = sizeof address.storage_;
  ::getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage_), &size);
  return address;
}

SocketAddress SocketAddress::local_of(int fd) noexcept {
  SocketAddress address;
  socklen_t size = sizeof address.storage_;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage_), &size);
  return address;
}

socklen_t SocketAddress::size() const noexcept {
  return family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

std::uint16_t SocketAddress::port() const noexcept { return ntohs(storage_.sin6_port); }

std::array<std::uint8_t, 16> SocketAddress::bytes() const noexcept {
  std::array<std::uint8_t, 16> bytes{};
  if (family() == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage_, sizeof v4);
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(bytes.data() + 12, &v4.sin_addr, 4);
  } else {
    std::memcpy(bytes.data(), &storage_.sin6_addr, 16);
  }
  return bytes;
}

std::string SocketAddress::ip() const {
  const auto ip = bytes();
  const bool mapped = family() == AF_INET || IN6_IS_ADDR_V4MAPPED(&storage_.sin6_addr);
  char text[INET6_ADDRSTRLEN] = "";
  if (mapped) {
    ::inet_ntop(AF_INET, ip.data() + 12, text, sizeof text);
  } else {
    ::inet_ntop(AF_INET6, ip.data(), text, sizeof text);
  }
  return text;
}

std::string SocketAddress::text() const {
  const std::string host = ip();
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port());
}

bool SocketAddress::in(const SocketAddress& network, int prefix_bits) const noexcept {
  const auto mine = bytes();
  const auto theirs = network.bytes();
  int bits = prefix_bits + (network.family() == AF_INET ? 96 : 0);
  for (std::size_t i = 0; i < mine.size() && bits > 0; ++i, bits -= 8) {
    const auto mask = static_cast<std::uint8_t>(bits >= 8 ? 0xff : 0xff << (8 - bits));
    if (((mine[i] ^ theirs[i]) & mask) != 0) return false;
  }
  return true;
}

struct Endpoint::More {
  sockaddr_un address{};  // of a Unix socket
  socklen_t size = 0;
  std::string name;
};

bool Endpoint::is_unix(const More& more) noexcept { return more.size > 0; }

std::optional<Endpoint> Endpoint::of_unix(std::string_view path) {
  auto made = std::make_shared<More>();
  if (path.size() < 2 || path.size() >= sizeof made->address.sun_path) return std::nullopt;
  made->address.sun_family = AF_UNIX;
  std::memcpy(made->address.sun_path, path.data(), path.size());
  const bool abstract = path[0] == '@';
  if (abstract) made->address.sun_path[0] = '\0';
  // An abstract name is all bytes there are, a path ends with a NUL.
  made->size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  Endpoint endpoint;
  endpoint.more_ = std::move(made);
  return endpoint;
}

Endpoint Endpoint::named(std::string_view name) const {
  Endpoint same = *this;
  auto more = more_ != nullptr ? std::make_shared<More>(*more_) : std::make_shared<More>();
  more->name = name;
  same.more_ = std::move(more);
  return same;
}

const sockaddr* Endpoint::data() const noexcept {
  return is_unix() ? reinterpret_cast<const sockaddr*>(&more_->address) : address_.data();
}

socklen_t Endpoint::size() const noexcept { return is_unix() ? more_->size : address_.size(); }

std::string Endpoint::text() const {
  if (!is_unix()) return address_.text();
  const char* path = more_->address.sun_path;
  constexpr std::size_t kFixed = offsetof(sockaddr_un, sun_path);
  return path[0] == '\0' ? "unix:@" + std::string(path + 1, more_->size - 1 - kFixed)
                         : "unix:" + std::string(path);
}

std::string Endpoint::host() const {
  if (more_ != nullptr && !more_->name.empty()) return more_->name;
  return is_unix() ? "localhost" : address_.ip();
}

std::string Endpoint::authority() const {
  if (is_unix()) return host();
  const bool named = more_ != nullptr && !more_->name.empty();
  return named ? more_->name + ":" + std::to_string(address_.port()) : address_.text();
}

}  // namespace lbd::net
