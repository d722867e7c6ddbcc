#include "lbd/net/tcp_stream.h"

#include <algorithm>
#include <cerrno>

#include "lbd/net/socket_stream.h"
#include "lbd/net/tls_dial.h"

namespace lbd::net {
namespace {

// Between tries at a Unix socket whose queue is full.
constexpr std::chrono::milliseconds kFirstPause{8};
constexpr std::chrono::milliseconds kLongestPause{64};

class TcpStream final : public SocketStream {
 public:
  using SocketStream::SocketStream;

 private:
  bool receive_some(std::span<char> into, IoResult& result) noexcept override {
    const ssize_t got = receive(into);
    if (got == -EAGAIN) return false;
    if (got > 0) {
      result = {Fault::none, 0, static_cast<std::size_t>(got)};
    } else {
      result = {got == 0 ? Fault::closed : Fault::io_error, static_cast<int>(-got), 0};
    }
    return true;
  }

  bool send_some(IoResult& result) noexcept override {
    for (;;) {
      const std::span<iovec> rest = left();
      const ssize_t sent = rest.empty() ? 0 : send(rest);
      if (sent == -EAGAIN) return false;
      if (sent < 0) {
        result = {Fault::io_error, static_cast<int>(-sent), written_};
        return true;
      }
      advance(static_cast<std::size_t>(sent));
      if (left().empty()) {
        result = {Fault::none, 0, written_};
        return true;
      }
    }
  }
};

}  // namespace

std::unique_ptr<Stream> adopt_tcp(Loop& loop, int fd) {
  auto stream = std::make_unique<TcpStream>(loop.core());
  stream->adopt(fd);
  return stream;
}

bool is_own_shortage(int error) noexcept {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC:         // epoll's max_user_watches
    case EADDRNOTAVAIL:  // every local port to that address is taken
      return true;
    default:
      return false;
  }
}

TcpDial::TcpDial(Loop& loop) : loop_(loop) {}
TcpDial::~TcpDial() = default;

void TcpDial::cancel() noexcept {
  if (stream_) {
    stream_->cancel();
  } else {
    cancelled_.set();
  }
}

Task<Dialled> TcpDial::run(To to, TimePoint deadline) {
  Duration pause = kFirstPause;
  for (;;) {
    Dialled dialled = co_await try_once(to, deadline);
    const bool full = !dialled && to.address.is_unix() && dialled.error().error == EAGAIN;
    if (!full) co_return dialled;
    const TimePoint again = std::min(loop_.clock().now() + pause, deadline);
    const bool cancelled = co_await cancelled_.wait_until(loop_.clock(), again);
    if (cancelled) co_return DialFailure{Fault::cancelled, ECANCELED, {}};
    if (again == deadline) co_return DialFailure{Fault::connect_timeout, ETIMEDOUT, {}};
    pause = std::min<Duration>(2 * pause, kLongestPause);
  }
}

Task<Dialled> TcpDial::try_once(const To& to, TimePoint deadline) {
  if (to.tls == nullptr) {
    stream_ = std::make_unique<TcpStream>(loop_.core());
  } else {
    stream_ = make_tls_dial(loop_.core(), to.tls, to.address);
  }
  IoWait dialled;
  bool late = false;
  if (!stream_->begin_dial(to.address, to.greeting, dialled)) {
    StreamDeadline end(loop_.clock(), *stream_, deadline);
    co_await Finished(dialled);
    late = end.passed();
  }
  std::unique_ptr<SocketStream> stream = std::move(stream_);
  if (dialled.result.ok()) co_return std::unique_ptr<Stream>(std::move(stream));
  if (late) co_return DialFailure{Fault::connect_timeout, ETIMEDOUT, {}};
  if (dialled.result.fault == Fault::cancelled) {
    co_return DialFailure{Fault::cancelled, ECANCELED, {}};
  }
  const int error = dialled.result.error;
  TlsFailure tls = stream->take_failure();
  if (tls.fault != TlsFault::none) co_return DialFailure{Fault::tls_failed, error, std::move(tls)};
  co_return DialFailure{
      is_own_shortage(error) ? Fault::overload_shed : Fault::connect_failed, error, {}};
}

Task<Dialled> dial_tcp(Loop& loop, TcpDial::To to, TimePoint deadline) {
  TcpDial dial(loop);
  co_return co_await dial.run(std::move(to), deadline);
}

}  // namespace lbd::net
