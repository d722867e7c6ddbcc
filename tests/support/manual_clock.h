// A clock that tests move by hand: timers fire in the order of their due times (then of arming),
// inside advance().
#pragma once

#include <map>
#include <utility>

#include "lbd/base/clock.h"

namespace lbd {

class ManualClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return now_; }
  [[nodiscard]] WallTime wall() const noexcept override {
    return WallTime(
        std::chrono::duration_cast<WallTime::duration>(now_.time_since_epoch() + wall_offset_));
  }

  /// Moves time on, firing what comes due on the way, each at its own time.
  void advance(Duration by) {
    const TimePoint end = now_ + by;
    while (run_next(end)) {
    }
    now_ = end;
  }
  /// Jumps to the next timer at or before `limit` and fires it; false when there is none.
  bool run_next(TimePoint limit) {
    if (timers_.empty() || timers_.begin()->first.first > limit) return false;
    Timer& timer = *timers_.begin()->second;
    if (timer.due() > timers_.begin()->first.first) {  // moved later
      disarm(timer);
      arm(timer);
      return true;
    }
    now_ = std::max(now_, timer.due());
    disarm(timer);
    timer.fire();
    return true;
  }
  [[nodiscard]] bool idle() const noexcept { return timers_.empty(); }
  void set_wall_offset(Duration offset) { wall_offset_ = offset; }

 private:
  using Key = std::pair<TimePoint, std::uint64_t>;

  void arm(Timer& timer) noexcept override {
    timer.armed = true;
    timer.armed_due = timer.due();
    const Key key{timer.due(), ++sequence_};
    keys_[&timer] = key;
    timers_[key] = &timer;
  }
  void disarm(Timer& timer) noexcept override {
    const auto found = keys_.find(&timer);
    timers_.erase(found->second);
    keys_.erase(found);
    timer.armed = false;
  }

  TimePoint now_{std::chrono::hours(1)};
  Duration wall_offset_{std::chrono::hours(24 * 365 * 56)};
  std::uint64_t sequence_ = 0;
  std::map<Key, Timer*> timers_;
  std::map<Timer*, Key> keys_;
};

}  // namespace lbd
