// Scripted peers on loopback sockets: blocking, with a deadline on every wait, so that a test reads
// as what happens, line by line, and a wrong script fails instead of hanging.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

namespace lbd {

inline constexpr int kPeerWaitMs = 10'000;

/// One connected socket.
class Peer {
 public:
  Peer() = default;
  explicit Peer(int fd) noexcept : fd_(fd) {
    const int on = 1;
    if (fd_ >= 0) ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  Peer(Peer&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        unread_(std::move(other.unread_)),
        ended_(other.ended_),
        reset_(other.reset_) {}
  Peer& operator=(Peer&& other) noexcept {
    close();
    fd_ = std::exchange(other.fd_, -1);
    unread_ = std::move(other.unread_);
    ended_ = other.ended_;
    reset_ = other.reset_;
    return *this;
  }
  ~Peer() { close(); }

  static Peer connect(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
      ::close(fd);
      return Peer();
    }
    return Peer(fd);
  }

  /// Gives the descriptor away.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  [[nodiscard]] bool open() const noexcept { return fd_ >= 0; }
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  /// Bytes up to and including `end`; what came so far when the peer closes or time is up.
  std::string read_until(std::string_view end) {
    std::size_t at = unread_.find(end);
    while (at == std::string::npos && more()) at = unread_.find(end);
    return take(at == std::string::npos ? unread_.size() : at + end.size());
  }
  std::string read_bytes(std::size_t count) {
    while (unread_.size() < count && more()) {
    }
    return take(std::min(count, unread_.size()));
  }
  std::string read_head() { return read_until("\r\n\r\n"); }
  /// A head and as much body as its Content-Length says.
  std::string read_message() {
    const std::string head = read_head();
    constexpr std::string_view kLength = "Content-Length: ";
    const std::size_t at = head.find(kLength);
    if (at == std::string::npos) return head;
    return head + read_bytes(std::stoull(head.substr(at + kLength.size())));
  }
  /// Everything until the peer closes.
  std::string read_all() {
    while (more()) {
    }
    return take(unread_.size());
  }
  /// True when the peer closes (or resets) without sending anything more.
  bool sees_end() { return read_all().empty() && ended_; }
  bool sees_reset() {
    read_all();
    return reset_;
  }
  void shutdown_write() { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  bool more() {
    if (fd_ < 0 || ended_) return false;
    pollfd waited{fd_, POLLIN, 0};
    if (::poll(&waited, 1, kPeerWaitMs) <= 0) return false;
    char chunk[16 * 1024];
    const ssize_t got = ::recv(fd_, chunk, sizeof chunk, 0);
    if (got <= 0) {
      ended_ = true;
      reset_ = got < 0 && errno == ECONNRESET;
      return false;
    }
    unread_.append(chunk, static_cast<std::size_t>(got));
    return true;
  }
  std::string take(std::size_t count) {
    std::string taken = unread_.substr(0, count);
    unread_.erase(0, count);
    return taken;
  }

  int fd_ = -1;
  std::string unread_;
  bool ended_ = false;
  bool reset_ = false;
};

/// A listening socket on a free port of 127.0.0.1.
class Server {
 public:
  explicit Server(int backlog = 128) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at);
    ::listen(fd_, backlog);
    socklen_t size = sizeof at;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
  }
  ~Server() { close(); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  Peer accept(int wait_ms = kPeerWaitMs) {
    pollfd waited{fd_, POLLIN, 0};
    if (::poll(&waited, 1, wait_ms) <= 0) return Peer();
    return Peer(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
  }
  [[nodiscard]] bool nobody_comes(int within_ms = 100) {
    pollfd waited{fd_, POLLIN, 0};
    return ::poll(&waited, 1, within_ms) == 0;
  }
  /// From now on a connection is refused.
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
  std::uint16_t port_ = 0;
};

}  // namespace lbd
