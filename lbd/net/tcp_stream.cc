#include "lbd/net/tcp_stream.h"

#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "lbd/base/check.h"
#include "lbd/net/loop_core.h"

namespace lbd::net {
namespace {

constexpr std::uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;
constexpr std::uint32_t kPiecesMax = 8;

/// Registered once, edge-triggered: `readable_` is what the kernel has told and no read has used up
/// yet. A waiting write is tried at each EPOLLOUT, which is asked for from the first write that did
/// not fit.
class TcpStream final : public Stream, private Watch {
 public:
  explicit TcpStream(LoopCore& core) noexcept : core_(core) {}
  ~TcpStream() override { release(); }
  TcpStream(const TcpStream&) = delete;
  TcpStream& operator=(const TcpStream&) = delete;

  /// Takes over a connected descriptor. Should it not be watchable, each operation fails with the
  /// reason.
  void adopt(int fd) noexcept {
    fd_ = fd;
    no_delay();
    failure_ = core_.watch(fd_, *this, kReadEvents);
  }

  /// As begin_write: true when it is over.
  bool begin_connect(const SocketAddress& address, IoWait& wait) {
    fd_ = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd_ < 0) return over(wait, errno);
    no_delay();
    const bool pending = ::connect(fd_, address.data(), address.size()) != 0;
    if (pending && errno != EINPROGRESS) return over(wait, errno);
    // Only now: an unconnected socket counts as hung up.
    writes_watched_ = pending;
    const int error = core_.watch(fd_, *this, kReadEvents | (pending ? +EPOLLOUT : 0U));
    if (error != 0 || !pending) return over(wait, error);
    connecting_ = true;
    write_ = &wait;
    return false;
  }

  bool begin_read(std::span<char> into, IoWait& wait) override {
    LBD_CHECK(read_ == nullptr && !into.empty());
    if (fd_ < 0) return over(wait, ECANCELED);
    read_ = &wait;
    into_ = into;
    if (readable_ || failure_ != 0) core_.defer(*this);
    return false;
  }

  bool begin_write(std::span<const iovec> pieces, IoWait& wait) override {
    LBD_CHECK(write_ == nullptr && pieces.size() <= pieces_.size());
    if (fd_ < 0) return over(wait, ECANCELED);
    std::copy(pieces.begin(), pieces.end(), pieces_.begin());
    first_ = 0;
    count_ = pieces.size();
    written_ = 0;
    IoResult result;
    if (send_some(result)) {
      wait.finish(result);
      return true;
    }
    write_ = &wait;
    watch_writes();
    return false;
  }

  void cancel() noexcept override {
    read_cancelled_ = read_ != nullptr;
    write_cancelled_ = write_ != nullptr;
    if (read_cancelled_ || write_cancelled_) core_.defer(*this);
  }

  void shutdown_write() noexcept override {
    if (fd_ >= 0) ::shutdown(fd_, SHUT_WR);
  }

  void close(bool reset) noexcept override {
    if (fd_ < 0) return;
    if (reset) {
      const linger now{1, 0};
      ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    release();
    cancel();
  }

 private:
  // Finishing an operation may end the stream's life, unless another is under way (Stream's
  // contract): hence the look at write_ before the read is finished.
  void ready(std::uint32_t events) override {
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable_ = true;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) ended_ = true;
    const bool writing = write_ != nullptr && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
    if (read_ != nullptr) go_on_reading();
    if (writing) go_on_writing();
  }

  void resume_deferred() override {
    const bool writing = write_ != nullptr && (write_cancelled_ || failure_ != 0);
    if (read_ != nullptr) go_on_reading();
    if (writing) go_on_writing();
  }

  void go_on_reading() {
    IoResult result;
    if (std::exchange(read_cancelled_, false)) {
      result.fault = Fault::cancelled;
    } else if (failure_ != 0) {
      result = {Fault::io_error, failure_, 0};
    } else if (!readable_ || !receive_some(result)) {
      return;
    }
    std::exchange(read_, nullptr)->finish(result);
  }

  void go_on_writing() {
    IoResult result;
    if (std::exchange(write_cancelled_, false)) {
      result = {Fault::cancelled, 0, written_};
    } else if (failure_ != 0) {
      result = {Fault::io_error, failure_, written_};
    } else if (std::exchange(connecting_, false)) {
      result = connected();
    } else if (!send_some(result)) {
      return;
    }
    std::exchange(write_, nullptr)->finish(result);
  }

