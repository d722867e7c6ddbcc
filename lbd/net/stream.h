// Stream: a byte stream as coroutines see it. One of the four seams: TCP (tcp_stream.cc), TLS
// (tls_stream.cc), in memory (tests).
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "lbd/base/clock.h"
#include "lbd/base/result.h"

namespace lbd::net {

/// fault: none, closed (end of stream), cancelled, io_error with `error` an errno, or tls_failed: a
/// target refused the handshake after it was over on our side.
struct IoResult {
  Fault fault = Fault::none;
  int error = 0;
  std::size_t bytes = 0;
  [[nodiscard]] bool ok() const noexcept { return fault == Fault::none; }
};

/// An operation under way. Its end resumes a coroutine, or calls `notify`, or is just noted.
struct IoWait {
  using Notify = void (*)(void* context);

  std::coroutine_handle<> waiter;
  Notify notify = nullptr;
  void* context = nullptr;
  IoResult result;
  bool done = false;

  void finish(IoResult outcome) noexcept {
    result = outcome;
    done = true;
    if (waiter) {
      std::exchange(waiter, nullptr).resume();
    } else if (notify != nullptr) {
      notify(context);
    }
  }
};

/// Where a read goes. `make` gives room for a byte at least, which holds until the read is over; it
/// is called once at most, and not before there is something to read.
struct RoomMaker {
  std::span<char> (*make)(void* context) = nullptr;
  void* context = nullptr;
};

class TlsClient;

/// A handshake that succeeded, as it is counted.
enum class TlsKind : std::uint8_t { none, tls12, tls12_resumed, tls13, tls13_resumed, kCount };

/// Thread: the loop it was made on. At most one read and one write are under way at a time; each
/// ends with a result, `cancel` and `close` included, and only then may the stream be destroyed.
class Stream {
 public:
  virtual ~Stream() = default;

  /// Starts a read of at least one byte. `wait.finish` is called later, never inside this call, or
  /// (true) `wait` is finished on return. `wait` may outlive many awaits: a read may be posted long
  /// before anyone waits for it.
  virtual bool begin_read(std::span<char> into, IoWait& wait) = 0;
  /// The same with room that is made when something has come: until then it needs none.
  virtual bool begin_read(RoomMaker room, IoWait& wait) = 0;
  /// Writes all of it, unless it fails. The pieces must live until then; the array of them need
  /// not.
  virtual bool begin_write(std::span<const iovec> pieces, IoWait& wait) = 0;
  /// Ends what is under way with `cancelled`; the stream stays usable.
  virtual void cancel() noexcept = 0;
  /// Half-close: the peer sees the end of stream.
  virtual void shutdown_write() noexcept = 0;
  /// What the last failure was in the words of the protocol below; empty when errno says it all.
  [[nodiscard]] virtual std::string failure_text() const { return {}; }
  /// Whose TLS settings a connection that was dialled goes by; null: plain.
  [[nodiscard]] virtual const TlsClient* tls_client() const noexcept { return nullptr; }
  [[nodiscard]] virtual TlsKind tls_kind() const noexcept { return TlsKind::none; }
  /// Ends what is under way with `cancelled` and closes the descriptor. `reset`: RST instead of
  /// FIN.
  virtual void close(bool reset = false) noexcept = 0;

  class Read {
   public:
    Read(Stream& stream, std::span<char> into) noexcept : stream_(stream), into_(into) {}
    static bool await_ready() noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> waiter) {
      if (stream_.begin_read(into_, wait_)) return false;
      wait_.waiter = waiter;
      return true;
    }
    [[nodiscard]] IoResult await_resume() const noexcept { return wait_.result; }

   private:
    Stream& stream_;
    std::span<char> into_;
    IoWait wait_;
  };
  [[nodiscard]] Read read(std::span<char> into) noexcept { return {*this, into}; }

  class Write {
   public:
    Write(Stream& stream, std::span<const iovec> pieces) noexcept
        : stream_(stream), pieces_(pieces) {}
    bool await_ready() { return stream_.begin_write(pieces_, wait_); }
    void await_suspend(std::coroutine_handle<> waiter) noexcept { wait_.waiter = waiter; }
    [[nodiscard]] IoResult await_resume() const noexcept { return wait_.result; }

   private:
    Stream& stream_;
    std::span<const iovec> pieces_;
    IoWait wait_;
  };
  [[nodiscard]] Write write(std::span<const iovec> pieces) noexcept { return {*this, pieces}; }
};

/// Cancels a stream's operations at a time, unless it is destroyed before.
class StreamDeadline {
 public:
  StreamDeadline(Clock& clock, Stream& stream, TimePoint due) noexcept
      : stream_(stream), timer_(clock, this, &StreamDeadline::pass) {
    timer_.set(due);
  }
  [[nodiscard]] bool passed() const noexcept { return passed_; }

 private:
  static void pass(void* context) {
    auto* self = static_cast<StreamDeadline*>(context);
    self->passed_ = true;
    self->stream_.cancel();
  }

  Stream& stream_;
  Timer timer_;
  bool passed_ = false;
};

/// Waits for an operation that was begun earlier.
class Finished {
 public:
  explicit Finished(IoWait& wait) noexcept : wait_(wait) {}
  [[nodiscard]] bool await_ready() const noexcept { return wait_.done; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { wait_.waiter = waiter; }
  // NOLINTNEXTLINE(modernize-use-nodiscard): some only wait for the end
  IoResult await_resume() const noexcept { return wait_.result; }

 private:
  IoWait& wait_;
};

}  // namespace lbd::net
