// Listening sockets: bound by the control plane (so that a reload fails as a whole), accepted from
// by workers.
#pragma once

#include <functional>
#include <memory>

#include "lbd/base/result.h"
#include "lbd/net/address.h"
#include "lbd/net/loop.h"
#include "lbd/net/stream.h"

namespace lbd::net {

/// Binds and listens, SO_REUSEPORT, IPv6 only for IPv6 addresses, backlog 4096. Returns the
/// descriptor.
[[nodiscard]] Outcome<int> listen_tcp(const SocketAddress& address);

/// Accepts on a loop until closed.
class Acceptor {
 public:
  using OnAccept = std::function<void(int fd)>;

  /// `fd` stays the caller's, who keeps it open as long as this. Thread: the loop's, for every
  /// call.
  Acceptor(Loop& loop, int fd, OnAccept on_accept);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  /// Accepts what is in the queue already, and nothing more.
  void close();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace lbd::net