  /// False when nothing was there after all.
  bool receive_some(IoResult& result) noexcept {
    for (;;) {
      const ssize_t got = ::recv(fd_, into_.data(), into_.size(), MSG_DONTWAIT);
      if (got > 0) {
        const auto bytes = static_cast<std::size_t>(got);
        // Less than there was room for: the socket is empty, and what comes next is a new edge.
        if (bytes < into_.size() && !ended_) readable_ = false;
        result = {Fault::none, 0, bytes};
        return true;
      }
      if (got == 0) {
        result = {Fault::closed, 0, 0};
        return true;
      }
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        readable_ = false;
        return false;
      }
      result = {Fault::io_error, errno, 0};
      return true;
    }
  }

  /// True when the write is over, well or not.
  bool send_some(IoResult& result) noexcept {
    for (;;) {
      while (first_ < count_ && pieces_[first_].iov_len == 0) ++first_;
      if (first_ == count_) {
        result = {Fault::none, 0, written_};
        return true;
      }
      msghdr message{};
      message.msg_iov = &pieces_[first_];
      message.msg_iovlen = count_ - first_;
      const ssize_t sent = ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) {
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
        result = {Fault::io_error, errno, written_};
        return true;
      }
      advance(static_cast<std::size_t>(sent));
    }
  }

  void advance(std::size_t sent) noexcept {
    written_ += sent;
    while (sent > 0 && first_ < count_) {
      iovec& piece = pieces_[first_];
      const std::size_t step = std::min(sent, piece.iov_len);
      piece.iov_base = static_cast<char*>(piece.iov_base) + step;
      piece.iov_len -= step;
      sent -= step;
      if (piece.iov_len == 0) ++first_;
    }
  }

  [[nodiscard]] IoResult connected() const noexcept {
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    return error == 0 ? IoResult{} : IoResult{Fault::io_error, error, 0};
  }

  void watch_writes() noexcept {
    if (std::exchange(writes_watched_, true)) return;
    failure_ = core_.rewatch(fd_, *this, kReadEvents | EPOLLOUT);
    if (failure_ != 0) core_.defer(*this);
  }

  void no_delay() const noexcept {
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }

  void release() noexcept {
    if (fd_ < 0) return;
    core_.forget(fd_, *this);
    ::close(std::exchange(fd_, -1));
  }

  static bool over(IoWait& wait, int error) {
    const Fault fault = error == 0           ? Fault::none
                        : error == ECANCELED ? Fault::cancelled
                                             : Fault::io_error;
    wait.finish({fault, fault == Fault::io_error ? error : 0, 0});
    return true;
  }

  LoopCore& core_;
  int fd_ = -1;
  int failure_ = 0;  // errno of a descriptor that the loop could not watch
  bool readable_ = false;
  bool ended_ = false;  // the peer's end or an error is behind what there is to read
  bool connecting_ = false;
  bool writes_watched_ = false;
  bool read_cancelled_ = false;
  bool write_cancelled_ = false;
  IoWait* read_ = nullptr;
  IoWait* write_ = nullptr;
  std::span<char> into_;
  std::array<iovec, kPiecesMax> pieces_{};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t written_ = 0;
};

/// Ends a connect at its deadline.
struct Deadline {
  TcpStream& stream;
  bool passed = false;
  static void pass(void* context) {
    auto* self = static_cast<Deadline*>(context);
    self->passed = true;
    self->stream.cancel();
  }
};

}  // namespace

std::unique_ptr<Stream> adopt_tcp(Loop& loop, int fd) {
  auto stream = std::make_unique<TcpStream>(loop.core());
  stream->adopt(fd);
  return stream;
}

Task<Dialled> dial_tcp(Loop& loop, SocketAddress address, TimePoint deadline) {
  auto stream = std::make_unique<TcpStream>(loop.core());
  Deadline end{*stream};
  IoWait connected;
  if (!stream->begin_connect(address, connected)) {
    Timer timer(loop.clock(), &end, &Deadline::pass);
    timer.set(deadline);
    co_await Finished(connected);
  }
  if (end.passed && !connected.result.ok())
    co_return DialFailure{Fault::connect_timeout, ETIMEDOUT};
  if (!connected.result.ok()) co_return DialFailure{Fault::connect_failed, connected.result.error};
  co_return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace lbd::net
