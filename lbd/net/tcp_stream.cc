#include "lbd/net/tcp_stream.h"

#include <netinet/tcp.h>
#include <unistd.h>

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>
#include <cerrno>
#include <cstddef>

#include "lbd/net/loop_asio.h"

namespace lbd::net {
namespace {

namespace asio = boost::asio;
using Socket = asio::generic::stream_protocol::socket;

/// Room for one pending Asio operation, so that starting one does not touch the heap.
struct OpMemory {
  alignas(std::max_align_t) std::array<std::byte, 256> bytes;
  bool used = false;
};

template <class T>
struct OpAllocator {
  using value_type = T;
  OpMemory* memory;

  explicit OpAllocator(OpMemory* room) noexcept : memory(room) {}
  template <class U>
  OpAllocator(const OpAllocator<U>& other) noexcept : memory(other.memory) {}

  T* allocate(std::size_t count) {
    if (!memory->used && count * sizeof(T) <= memory->bytes.size()) {
      memory->used = true;
      return reinterpret_cast<T*>(memory->bytes.data());
    }
    return static_cast<T*>(::operator new(count * sizeof(T)));
  }
  void deallocate(T* pointer, std::size_t) noexcept {
    if (reinterpret_cast<std::byte*>(pointer) == memory->bytes.data()) {
      memory->used = false;
    } else {
      ::operator delete(pointer);
    }
  }
  template <class U>
  bool operator==(const OpAllocator<U>& other) const noexcept {
    return memory == other.memory;
  }
};

IoResult result_of(const boost::system::error_code& error, std::size_t bytes) noexcept {
  if (!error) return {Fault::none, 0, bytes};
  if (error == asio::error::eof) return {Fault::closed, 0, bytes};
  if (error == asio::error::operation_aborted) return {Fault::cancelled, 0, bytes};
  return {Fault::io_error, error.value(), bytes};
}

class TcpStream final : public Stream {
 public:
  TcpStream(LoopCore& core, int family) : socket_(core.io), family_(family) {}

  Socket& socket() noexcept { return socket_; }

  void adopt(int fd) {
    socket_.assign(asio::generic::stream_protocol(family_, IPPROTO_TCP), fd);
    prepare();
  }

  void prepare() {
    boost::system::error_code ignored;
    socket_.native_non_blocking(true, ignored);
    const int on = 1;
    ::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }

  bool begin_read(std::span<char> into, IoWait& wait) override {
    LBD_CHECK(read_ == nullptr);
    if (!socket_.is_open()) {
      wait.finish({Fault::cancelled, 0, 0});
      return true;
    }
    read_ = &wait;
    socket_.async_receive(asio::buffer(into.data(), into.size()), ReadDone{this});
    return false;
  }

  bool begin_write(std::span<const iovec> pieces, IoWait& wait) override {
    LBD_CHECK(write_ == nullptr && pieces.size() <= pieces_.size());
    if (!socket_.is_open()) {
      wait.finish({Fault::cancelled, 0, 0});
      return true;
    }
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
    socket_.async_wait(Socket::wait_write, WriteReady{this});
    return false;
  }

  void cancel() noexcept override {
    boost::system::error_code ignored;
    if (read_ != nullptr || write_ != nullptr) socket_.cancel(ignored);
  }
  void shutdown_write() noexcept override {
    boost::system::error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
  }
  void close(bool reset) noexcept override {
    if (!socket_.is_open()) return;
    if (reset) {
      const linger now{1, 0};
      ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

 private:
  struct ReadDone {
    TcpStream* stream;
    using allocator_type = OpAllocator<void>;
    [[nodiscard]] allocator_type get_allocator() const noexcept;
    void operator()(const boost::system::error_code& error, std::size_t bytes) const {
      IoWait* wait = std::exchange(stream->read_, nullptr);
      wait->finish(result_of(error, bytes));
    }
  };
  struct WriteReady {
    TcpStream* stream;
    using allocator_type = OpAllocator<void>;
    [[nodiscard]] allocator_type get_allocator() const noexcept;
    void operator()(const boost::system::error_code& error) const { stream->write_ready(error); }
  };

  void write_ready(const boost::system::error_code& error) {
    IoResult result = result_of(error, written_);
    if (result.ok() && !send_some(result)) {
      socket_.async_wait(Socket::wait_write, WriteReady{this});
      return;
    }
    std::exchange(write_, nullptr)->finish(result);
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
      const ssize_t sent =
          ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
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

  Socket socket_;
  int family_;
  IoWait* read_ = nullptr;
  IoWait* write_ = nullptr;
  OpMemory read_memory_;
  OpMemory write_memory_;
  std::array<iovec, 8> pieces_{};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t written_ = 0;
};

TcpStream::ReadDone::allocator_type TcpStream::ReadDone::get_allocator() const noexcept {
  return allocator_type(&stream->read_memory_);
}
TcpStream::WriteReady::allocator_type TcpStream::WriteReady::get_allocator() const noexcept {
  return allocator_type(&stream->write_memory_);
}

/// Waits for a connect with a deadline; the timer cancels the socket, which ends the wait.
class Connect {
 public:
  Connect(Loop& loop, TcpStream& stream, const SocketAddress& address, TimePoint deadline)
      : stream_(stream),
        address_(address),
        deadline_(deadline),
        timer_(loop.clock(), this, &Connect::expire) {}

  static bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    const asio::generic::stream_protocol::endpoint endpoint(address_.data(), address_.size());
    timer_.set(deadline_);
    stream_.socket().async_connect(endpoint,
                                   [this, waiter](const boost::system::error_code& error) {
                                     timer_.cancel();
                                     error_ = error;
                                     waiter.resume();
                                   });
  }
  [[nodiscard]] DialFailure await_resume() const noexcept {
    if (!error_) return {Fault::none, 0};
    if (expired_) return {Fault::connect_timeout, ETIMEDOUT};
    return {Fault::connect_failed, error_.value()};
  }

 private:
  static void expire(void* context) {
    auto* self = static_cast<Connect*>(context);
    self->expired_ = true;
    boost::system::error_code ignored;
    self->stream_.socket().close(ignored);
  }

  TcpStream& stream_;
  const SocketAddress& address_;
  TimePoint deadline_;
  Timer timer_;
  boost::system::error_code error_;
  bool expired_ = false;
};

}  // namespace

std::unique_ptr<Stream> adopt_tcp(Loop& loop, int fd, int family) {
  auto stream = std::make_unique<TcpStream>(loop.core(), family);
  stream->adopt(fd);
  return stream;
}

Task<Dialled> dial_tcp(Loop& loop, SocketAddress address, TimePoint deadline) {
  auto stream = std::make_unique<TcpStream>(loop.core(), address.family());
  boost::system::error_code error;
  stream->socket().open(asio::generic::stream_protocol(address.family(), IPPROTO_TCP), error);
  if (error) co_return DialFailure{Fault::connect_failed, error.value()};
  stream->prepare();
  Connect connect(loop, *stream, address, deadline);
  const DialFailure failure = co_await connect;
  if (failure.fault != Fault::none) co_return failure;
  co_return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace lbd::net
