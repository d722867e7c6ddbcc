#include "lbd/control/scaler_metrics.h"

#include <array>
#include <string>
#include <utility>

namespace lbd::control {
namespace {

/// What a group may be limited by, and the kinds of decision that say so.
constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kLimits{{
    {"at_max", "max"},
    {"full", "max"},
    {"at_min", "min"},
    {"cooldown", "cooldown"},
    {"settling", "stabilization"},
    {"warming", "stabilization"},
    {"shrinking", "stabilization"},
    {"guard", "guard"},
    {"no_data", "no_data"},
    {"no_zone", "no_capacity"},
    {"quota", "quota"},
    {"held", "refused"},
    {"mass_failure", "mass_failure"},
}};

void collect_decisions(const scaler::GroupStatus& group, Families& out) {
  for (const auto& [key, count] : group.decided.decisions) {
    out.counter(
        "lbd_scaler_decisions_total",
        "Decisions, one each second, by kind and whether something was done.",
        {{"scaling_group", group.name}, {"kind", key.first}, {"acted", key.second ? "yes" : "no"}},
        static_cast<double>(count));
  }
  for (const auto& [kind, by] : kLimits) {
    out.gauge("lbd_scaler_limited", "1 while this keeps the group from another size.",
              {{"scaling_group", group.name}, {"by", std::string(by)}}, group.kind == kind ? 1 : 0);
  }
  const auto evaluated = group.decided.evaluated.time_since_epoch();
  out.gauge("lbd_scaler_last_evaluation_timestamp_seconds", "When the group last decided.",
            {{"scaling_group", group.name}}, std::chrono::duration<double>(evaluated).count());
}

void collect_instance_times(const scaler::GroupStatus& group, Families& out) {
  const scaler::LaunchTimes& launch = group.fleet.launch;
  const std::array<std::pair<std::string_view, const scaler::PhaseHistogram*>, 4> phases{{
      {"api", &launch.api},
      {"boot", &launch.boot},
      {"first_healthy", &launch.first_healthy},
      {"in_service", &launch.in_service},
  }};
  for (const auto& [phase, times] : phases) {
    out.histogram("lbd_instance_launch_seconds", "From a launch call to the end of a phase.",
                  {{"scaling_group", group.name}, {"phase", std::string(phase)}},
                  {scaler::kPhaseBounds, times->buckets, times->sum});
  }
  out.histogram("lbd_drain_seconds", "From the begin of a drain to the termination.",
                {{"scaling_group", group.name}},
                {scaler::kPhaseBounds, group.fleet.drain.buckets, group.fleet.drain.sum});
  for (const auto& [key, count] : group.fleet.launch_failures) {
    out.counter("lbd_instance_launch_failures_total", "Launches that failed.",
                {{"scaling_group", group.name}, {"zone", key.first}, {"reason", key.second}},
                static_cast<double>(count));
  }
}

}  // namespace

void collect_scaling_group(const scaler::GroupStatus& group, Families& out) {
  const std::vector<Label> labels{{"scaling_group", group.name}};
  out.gauge("lbd_scaler_desired_instances", "Instances wanted.", labels, group.desired);
  out.gauge("lbd_scaler_min_instances", "Fewest instances allowed.", labels, group.min);
  out.gauge("lbd_scaler_max_instances", "Most instances allowed.", labels, group.max);
  out.gauge("lbd_scaler_paused", "1 while scaling is paused by an admin.", labels,
            group.paused ? 1 : 0);
  out.gauge("lbd_scaler_held",
            "1 while nothing is launched or ended because the plan cannot be read or written.",
            labels, group.store_error.empty() ? 0 : 1);
  out.gauge("lbd_scaler_decision", "Id of the last decision, for lbd why-scale.", labels,
            static_cast<double>(group.decision));
  for (const scaler::InstanceStatus& instance : group.instances) {
    out.gauge("lbd_scaler_instances", "Instances, by zone and state.",
              {{"scaling_group", group.name},
               {"zone", instance.zone},
               {"state", std::string(scaler::state_name(instance.state))}},
              1);
  }
  for (const scaler::SignalStatus& signal : group.signals) {
    const std::vector<Label> of{{"scaling_group", group.name},
                                {"policy", signal.policy},
                                {"signal", std::string(scaler::signal_name(signal.signal))}};
    if (signal.value)
      out.gauge("lbd_scaler_signal_value", "What a policy's signal reads.", of, *signal.value);
    out.gauge("lbd_scaler_signal_target", "The threshold or target of a policy.", of,
              signal.threshold);
    out.gauge("lbd_scaler_signal_recommendation", "Instances a policy asks for.", of,
              signal.direction == scaler::Direction::none ? group.desired : signal.want);
    if (signal.age) {
      out.gauge("lbd_scaler_signal_age_seconds", "Age of a policy's newest figure.", of,
                std::chrono::duration<double>(*signal.age).count());
    }
  }
  out.counter("lbd_scaler_launches_total", "Instances launched.", labels,
              static_cast<double>(group.launches));
  out.counter("lbd_scaler_terminations_total", "Instances terminated.", labels,
              static_cast<double>(group.terminations));
  collect_decisions(group, out);
  collect_instance_times(group, out);
}

}  // namespace lbd::control
