// Loop: one thread's event loop and clock (loop_core.h).
#pragma once

#include <functional>
#include <memory>

#include "lbd/base/clock.h"

namespace lbd::net {

class LoopCore;

/// Thread: `run` on one thread; everything else from that thread, except `post` and `stop`, which
/// any thread may call.
class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Runs until `stop`, which may have come before; then it may run again.
  void run();
  void stop();
  /// Runs `work` on the loop's thread, after the current handler.
  void post(std::function<void()> work);
  [[nodiscard]] Clock& clock() noexcept;
  [[nodiscard]] LoopCore& core() noexcept { return *core_; }

 private:
  std::unique_ptr<LoopCore> core_;
};

/// Calls a function at the end of a turn of the loop, when all that was ready has been handled:
/// what many handlers asked for is done once. Thread: the loop's. Lifetime: not called any more
/// once it is destroyed, which may happen inside the call.
class TurnEnd {
 public:
  using Call = void (*)(void* context);
  TurnEnd(Loop& loop, void* context, Call call);
  ~TurnEnd();
  TurnEnd(const TurnEnd&) = delete;
  TurnEnd& operator=(const TurnEnd&) = delete;

  /// Never calls inside this call. Once however often it is asked; asked inside the call: again.
  void ask() noexcept;

 private:
  class Deferred;
  std::unique_ptr<Deferred> deferred_;
};

}  // namespace lbd::net
