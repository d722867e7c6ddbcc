#include "scaler/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lbd::scaler {
namespace {

using config::Policy;
using config::PolicyKind;
using std::chrono::seconds;

/// No action within this share of the target (Nomad's threshold): rounding noise, not load.
constexpr double kTolerance = 0.01;
/// After the fleet changed, a scale-in wants this much of a look at the new size.
constexpr Duration kSettle = seconds(60);

/// Datapoints of `period` that cover `span`; at least one.
std::uint32_t datapoints_in(Duration span, Duration period) {
  const auto whole = [](Duration of) { return std::chrono::ceil<seconds>(of).count(); };
  const std::int64_t each = std::max<std::int64_t>(1, whole(period));
  return static_cast<std::uint32_t>(std::max<std::int64_t>(1, (whole(span) + each - 1) / each));
}

Duration alarm_window(const Policy& policy) {
  return Duration(policy.period) * static_cast<std::int64_t>(std::max(1u, policy.datapoints));
}

std::string span_text(Duration span) {
  const auto whole = std::chrono::ceil<seconds>(span).count();
  if (whole >= 120 && whole % 60 == 0) return fmt::format("{} min", whole / 60);
  return fmt::format("{} s", whole);
}

std::uint32_t plus(std::uint32_t n, std::int64_t change) {
  return static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(static_cast<std::int64_t>(n) + change, 0, UINT32_MAX));
}

AlarmRule alarm_rule(const Policy& policy) {
  AlarmRule rule;
  rule.above = policy.above;
  rule.inclusive = policy.kind == PolicyKind::step;  // as the bounds of its first step
  rule.threshold = policy.threshold;
  rule.period = policy.period;
  rule.datapoints = policy.datapoints;
  rule.datapoints_to_alarm = policy.datapoints_to_alarm;
  return rule;
}

/// The alarms of target tracking: every datapoint breaches.
AlarmRule high_rule(const Policy& policy) {
  AlarmRule rule;
  rule.threshold = policy.target * (1 + kTolerance);
  rule.period = policy.period;
  rule.datapoints = datapoints_in(policy.scale_out_for, policy.period);
  rule.datapoints_to_alarm = rule.datapoints;
  return rule;
}

AlarmRule low_rule(const Policy& policy) {
  AlarmRule rule;
  rule.above = false;
  rule.threshold = policy.target * policy.scale_in_ratio;
  rule.period = policy.scale_in_period;
  rule.datapoints = datapoints_in(policy.scale_in_for, policy.scale_in_period);
  rule.datapoints_to_alarm = rule.datapoints;
  return rule;
}

/// Above which value the policy adds capacity; nothing when it never does.
std::optional<double> scale_out_limit(const Policy& policy) {
  if (policy.kind == PolicyKind::target_tracking) return policy.target;
  if (!policy.above) return std::nullopt;
  const bool adds = std::any_of(policy.steps.begin(), policy.steps.end(),
                                [](const auto& step) { return step.adjustment > 0; });
  if (!adds) return std::nullopt;
  return policy.threshold;
}

TimePoint end_of(const PolicyView& view, TimePoint now) { return view.late ? view.late->at : now; }

/// The same for what removes capacity: what is not known of all is no reason to shrink.
TimePoint low_end_of(const PolicyView& view, TimePoint now) {
  return view.late ? view.late->all : now;
}

/// How far back the mean may reach without taking in a smaller group; at least a second.
Duration window_of(const PolicyView& view, TimePoint end, Duration window) {
  const Duration since = std::chrono::floor<seconds>(end - view.joined);
  return std::clamp<Duration>(since, seconds(1), std::max<Duration>(window, seconds(1)));
}

/// Whether an upward alarm still stands by what was measured at the group's present size alone.
bool stands(const PolicyView& view, TimePoint end, const AlarmRule& rule) {
  const Duration window = rule.period * static_cast<std::int64_t>(std::max(1u, rule.datapoints));
  if (end - view.joined >= window) return true;
  if (end - view.joined < rule.period) return false;
  const std::optional<double> value = view.series->average(end, window_of(view, end, window));
  return value && (*value > rule.threshold || (rule.inclusive && *value == rule.threshold));
}

