// Which zones may be launched in: a breaker per zone, pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "lbd/base/clock.h"

namespace lbd::scaler {

/// Opens for `least`, twice as long each time in a row, at most `most`. Open: no launch in the
/// zone. Once the time is over a launch may try again; only an instance that really came into
/// service closes it.
struct ZoneBreaker {
  std::string zone;
  std::uint32_t failures = 0;
  TimePoint open_until{};
  std::string reason;

  [[nodiscard]] bool open(TimePoint now) const noexcept { return now < open_until; }
  void trip(TimePoint now, Duration least, Duration most) noexcept {
    if (open(now)) return;  // one outage seen many times is one failure
    const std::uint32_t doublings = std::min(failures, 16u);
    open_until = now + std::min(least * (std::int64_t{1} << doublings), most);
    ++failures;
  }
  void close() noexcept {
    failures = 0;
    open_until = {};
    reason.clear();
  }
};

}  // namespace lbd::scaler
