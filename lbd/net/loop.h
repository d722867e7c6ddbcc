// Loop: one thread's event loop and clock. Boost.Asio underneath (loop_asio.h), which stays out of
// this header.
#pragma once

#include <functional>
#include <memory>

#include "lbd/base/clock.h"

namespace lbd::net {

class LoopCore;  // loop_asio.h: the io_context and timer wheel

/// Thread: `run` on one thread; everything else from that thread, except `post` and `stop`, which
/// any thread may call.
class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Runs until `stop`.
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