std::string_view statistic_text(config::Statistic statistic) {
  switch (statistic) {
    case config::Statistic::average:
      break;
    case config::Statistic::minimum:
      return "lowest ";
    case config::Statistic::maximum:
      return "highest ";
  }
  return "";
}

std::string alarm_note(const Policy& policy, double value) {
  return fmt::format("{}{} {} {} {} for {}", statistic_text(policy.statistic),
                     signal_name(policy.signal), signal_text(policy.signal, value),
                     policy.above ? "above" : "below", signal_text(policy.signal, policy.threshold),
                     span_text(alarm_window(policy)));
}

void judge_alarm(const PolicyView& view, TimePoint at, Verdict& verdict) {
  const Policy& policy = *view.policy;
  const TimePoint now = policy.above ? end_of(view, at) : low_end_of(view, at);
  const Duration window = alarm_window(policy);
  verdict.threshold = policy.threshold;
  verdict.value = view.series->average(now, policy.above ? window_of(view, now, window) : window);
  const AlarmRule rule = alarm_rule(policy);
  const AlarmState state = view.series->evaluate(rule, now);
  if (state == AlarmState::insufficient || !verdict.value) {
    verdict.no_data = true;
    return;
  }
  if (state != AlarmState::alarm) return;
  verdict.note = alarm_note(policy, *verdict.value);
  verdict.outdated = policy.above && !stands(view, now, rule);
  if (verdict.outdated) return;
  const config::Step* step = step_for(policy, *verdict.value);
  // M of N may alarm while the mean is back inside: the smallest step is what the alarm asks for.
  if (step == nullptr) step = step_for(policy, policy.threshold);
  if (step == nullptr && policy.kind == PolicyKind::simple && !policy.steps.empty()) {
    step = &policy.steps.front();
  }
  if (step == nullptr) return;
  const std::int64_t change = adjustment_of(policy, step->adjustment, view.counted);
  verdict.want = plus(view.counted, change);
  if (change > 0) verdict.direction = Direction::out;
  if (change < 0) verdict.direction = Direction::in;
}

void judge_target(const PolicyView& view, TimePoint at, Verdict& verdict) {
  const Policy& policy = *view.policy;
  const TimePoint now = end_of(view, at);
  const TimePoint low = low_end_of(view, at);
  verdict.threshold = policy.target;
  verdict.value = view.series->average(now, window_of(view, now, policy.scale_out_for));
  if (!view.series->latest(now) || !verdict.value || policy.target <= 0) {
    verdict.no_data = true;
    return;
  }
  const auto wanted = [&](double value) {
    const double exact = view.counted * value / policy.target;
    return static_cast<std::uint32_t>(std::clamp(std::ceil(exact - 1e-9), 0.0, 1e9));
  };
  const AlarmRule high = high_rule(policy);
  if (view.series->evaluate(high, now) == AlarmState::alarm) {
    verdict.note =
        fmt::format("{} {} above the target of {} for {}", signal_name(policy.signal),
                    signal_text(policy.signal, *verdict.value),
                    signal_text(policy.signal, policy.target), span_text(policy.scale_out_for));
    verdict.outdated = !stands(view, now, high);
    if (verdict.outdated) return;
    verdict.direction = Direction::out;
    verdict.want = std::max(wanted(*verdict.value), view.counted + 1);
    return;
  }
  if (policy.disable_scale_in || view.counted == 0) return;
  if (view.series->evaluate(low_rule(policy), low) != AlarmState::alarm) return;
  const double floor = policy.target * policy.scale_in_ratio;
  const double slow = view.series->average(low, policy.scale_in_for).value_or(*verdict.value);
  const double recent = view.series->average(now, kSettle).value_or(*verdict.value);
  verdict.want = wanted(std::max(slow, recent));
  if (verdict.want >= view.counted) return;
  verdict.direction = Direction::in;
  verdict.note = fmt::format("{} {} below {} ({} of the target) for {}", signal_name(policy.signal),
                             signal_text(policy.signal, slow), signal_text(policy.signal, floor),
                             fmt::format("{:.0f} %", policy.scale_in_ratio * 100),
                             span_text(policy.scale_in_for));
}

