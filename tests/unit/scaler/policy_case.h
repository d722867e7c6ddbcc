// What the tests of the policies share: policies, and a group whose signals are steady.
#pragma once

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "scaler/policy.h"

namespace lbd::scaler {

using config::Policy;
using config::PolicyKind;
using std::chrono::minutes;
using std::chrono::seconds;

inline const TimePoint kNow{std::chrono::hours(2)};

inline Policy step(bool above, double threshold, double adjustment) {
  Policy policy;
  policy.name = above ? "out" : "in";
  policy.above = above;
  policy.threshold = threshold;
  policy.datapoints = policy.datapoints_to_alarm = 3;  // of 10 s
  config::Step only;
  (above ? only.lower : only.upper) = 0.0;
  only.adjustment = adjustment;
  policy.steps = {only};
  return policy;
}

inline Policy tracking(double target) {
  Policy policy;
  policy.name = "track";
  policy.kind = PolicyKind::target_tracking;
  policy.target = target;
  policy.scale_in_for = minutes(2);
  return policy;
}

/// A group of `n` in service whose policies all see the same steady value.
struct Case {
  std::vector<Policy> policies;
  double value = 0;
  std::uint32_t n = 4;
  GroupView view{};
  std::vector<Series> series;

  Case(std::vector<Policy> list, double steady, std::uint32_t instances)
      : policies(std::move(list)), value(steady), n(instances) {
    view.now = kNow;
    view.desired = n;
    view.min = 1;
    view.max = 10;
    view.cooldown = seconds(300);
    for (std::size_t i = 0; i < policies.size(); ++i) series.push_back(steadily(steady));
    for (std::size_t i = 0; i < policies.size(); ++i) {
      PolicyView one;
      one.policy = &policies[i];
      one.series = &series[i];
      one.counted = n;
      view.policies.push_back(one);
    }
  }
  Case(const Case&) = delete;

  static Series steadily(double level) {
    Series made{minutes(20)};
    for (int i = 0; i <= 1'000; ++i) made.add(kNow - seconds(i), level);
    return made;
  }
  [[nodiscard]] Recommendation ask() const { return recommend(view); }
};

}  // namespace lbd::scaler
