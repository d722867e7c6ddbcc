#include "lbd/net/socket_stream.h"

#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lbd/base/check.h"

namespace lbd::net {
namespace {

constexpr std::uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;

}  // namespace

void SocketStream::adopt(int fd) noexcept {
  fd_ = fd;
  connected_ = true;
  no_delay();
  failure_ = core_.watch(fd_, *this, kReadEvents);
}

bool SocketStream::begin_dial(const Endpoint& to, std::string_view greeting, IoWait& wait) {
  greeting_ = greeting;
  fd_ = ::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return over(wait, errno);
  if (!to.is_unix()) no_delay();
  connecting_ = ::connect(fd_, to.data(), to.size()) != 0;
  if (connecting_ && errno != EINPROGRESS) return over(wait, errno);
  // Only now: an unconnected socket counts as hung up.
  writes_watched_ = connecting_;
  const int error = core_.watch(fd_, *this, kReadEvents | (connecting_ ? +EPOLLOUT : 0U));
  if (error != 0) return over(wait, error);
  connected_ = !connecting_;
  return connecting_ ? (open_ = &wait, false) : begin_open(wait);
}

bool SocketStream::begin_open(IoWait& wait) {
  LBD_CHECK(open_ == nullptr);
  if (fd_ < 0) return over(wait, ECANCELED);
  if (failure_ != 0) return over(wait, failure_);
  IoResult result;
  if (!greet(result) || shake_hands(result)) {
    wait.finish(result);
    return true;
  }
  open_ = &wait;
  return false;
}

bool SocketStream::begin_read(std::span<char> into, IoWait& wait) {
  LBD_CHECK(!into.empty());
  into_ = into;
  return post_read(wait);
}

bool SocketStream::begin_read(RoomMaker room, IoWait& wait) {
  into_ = {};
  room_ = room;
  return post_read(wait);
}

bool SocketStream::post_read(IoWait& wait) {
  LBD_CHECK(read_ == nullptr);
  if (fd_ < 0) return over(wait, ECANCELED);
  read_ = &wait;
  if (may_receive() || failure_ != 0) core_.defer(*this);
  return false;
}

bool SocketStream::begin_write(std::span<const iovec> pieces, IoWait& wait) {
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

void SocketStream::cancel() noexcept {
  open_cancelled_ = open_ != nullptr;
  read_cancelled_ = read_ != nullptr;
  write_cancelled_ = write_ != nullptr;
  if (open_cancelled_ || read_cancelled_ || write_cancelled_) core_.defer(*this);
}

void SocketStream::shutdown_write() noexcept {
  if (fd_ < 0) return;
  say_goodbye();
  if (fd_ >= 0) ::shutdown(fd_, SHUT_WR);
}

void SocketStream::close(bool reset) noexcept {
  if (fd_ < 0) return;
  if (reset) {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  } else if (open_ == nullptr) {
    say_goodbye();
  }
  release();
  cancel();
}

// Finishing an operation may end the stream's life, unless another is under way (Stream's
// contract): hence the look at write_ before the read is finished.
void SocketStream::ready(std::uint32_t events) {
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable_ = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) ended_ = true;
  if (open_ != nullptr) {
    connecting_ = connecting_ && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) == 0;
    if (connecting_) return;
    if (slow_handshake_) {
      core_.defer_slow(*this);
    } else {
      go_on_opening();
    }
    return;
  }
  const bool writable = (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
  const bool writing = write_ != nullptr && writable;
  if (writable && !writing) flush_rest();
  if (read_ != nullptr) go_on_reading();
  if (writing) go_on_writing();
}

void SocketStream::resume_deferred() {
  if (open_ != nullptr) return go_on_opening();
  const bool writing = write_ != nullptr && (write_cancelled_ || failure_ != 0);
  if (read_ != nullptr) go_on_reading();
  if (writing) go_on_writing();
}

void SocketStream::go_on_opening() {
  IoResult result;
  if (std::exchange(open_cancelled_, false)) {
    result.fault = Fault::cancelled;
  } else if (result = connected(); result.ok() && greet(result) && !shake_hands(result)) {
    return;
  }
  std::exchange(open_, nullptr)->finish(result);
}

void SocketStream::go_on_reading() {
  IoResult result;
  if (std::exchange(read_cancelled_, false)) {
    result.fault = Fault::cancelled;
  } else if (failure_ != 0) {
    result = {Fault::io_error, failure_, 0};
  } else if (!may_receive()) {
    return;
  } else {
    if (into_.empty()) into_ = room_.make(room_.context);
    if (!receive_some(into_, result)) return;
  }
  std::exchange(read_, nullptr)->finish(result);
}

void SocketStream::go_on_writing() {
  IoResult result;
  if (std::exchange(write_cancelled_, false)) {
    result = {Fault::cancelled, 0, written_};
  } else if (failure_ != 0) {
    result = {Fault::io_error, failure_, written_};
  } else if (!send_some(result)) {
    return;
  }
  std::exchange(write_, nullptr)->finish(result);
}

/// False: it failed. A new socket has room for it: if not, this machine is short of memory.
bool SocketStream::greet(IoResult& result) noexcept {
  if (greeting_.empty()) return true;
  const std::string_view all = std::exchange(greeting_, {});
  iovec piece{const_cast<char*>(all.data()), all.size()};
  const ssize_t sent = send({&piece, 1});
  if (sent == static_cast<ssize_t>(all.size())) return true;
  result = {Fault::io_error, sent < 0 && sent != -EAGAIN ? static_cast<int>(-sent) : ENOBUFS, 0};
  return false;
}

ssize_t SocketStream::receive(std::span<char> into) noexcept {
  if (!readable_) return -EAGAIN;
  ssize_t got = 0;
  do {
    got = ::recv(fd_, into.data(), into.size(), MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got > 0) {
    // Less than there was room for: the socket is empty, and what comes next is a new edge.
    if (static_cast<std::size_t>(got) < into.size() && !ended_) readable_ = false;
    return got;
  }
  if (got == 0) return 0;
  if (errno != EAGAIN && errno != EWOULDBLOCK) return -errno;
  readable_ = false;
  return -EAGAIN;
}

ssize_t SocketStream::send(std::span<iovec> pieces) noexcept {
  constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  ssize_t sent = 0;
  do {
    if (pieces.size() == 1) {  // the kernel has less to look at
      sent = ::send(fd_, pieces.front().iov_base, pieces.front().iov_len, kFlags);
    } else {
      sent = ::sendmsg(fd_, &message, kFlags);
    }
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return sent;
  if (errno == EAGAIN || errno == EWOULDBLOCK) return -EAGAIN;
  readable_ = ended_ = true;  // what the peer said before it hung up, and that it did
  return -errno;
}

std::span<iovec> SocketStream::left() noexcept {
  while (first_ < count_ && pieces_[first_].iov_len == 0) ++first_;
  return std::span(pieces_).subspan(first_, count_ - first_);
}

void SocketStream::advance(std::size_t sent) noexcept {
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

/// Once it is, a reset is left to the handshake: what the peer said before it comes first.
IoResult SocketStream::connected() noexcept {
  int error = failure_;
  socklen_t size = sizeof error;
  if (error == 0 && !connected_ && ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
    error = errno;
  }
  connected_ = error == 0;
  return error == 0 ? IoResult{} : IoResult{Fault::io_error, error, 0};
}

void SocketStream::watch_writes() noexcept {
  if (std::exchange(writes_watched_, true)) return;
  failure_ = core_.rewatch(fd_, *this, kReadEvents | EPOLLOUT);
  if (failure_ != 0) core_.defer(*this);
}

void SocketStream::no_delay() const noexcept {
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int SocketStream::detach() noexcept {
  core_.forget(fd_, *this);
  return std::exchange(fd_, -1);
}

void SocketStream::release() noexcept {
  if (fd_ >= 0) ::close(detach());
}

bool SocketStream::over(IoWait& wait, int error) {
  const Fault fault = error == 0           ? Fault::none
                      : error == ECANCELED ? Fault::cancelled
                                           : Fault::io_error;
  wait.finish({fault, fault == Fault::io_error ? error : 0, 0});
  return true;
}

}  // namespace lbd::net