Verdict judge(const PolicyView& view, TimePoint now) {
  Verdict verdict;
  verdict.policy = view.policy->name;
  verdict.signal = view.policy->signal;
  if (view.policy->kind == PolicyKind::target_tracking) {
    judge_target(view, now, verdict);
  } else {
    judge_alarm(view, now, verdict);
  }
  if (!verdict.no_data) return verdict;
  verdict.partial = view.series->latest(end_of(view, now)).has_value();
  verdict.note = fmt::format("{} has no fresh data", signal_name(verdict.signal));
  if (verdict.partial) {
    verdict.note = fmt::format("{} has figures for only part of the last {}",
                               signal_name(verdict.signal), span_text(alarm_window(*view.policy)));
  }
  return verdict;
}

/// Why a simple policy may not act now; empty when it may.
std::string cooldown_note(const GroupView& group, const Policy& policy) {
  if (policy.kind != PolicyKind::simple) return {};
  if (group.activity_open) {
    return fmt::format("policy {} waits for the last activity to finish", policy.name);
  }
  const Duration cooldown = policy.cooldown ? Duration(*policy.cooldown) : group.cooldown;
  if (!group.activity_finished || group.now - *group.activity_finished >= cooldown) return {};
  return fmt::format("policy {} is in its cooldown for {} more", policy.name,
                     span_text(*group.activity_finished + cooldown - group.now));
}

void refuse(Recommendation& result, std::string_view kind, std::string sentence) {
  result.direction = Direction::none;
  result.kind = kind;
  result.sentence = std::move(sentence);
}

/// True when some policy breaches upward, so that there is nothing to say about scale-in.
bool consider_out(const GroupView& group, Recommendation& result) {
  const Verdict* best = nullptr;
  std::string cooling;
  const Verdict* outdated = nullptr;
  for (std::size_t i = 0; i < group.policies.size(); ++i) {
    const Verdict& verdict = result.verdicts[i];
    if (verdict.outdated) outdated = &verdict;
    if (verdict.direction != Direction::out) continue;
    std::string note = cooldown_note(group, *group.policies[i].policy);
    if (!note.empty()) {
      cooling = fmt::format("no change: {}, but {}", verdict.note, note);
      continue;
    }
    if (best == nullptr || verdict.want > best->want) best = &verdict;
  }
  if (best == nullptr) {
    if (!cooling.empty()) {
      refuse(result, "cooldown", cooling);
    } else if (outdated != nullptr) {
      refuse(
          result, "settling",
          fmt::format("no change: {}, but not by what is measured since the last instance joined",
                      outdated->note));
    }
    return !cooling.empty() || outdated != nullptr;
  }
  const std::uint32_t want = std::min(best->want, group.max);
  if (want > group.desired) {
    result.direction = Direction::out;
    result.desired = want;
    result.kind = "scale_out";
    result.sentence = fmt::format("scale out {} -> {}: {} (policy {})", group.desired, want,
                                  best->note, best->policy);
    if (best->want > want)
      result.sentence += fmt::format("; {} wanted, max is {}", best->want, want);
    return true;
  }
  if (group.desired >= group.max) {
    refuse(result, "at_max",
           fmt::format("no change: {}, but desired {} is the maximum", best->note, group.desired));
  } else {
    refuse(result, "on_its_way",
           fmt::format("no change: {}, and the {} wanted are on their way", best->note,
                       group.desired));
  }
  return true;
}

