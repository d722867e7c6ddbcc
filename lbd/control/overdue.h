// Notices targets that have fallen silent: requests wait for them longer than usual, and nothing
// fails that passive health could count.
#pragma once

#include "health/checker.h"
#include "lbd/upstream/live.h"

namespace lbd::control {

/// Thread: the control loop. Lifetime: less than that of what it is given.
class Overdue {
 public:
  Overdue(Clock& clock, const upstream::LiveState& live, health::Checker& checker)
      : clock_(clock), live_(live), checker_(checker) {}

  /// Has every target checked at once whose oldest request is overdue (upstream::overdue_after).
  /// Cheap to call: it looks ten times a second at most, and only at groups with requests.
  void look();

 private:
  Clock& clock_;
  const upstream::LiveState& live_;
  health::Checker& checker_;
  TimePoint next_{};
};

}  // namespace lbd::control
