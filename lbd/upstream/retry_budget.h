// How many requests of a group may be tried again. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "config/config.h"
#include "lbd/base/clock.h"

namespace lbd::upstream {

/// One worker's budget for one group: what was retried is owed, and is paid back by the requests
/// that come (`budget_ratio` each) and by time (`budget_min` a second). What may be owed at most is
/// every request in flight once: those that a dying zone held move elsewhere together, while
/// targets that go on failing get at most that share more than was asked of them.
/// (Finagle's RetryBudget, whose ten seconds of credit are here the requests in flight.)
class RetryBudget {
 public:
  struct Load {
    std::uint64_t requests = 0;   // so far
    std::uint32_t in_flight = 0;  // the one that asks included
  };

  [[nodiscard]] bool allows(const Load& load, const config::Retries& settings,
                            TimePoint now) noexcept {
    const double seconds = std::chrono::duration<double>(now - paid_).count();
    const auto requests = static_cast<double>(load.requests - requests_);
    owed_ -= settings.budget_ratio * requests + settings.budget_min * std::max(seconds, 0.0);
    owed_ = std::max(owed_, 0.0);
    paid_ = now;
    requests_ = load.requests;
    const std::uint32_t together = settings.budget_ratio > 0 ? load.in_flight : 0;
    return owed_ + 1 <= std::max(together, settings.budget_min);
  }
  void spend() noexcept { owed_ += 1; }

 private:
  double owed_ = 0;
  std::uint64_t requests_ = 0;
  TimePoint paid_{};
};

}  // namespace lbd::upstream