/// The most that may go, at most `wanted`, without pushing any policy's signal over its scale-out
/// limit. Sets `why` when it is less than wanted.
std::uint32_t guarded(const GroupView& group, std::uint32_t wanted, std::string& why) {
  std::uint32_t allowed = wanted;
  if (wanted > 0 && wanted == group.desired) {
    // A process that waits uses some CPU too: whether the last one may go is for requests to say.
    if (group.idle_for >= kSettle) return wanted;
    why = fmt::format("the last request came less than {} ago", span_text(kSettle));
    --allowed;
  }
  for (const PolicyView& view : group.policies) {
    const std::optional<double> limit = scale_out_limit(*view.policy);
    if (!limit) continue;
    const TimePoint end = end_of(view, group.now);
    const double value = std::max(view.series->average(end, kSettle).value_or(*limit),
                                  view.series->average(end, seconds(10)).value_or(*limit));
    while (allowed > 0 && !survives_removal(value, *limit, view.counted, allowed)) {
      const std::uint32_t left = view.counted > allowed ? view.counted - allowed : 0;
      const double after = left == 0 ? 0 : value * view.counted / left;
      why = fmt::format("{} {} on {} would be {} on {}, not below {} (policy {})",
                        signal_name(view.policy->signal), signal_text(view.policy->signal, value),
                        view.counted,
                        left == 0 ? "without bound" : signal_text(view.policy->signal, after), left,
                        signal_text(view.policy->signal, *limit), view.policy->name);
      --allowed;
    }
  }
  return allowed;
}

/// Instances that are there: those that fail may come back.
std::uint32_t there_of(const GroupView& group) noexcept {
  std::uint32_t most = group.present;
  for (const PolicyView& each : group.policies) most = std::max(most, each.counted);
  return most;
}

/// Reasons that forbid any scale-in, whatever the policies say. True when one holds.
bool scale_in_blocked(const GroupView& group, const std::string& because, Recommendation& result) {
  for (std::size_t i = 0; i < group.policies.size(); ++i) {
    const PolicyView& view = group.policies[i];
    if (result.verdicts[i].no_data) {
      refuse(result, "no_data",
             fmt::format("no scale-in: {}, but {} (policy {})", because, result.verdicts[i].note,
                         view.policy->name));
      return true;
    }
    if (view.warming || view.counted < std::min(group.desired, group.present)) {
      refuse(result, "warming",
             fmt::format("no scale-in: {}, but capacity is still launching or warming", because));
      return true;
    }
  }
  if (group.shrinking) {
    refuse(result, "shrinking",
           fmt::format("no scale-in: {}, but the last one is not finished", because));
    return true;
  }
  return false;
}

/// Who speaks for a scale-in: the one that leaves most. Target tracking speaks only when every
/// such policy agrees; a step or simple policy speaks for itself, as in EC2 Auto Scaling.
struct Lead {
  const PolicyView* view = nullptr;
  const Verdict* verdict = nullptr;
  std::string cooling;  // of one that may not speak now
};

Lead lead_in(const GroupView& group, const Recommendation& result, const Verdict* against) {
  Lead lead;
  for (std::size_t i = 0; i < group.policies.size(); ++i) {
    const Policy& policy = *group.policies[i].policy;
    const Verdict& verdict = result.verdicts[i];
    if (verdict.direction != Direction::in) continue;
    if (policy.kind == PolicyKind::target_tracking && against != nullptr) continue;
    std::string cooling = cooldown_note(group, policy);
    if (!cooling.empty()) {
      lead.cooling = fmt::format("no scale-in: {}, but {}", verdict.note, cooling);
      continue;
    }
    if (lead.verdict != nullptr && verdict.want <= lead.verdict->want) continue;
    lead.view = &group.policies[i];
    lead.verdict = &verdict;
  }
  return lead;
}

