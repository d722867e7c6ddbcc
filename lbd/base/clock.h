// Time as a dependency. Logic takes a Clock; only the loops (lbd/net) and the simulation implement
// it.
#pragma once

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstdint>

namespace lbd {

using Duration = std::chrono::steady_clock::duration;
using TimePoint = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

/// Whole microseconds; not for negative durations.
[[nodiscard]] inline std::uint64_t micros(Duration duration) noexcept {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}
/// The same, at most 71 minutes.
[[nodiscard]] inline std::uint32_t short_micros(Duration duration) noexcept {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(micros(duration), UINT32_MAX));
}

class Timer;

/// One thread's view of time. Thread: only the loop that owns it. Lifetime: outlives every Timer
/// made on it.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Monotonic. Cheap; may be as old as the start of the current loop turn's handler.
  [[nodiscard]] virtual TimePoint now() const noexcept = 0;
  /// UTC, for logs, AWS signatures and certificates; may jump.
  [[nodiscard]] virtual WallTime wall() const noexcept = 0;

 private:
  friend class Timer;
  /// Arms a timer whose `due()` is set; fires at or after it (real loops: within 10 ms), never
  /// inside this call.
  virtual void arm(Timer& timer) noexcept = 0;
  virtual void disarm(Timer& timer) noexcept = 0;
};

/// Calls a function at a time. Moving the deadline later costs nothing (the clock looks again when
/// the old one comes). Destroying or cancelling it guarantees it does not fire. It disarms itself
/// before it fires.
class Timer {
 public:
  using Fire = void (*)(void* context);

  Timer(Clock& clock, void* context, Fire callback) noexcept
      : clock_(clock), context_(context), fire_(callback) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { cancel(); }

  void set(TimePoint due) noexcept {
    if (armed && due >= armed_due) {
      due_ = due;  // lazily: the clock re-arms when the earlier one comes
      return;
    }
    cancel();
    due_ = due;
    clock_.arm(*this);
  }
  void cancel() noexcept {
    if (armed) clock_.disarm(*this);
  }
  [[nodiscard]] TimePoint due() const noexcept { return due_; }
  [[nodiscard]] bool is_set() const noexcept { return armed; }

  // For Clock implementations.
  void fire() noexcept { fire_(context_); }
  bool armed = false;
  TimePoint armed_due{};
  Timer* next = nullptr;
  Timer** link = nullptr;  // what points at this timer in its list

 private:
  Clock& clock_;
  void* context_;
  Fire fire_;
  TimePoint due_{};
};

/// `co_await sleep_until(clock, due)`; not cancellable: use Event::wait_until where something may
/// end the wait.
class SleepUntil {
 public:
  SleepUntil(Clock& clock, TimePoint due) noexcept
      : clock_(clock), due_(due), timer_(clock, this, &SleepUntil::wake) {}
  [[nodiscard]] bool await_ready() const noexcept { return due_ <= clock_.now(); }
  void await_suspend(std::coroutine_handle<> waiter) noexcept {
    waiter_ = waiter;
    timer_.set(due_);
  }
  static void await_resume() noexcept {}

 private:
  static void wake(void* self) { static_cast<SleepUntil*>(self)->waiter_.resume(); }

  Clock& clock_;
  TimePoint due_;
  Timer timer_;
  std::coroutine_handle<> waiter_;
};

[[nodiscard]] inline SleepUntil sleep_until(Clock& clock, TimePoint due) noexcept {
  return SleepUntil(clock, due);
}
[[nodiscard]] inline SleepUntil sleep_for(Clock& clock, Duration duration) noexcept {
  return SleepUntil(clock, clock.now() + duration);
}

}  // namespace lbd
