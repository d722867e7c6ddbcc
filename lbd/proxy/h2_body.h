// Bodies of HTTP/2 streams on their way between an exchange and a codec; of either side.
#pragma once

#include <coroutine>
#include <utility>
#include <vector>

#include "lbd/base/buffer.h"
#include "lbd/base/result.h"
#include "lbd/proxy/sides.h"

namespace lbd::proxy {

/// Suspends one coroutine until `wake`.
class H2Wait {
 public:
  [[nodiscard]] bool waiting() const noexcept { return static_cast<bool>(waiter_); }
  /// `why`: what the wait ends with; none: what was waited for has come.
  void wake(Fault why) {
    if (!waiter_) return;
    why_ = why;
    std::exchange(waiter_, nullptr).resume();
  }
  static bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { waiter_ = waiter; }
  [[nodiscard]] Fault await_resume() const noexcept { return why_; }

 private:
  std::coroutine_handle<> waiter_;
  Fault why_ = Fault::none;
};

/// What a stream has to send: first what was small enough to be copied, then a piece of the
/// giver's.
class H2Outgoing {
 public:
  explicit H2Outgoing(BufferPool& pool) : copied_(pool), trailer_text_(pool) {}

  void clear() noexcept;
  /// True: it was copied, and the giver may go on; else its bytes must hold until all is taken.
  [[nodiscard]] bool give(const BodyPiece& piece);
  [[nodiscard]] std::size_t size() const noexcept { return copied_.size() + piece_.size(); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  /// Appends the next `size` bytes.
  void take(std::size_t size, Buffer& out);
  /// It is not sent any more.
  void drop() noexcept;
  [[nodiscard]] const std::vector<http::Header>& trailers() const noexcept { return trailers_; }

 private:
  void keep_trailers(const std::vector<http::Header>& trailers);

  Buffer copied_;
  std::string_view piece_;
  Buffer trailer_text_;
  std::vector<http::Header> trailers_;
};

}  // namespace lbd::proxy