void consider_in(const GroupView& group, Recommendation& result) {
  const Verdict* against = nullptr;
  const Verdict* tracking = nullptr;
  for (std::size_t i = 0; i < group.policies.size(); ++i) {
    const Policy& policy = *group.policies[i].policy;
    if (policy.kind != PolicyKind::target_tracking || policy.disable_scale_in) continue;
    (result.verdicts[i].direction == Direction::in ? tracking : against) = &result.verdicts[i];
  }
  const Lead found = lead_in(group, result, against);
  const Verdict* lead = found.verdict;
  if (lead == nullptr) {
    if (!found.cooling.empty()) return refuse(result, "cooldown", found.cooling);
    if (tracking == nullptr || against == nullptr) return;
    return refuse(result, "disagree",
                  fmt::format("no scale-in: {}, but policy {} does not agree", tracking->note,
                              against->policy));
  }
  const Policy& policy = *found.view->policy;
  const Duration window = policy.kind == PolicyKind::target_tracking ? Duration(policy.scale_in_for)
                                                                     : alarm_window(policy);
  Duration settle = std::min(kSettle, window);
  // The mean of a time in which the fleet changed is of neither size.
  if (found.view->late) settle = std::max(settle, found.view->late->span);
  const TimePoint measured = low_end_of(*found.view, group.now);
  if (group.desired <= group.min) {
    return refuse(
        result, "at_min",
        fmt::format("no change: {}, but desired {} is the minimum", lead->note, group.desired));
  }
  if (scale_in_blocked(group, lead->note, result)) return;
  if (measured - group.changed_at < settle) {
    return refuse(result, "settling",
                  fmt::format("no scale-in: {}, but the fleet changed less than {} ago", lead->note,
                              span_text(settle)));
  }
  std::uint32_t want = std::clamp(lead->want, group.min, group.desired);
  std::string why;
  std::uint32_t removed = group.desired - want;
  if (const std::uint32_t there = there_of(group); there < group.desired) {
    // What cannot be had is given up first: no instance goes for that.
    want = std::clamp(there, want, group.desired);
    removed = group.desired - want;
  } else {
    removed = guarded(group, removed, why);
  }
  if (removed == 0) {
    return refuse(result, "guard", fmt::format("no scale-in: {}, but {}", lead->note, why));
  }
  result.direction = Direction::in;
  result.desired = group.desired - removed;
  result.kind = "scale_in";
  result.sentence = fmt::format("scale in {} -> {}: {} (policy {})", group.desired, result.desired,
                                lead->note, lead->policy);
}

/// Nothing runs, so nothing can be measured: a request that finds no target is the signal.
void consider_first(const GroupView& group, Recommendation& result) {
  if (group.unserved == 0) {
    return refuse(result, "at_zero", "no change: 0 wanted, and no request asks for an instance");
  }
  const std::string note = fmt::format("{} {} found no target", group.unserved,
                                       group.unserved == 1 ? "request" : "requests");
  if (group.max == 0) {
    return refuse(result, "at_max",
                  fmt::format("no change: {}, but desired 0 is the maximum", note));
  }
  result.direction = Direction::out;
  result.desired = 1;
  result.kind = "scale_out";
  result.sentence = fmt::format("scale out 0 -> 1: {}", note);
}

}  // namespace

bool spares_one(const GroupView& group) {
  std::string why;
  return guarded(group, 1, why) == 1;
}

Duration span_of(const Policy& policy) {
  if (policy.kind == PolicyKind::target_tracking) {
    const Duration out = Duration(policy.period) + Duration(policy.scale_out_for);
    const Duration in = Duration(policy.scale_in_period) + Duration(policy.scale_in_for);
    return std::max({out, in, kSettle});
  }
  return std::max(alarm_window(policy), kSettle);
}

Recommendation recommend(const GroupView& group) {
  Recommendation result;
  result.desired = group.desired;
  result.sentence =
      fmt::format("no change: {} wanted, no policy asks for another number", group.desired);
  for (const PolicyView& view : group.policies) {
    result.verdicts.push_back(judge(view, group.now));
  }
  for (const Verdict& verdict : result.verdicts) {
    if (!verdict.no_data) continue;
    if (!verdict.partial) {
      refuse(result, "no_data", fmt::format("no change: {}", verdict.note));
    } else if (result.kind == "steady") {
      result.sentence =
          fmt::format("no change: {} wanted, no policy asks for another number; {} (policy {})",
                      group.desired, verdict.note, verdict.policy);
    }
  }
  if (group.desired == 0 && !group.policies.empty()) {
    consider_first(group, result);
  } else if (!consider_out(group, result)) {
    consider_in(group, result);
  }
  return result;
}

}  // namespace lbd::scaler
