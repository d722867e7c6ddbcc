#include "lbd/net/acceptor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/posix/descriptor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>

#include "lbd/net/loop_asio.h"

namespace lbd::net {

namespace asio = boost::asio;

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

struct Acceptor::State : std::enable_shared_from_this<Acceptor::State> {
  State(Loop& loop, int fd, OnAccept callback)
      : descriptor(loop.core().io, fd), on_accept(std::move(callback)), pause(loop.core().io) {}

  void wait() {
    descriptor.async_wait(asio::posix::descriptor_base::wait_read,
                          [self = shared_from_this()](const boost::system::error_code& error) {
                            if (!error && self->descriptor.is_open()) self->accept(kAcceptsPerTurn);
                          });
  }

  /// Takes up to `most` connections; then waits again, unless closed.
  void accept(int most) {
    for (int taken = 0; taken < most && descriptor.is_open(); ++taken) {
      const int fd =
          ::accept4(descriptor.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        on_accept(fd);
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        pause.expires_after(kPause);
        pause.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
          if (!error && self->descriptor.is_open()) self->wait();
        });
        return;
      } else if (errno != ECONNABORTED && errno != EINTR) {
        break;
      }
    }
    if (descriptor.is_open() && !closing) wait();
  }

  asio::posix::stream_descriptor descriptor;
  OnAccept on_accept;
  asio::steady_timer pause;
  bool closing = false;
};

Acceptor::Acceptor(Loop& loop, int fd, OnAccept on_accept)
    : state_(std::make_shared<State>(loop, ::fcntl(fd, F_DUPFD_CLOEXEC, 0), std::move(on_accept))) {
  state_->wait();
}

Acceptor::~Acceptor() { close(); }

void Acceptor::close() {
  if (state_->closing) return;
  state_->closing = true;
  state_->accept(kBacklog);
  boost::system::error_code ignored;
  state_->descriptor.close(ignored);
  state_->pause.cancel();
}

}  // namespace lbd::net
