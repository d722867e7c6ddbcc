// Letting the others of a loop have their turn.
#pragma once

#include <coroutine>
#include <utility>

#include "lbd/net/loop.h"

namespace lbd::net {

/// A coroutine that could go on and on waits for it now and then. Thread: the loop's. Lifetime:
/// outlives its one waiter.
class NextTurn {
 public:
  explicit NextTurn(Loop& loop) : turn_(loop, this, &NextTurn::come) {}

  class Wait {
   public:
    explicit Wait(NextTurn& next) noexcept : next_(next) {}
    static bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiter) noexcept {
      next_.waiter_ = waiter;
      next_.turn_.ask();
    }
    static void await_resume() noexcept {}

   private:
    NextTurn& next_;
  };
  [[nodiscard]] Wait wait() noexcept { return Wait(*this); }

 private:
  static void come(void* self) {
    std::exchange(static_cast<NextTurn*>(self)->waiter_, nullptr).resume();
  }

  TurnEnd turn_;
  std::coroutine_handle<> waiter_;
};

}  // namespace lbd::net
