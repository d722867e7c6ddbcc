#include "lbd/net/acceptor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "lbd/net/loop_core.h"

namespace lbd::net {
namespace {

constexpr int kBacklog = 4096;
constexpr int kAcceptsPerTurn = 64;              // then established connections get a turn
constexpr std::chrono::milliseconds kPause{50};  // out of descriptors: try again after this
}  // namespace

Outcome<int> listen_tcp(const SocketAddress& address) {
  const int fd =
      ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  const auto fail = [&](std::string_view what) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    return failure(fmt::format("cannot {} {}: {}", what, address.text(), std::strerror(error)));
  };
  if (fd < 0) return fail("make a socket for");
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) return fail("share");
  if (address.family() == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(fd, address.data(), address.size()) != 0) return fail("bind");
  if (::listen(fd, kBacklog) != 0) return fail("listen on");
  return fd;
}

struct Acceptor::State final : Watch, std::enable_shared_from_this<Acceptor::State> {
  State(Loop& loop, int descriptor, OnAccept callback)
      : core(loop.core()),
        fd(descriptor),
        on_accept(std::move(callback)),
        pause(loop.clock(), this, [](void* self) { static_cast<State*>(self)->listen(); }) {
    listen();
  }
  ~State() override { close(); }

  // Level-triggered: what one turn leaves in the queue comes again with the next.
  void listen() {
    if (core.watch(fd, *this, EPOLLIN) != 0) rest();
  }

  void rest() { pause.set(core.now() + kPause); }

  void ready(std::uint32_t /*events*/) override {
    const auto alive = shared_from_this();  // on_accept may close us
    accept(kAcceptsPerTurn);
  }

  /// Takes up to `most` connections.
  void accept(int most) {
    for (int taken = 0; taken < most && fd >= 0; ++taken) {
      const int client = ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (client >= 0) {
        on_accept(client);
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        core.forget(fd, *this);
        rest();
        return;
      } else if (errno != ECONNABORTED && errno != EINTR) {
        return;
      }
    }
  }

  void close() {
    if (fd < 0) return;
    pause.cancel();
    core.forget(std::exchange(fd, -1), *this);
  }

  LoopCore& core;
  int fd;
  OnAccept on_accept;
  Timer pause;
  bool closing = false;
};

Acceptor::Acceptor(Loop& loop, int fd, OnAccept on_accept)
    : state_(std::make_shared<State>(loop, fd, std::move(on_accept))) {}

Acceptor::~Acceptor() { close(); }

void Acceptor::close() {
  const std::shared_ptr<State> state = state_;  // on_accept may destroy us
  if (std::exchange(state->closing, true)) return;
  state->accept(kBacklog);
  state->close();
}

}  // namespace lbd::net
