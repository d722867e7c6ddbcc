// What the policies of a group want, as a pure function of the recent signals and the group's
// size. Semantics: EC2 Auto Scaling's (simple, step and target tracking), plus one guard of
// our own: no scale-in that would itself cause the next scale-out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "lbd/base/clock.h"
#include "scaler/window.h"

namespace lbd::scaler {

enum class Direction : std::uint8_t { none, out, in };

/// Where a series ends whose figures come minutes late, each the mean of a span.
struct LateEnd {
  TimePoint at{};   // newest datapoint: of half of the instances or more
  TimePoint all{};  // newest one of all of them, by which capacity may go; `at` when there is none
  Duration span{};  // the longest that one of the newest figures is the mean of
};

/// One policy with what it looks at. Lifetime: both pointers outlive the call.
struct PolicyView {
  const config::Policy* policy = nullptr;
  const Series* series = nullptr;
  std::uint32_t counted = 0;    // instances in service past the policy's warm-up: the series' n
  bool warming = false;         // some capacity is launching, pending or within the warm-up
  std::optional<LateEnd> late;  // absent: the series ends now
  /// Since when the newest counted instance takes its share: what was measured before is of a
  /// smaller group, and adds nothing to this one.
  TimePoint joined{};
};

struct GroupView {
  TimePoint now{};
  std::uint32_t desired = 0;
  std::uint32_t min = 0;
  std::uint32_t max = 0;
  std::uint32_t present = 0;   // instances that are there, measured or not
  bool shrinking = false;      // something drains, or terminates unconfirmed
  bool activity_open = false;  // the last change of desired has not finished
  std::optional<TimePoint> activity_finished;
  TimePoint changed_at{};      // when the number of counted instances last changed
  Duration cooldown{};         // of simple policies without one of their own
  std::uint64_t unserved = 0;  // requests since the last look that found no target
  Duration idle_for{};         // since the last request
  std::vector<PolicyView> policies;
};

/// What one policy says, with the figures it says it on.
struct Verdict {
  std::string policy;
  config::Signal signal = config::Signal::cpu;
  std::optional<double> value;  // mean over the policy's window
  double threshold = 0;         // or target
  Direction direction = Direction::none;
  std::uint32_t want = 0;  // with a direction
  bool no_data = false;
  bool partial = false;   // no_data, but only because its past is not long enough
  bool outdated = false;  // it breaches upward only by what was measured before `joined`
  std::string note;       // "cpu 93.1 % above 90 % for 30 s"
};

struct Recommendation {
  Direction direction = Direction::none;
  std::uint32_t desired = 0;
  /// A machine word: scale_out, scale_in, steady, at_max, at_min, on_its_way, warming, shrinking,
  /// cooldown, guard, no_data, disagree, settling, at_zero.
  std::string_view kind = "steady";
  std::string sentence;
  std::vector<Verdict> verdicts;
};

[[nodiscard]] Recommendation recommend(const GroupView& group);

/// Instances to add (or remove, negative) for one adjustment to `n`. Percentages round as ASG
/// does: toward zero, but never to zero; `min_adjustment` is a floor on their magnitude.
[[nodiscard]] std::int64_t adjustment_of(const config::Policy& policy, double adjustment,
                                         std::uint32_t n);
/// The step that applies at `value`: above the threshold lower <= d < upper, below it lower < d <=
/// upper, with d = value - threshold. Null when none does.
[[nodiscard]] const config::Step* step_for(const config::Policy& policy, double value);
/// Whether removing `removed` of `n` instances keeps `value` below `limit` on the rest.
[[nodiscard]] bool survives_removal(double value, double limit, std::uint32_t n,
                                    std::uint32_t removed);
/// Whether the group's signals stay below every scale-out limit with one instance fewer, as far as
/// is known.
[[nodiscard]] bool spares_one(const GroupView& group);
/// The longest past the policy looks at.
[[nodiscard]] Duration span_of(const config::Policy& policy);
[[nodiscard]] std::string_view signal_name(config::Signal signal);
/// With its unit: "93.1 %", "12.5 requests/s", "250 ms".
[[nodiscard]] std::string signal_text(config::Signal signal, double value);

}  // namespace lbd::scaler
