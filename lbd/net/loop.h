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

}  // namespace lbd::net
