// Scaling policies: the short form, steps, simple policies and target tracking. What a number means
// depends on `signal` (a ratio, a duration or a count), so values are first set aside and then
// read.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "config/parse_steps.h"
#include "config/scalars.h"
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

constexpr std::array<std::string_view, 4> kSignals{"cpu", "requests_per_target",
                                                   "in_flight_per_target", "latency"};

constexpr milliseconds kAlarmSpanMax = 24h;  // CloudWatch's limit, and what a series can hold

/// A policy as written: values whose meaning depends on others wait here.
struct PolicyDraft {
  Policy policy;
  std::string type;  // empty: not given
  std::string adjustment;
  std::optional<Cursor> above, below, duration, period, datapoints, add, remove, set, steps, target,
      scale_in_ratio;
  seconds hold{0};
  seconds period_written{0};
  std::optional<std::uint32_t> datapoints_to_alarm;
};

void read_steps(Decoder& decoder, PolicyDraft& draft) {
  const Cursor& at = *draft.steps;
  std::vector<PlacedStep> steps;
  const auto read = list({.read =
                              [&](Decoder& d, const Cursor& item) {
                                auto step = read_step(d, item, draft.policy.signal);
                                if (step) steps.push_back(*step);
                              },
                          .sample = {}});
  read.read(decoder, at);
  if (at.value.kind != ValueKind::sequence) return;
  if (at.value.items.empty()) return decoder.expected(at, "at least one step");
  if (steps.size() != at.value.items.size()) return;  // some are wrong: no more to say
  check_steps(decoder, at, steps);
  draft.policy.adjustment_type = steps[0].type;
  for (const auto& placed : steps) draft.policy.steps.push_back(placed.step);
  const auto& edge = draft.policy.above ? steps.back().step.upper : steps.front().step.lower;
  if (edge) {
    decoder.warning(draft.policy.above ? steps.back().place : steps.front().place, "W2002",
                    fmt::format("{}: a value beyond this step changes nothing", at.path),
                    fmt::format("leave out '{}'", draft.policy.above ? "to" : "from"));
  }
}

/// A time that is looked at in datapoints of a written period must be a multiple of it.
void check_multiple(Decoder& decoder, const Cursor& at, milliseconds window, milliseconds period) {
  if (window % period == milliseconds(0)) return;
  decoder.error(at.value.place, "E2005",
                fmt::format("{}: {} is not a multiple of the period, {}", at.path,
                            duration_text(window), duration_text(period)));
}

/// The same of a key that may be absent: then the period does not fit its default.
void check_multiple_of(Decoder& decoder, const Cursor& policy, std::string_view key,
                       std::pair<milliseconds, milliseconds> window_and_period) {
  const auto [window, period] = window_and_period;
  if (const auto written = member_of(policy, key)) {
    return check_multiple(decoder, *written, window, period);
  }
  if (window % period == milliseconds(0)) return;
  const auto at = member_of(policy, "period");
  decoder.error(at->value.place, "E2005",
                fmt::format("{}: {} does not divide {}, which is {}", at->path,
                            duration_text(period), key, duration_text(window)));
}

/// `for: 30s` is so many datapoints of one period each.
void resolve_duration(Decoder& decoder, PolicyDraft& draft) {
  Policy& policy = draft.policy;
  if (draft.duration && draft.datapoints) {
    decoder.error(
        draft.duration->label, "E2010",
        fmt::format("{}: 'for' and 'datapoints' say the same: keep one", draft.duration->path));
  }
  if (draft.duration && draft.hold.count() > 0) {
    if (draft.period) {
      check_multiple(decoder, *draft.duration, draft.hold, policy.period);
    } else {
      policy.period = default_period(draft.hold);
    }
    const auto datapoints = (draft.hold + policy.period - 1ms) / policy.period;
    policy.datapoints = static_cast<std::uint32_t>(datapoints);
  }
  policy.datapoints_to_alarm = draft.datapoints_to_alarm.value_or(policy.datapoints);
  if (draft.datapoints && policy.period * std::int64_t{policy.datapoints} > kAlarmSpanMax) {
    decoder.error(draft.datapoints->value.place, "E2005",
                  fmt::format("{}: {} datapoints of {} are more than a day", draft.datapoints->path,
                              policy.datapoints, duration_text(policy.period)));
  }
}

void resolve_threshold(Decoder& decoder, const Cursor& at, PolicyDraft& draft) {
  if (draft.above.has_value() == draft.below.has_value()) {
    decoder.error(at.label, draft.above ? "E2010" : "E2004",
                  fmt::format("{}: exactly one of above, below and target is needed", at.path));
    return;
  }
  draft.policy.above = draft.above.has_value();
  const auto level =
      read_level(decoder, draft.above ? *draft.above : *draft.below, draft.policy.signal);
  if (level) draft.policy.threshold = *level;
}

void resolve_alarm(Decoder& decoder, const Cursor& at, PolicyDraft& draft) {
  Policy& policy = draft.policy;
  policy.kind = draft.type == "simple" ? PolicyKind::simple : PolicyKind::step;
  resolve_threshold(decoder, at, draft);
  resolve_duration(decoder, draft);
  if (draft.steps) {
    if (draft.add || draft.remove || draft.set) {
      decoder.error(draft.steps->label, "E2010",
                    fmt::format("{}: either steps, or one of add, remove and set", at.path));
    }
    if (policy.kind == PolicyKind::simple) {
      decoder.error(draft.steps->label, "E2010",
                    fmt::format("{}: a simple policy has no steps", at.path),
                    "use type: step, or one of add, remove and set");
    }
    read_steps(decoder, draft);
  } else {
    const auto adjustment =
        read_adjustment(decoder, at, {.add = draft.add, .remove = draft.remove, .set = draft.set});
    if (!adjustment) return;
    policy.adjustment_type = adjustment->type;
    Step step{.lower = {}, .upper = {}, .adjustment = adjustment->amount};
    (policy.above ? step.lower : step.upper) = 0.0;
    policy.steps.push_back(step);
  }
  const std::array<std::string_view, 3> names{"change", "exact", "percent"};
  const auto written = names[static_cast<std::size_t>(policy.adjustment_type)];
  if (!draft.adjustment.empty() && draft.adjustment != written && !policy.steps.empty()) {
    decoder.error(member_of(at, "adjustment")->value.place, "E2010",
                  fmt::format("{}: adjustment is '{}', but what is written is '{}'", at.path,
                              draft.adjustment, written),
                  "write 20% for percent, set: for exact, a plain count for change");
  }
}

/// The periods of target tracking: the one written, or what suits each of its two times.
void resolve_tracking_periods(Decoder& decoder, const Cursor& at, PolicyDraft& draft) {
  Policy& policy = draft.policy;
  if (!draft.period) {
    policy.period = default_period(policy.scale_out_for);
    policy.scale_in_period = default_period(policy.scale_in_for);
    return;
  }
  policy.scale_in_period = policy.period;
  check_multiple_of(decoder, at, "scale_out_for", {policy.scale_out_for, policy.period});
  check_multiple_of(decoder, at, "scale_in_for", {policy.scale_in_for, policy.period});
}

void resolve_tracking(Decoder& decoder, const Cursor& at, PolicyDraft& draft) {
  constexpr double kCpuScaleInRatio = 0.7;
  Policy& policy = draft.policy;
  policy.kind = PolicyKind::target_tracking;
  if (!draft.scale_in_ratio && policy.signal == Signal::cpu) {
    policy.scale_in_ratio = kCpuScaleInRatio;
  }
  const auto level = read_level(decoder, *draft.target, policy.signal);
  if (level) policy.target = *level;
  resolve_tracking_periods(decoder, at, draft);
}

/// Keys that have no meaning in this form of policy.
void refuse_foreign_keys(Decoder& decoder, const Cursor& at, const PolicyDraft& draft) {
  static constexpr std::array<std::string_view, 12> kAlarmKeys{
      "statistic",  "above",          "below", "for", "datapoints", "datapoints_to_alarm",
      "adjustment", "min_adjustment", "steps", "add", "remove",     "set"};
  static constexpr std::array<std::string_view, 5> kTrackingKeys{
      "target", "scale_in_ratio", "scale_out_for", "scale_in_for", "disable_scale_in"};
  const bool tracking = draft.policy.kind == PolicyKind::target_tracking;
  const std::string_view kind = tracking                 ? "a target tracking"
                                : draft.type == "simple" ? "a simple"
                                                         : "a step";
  for (const auto& member : at.value.members) {
    const auto among = [&member](const auto& keys) {
      return std::find(keys.begin(), keys.end(), member.key) != keys.end();
    };
    const bool cooldown = member.key == "cooldown" && draft.type != "simple";
    const bool warm_up = member.key == "warm_up" && draft.type == "simple";
    if (!(tracking ? among(kAlarmKeys) : among(kTrackingKeys)) && !cooldown && !warm_up) continue;
    decoder.error(member.place, "E2010",
                  fmt::format("{}: '{}' has no meaning in {} policy", at.path, member.key, kind),
                  cooldown ? "only type: simple has a cooldown" : "");
  }
}

void resolve(Decoder& decoder, const Cursor& at, PolicyDraft& draft) {
  const bool tracking = draft.type == "target_tracking" || (draft.type.empty() && draft.target);
  if (tracking && !draft.target) {
    decoder.error(at.label, "E2004", fmt::format("{}: required key 'target' is missing", at.path));
    return;
  }
  if (tracking) {
    resolve_tracking(decoder, at, draft);
  } else {
    resolve_alarm(decoder, at, draft);
  }
  refuse_foreign_keys(decoder, at, draft);
}

std::vector<Field> alarm_fields(PolicyDraft& draft) {
  Policy& policy = draft.policy;
  return {
      {"above", aside(draft.above, Amount::value), "Acts while the signal is at or above this."},
      {"below", aside(draft.below, Amount::value), "Acts while the signal is at or below this."},
      {"for",
       {.read =
            [&draft](Decoder& decoder, const Cursor& at) {
              draft.duration.emplace(at);
              duration(draft.hold, {.least = 1s, .most = 24h}).read(decoder, at);
            },
        .schema = duration(draft.hold).schema,
        .fallback = "one period"},
       "How long every datapoint must breach."},
      {"period",
       {.read =
            [&draft](Decoder& decoder, const Cursor& at) {
              draft.period.emplace(at);
              duration(draft.period_written, {.least = 1s, .most = 1h}).read(decoder, at);
              if (draft.period_written > 0s) draft.policy.period = draft.period_written;
            },
        .schema = duration(policy.period).schema,
        .fallback =
            "`10s`; `1m` for times of 15 minutes and more; less where fewer than three would "
            "fit"},
       "Time of one datapoint, the mean of its seconds."},
      {"statistic",
       choice({.words = {"average", "minimum", "maximum"}, .later = {}}, 3,
              [&policy](std::size_t i) { policy.statistic = static_cast<Statistic>(i); }),
       "What of the instances' figures is compared: their mean (default), the lowest, the "
       "highest."},
      {"datapoints",
       {.read =
            [&draft](Decoder& decoder, const Cursor& at) {
              draft.datapoints.emplace(at);
              whole(draft.policy.datapoints, {1, 10'000}).read(decoder, at);
            },
        .schema = whole(policy.datapoints, {1, 10'000}).schema,
        .fallback = "`1`"},
       "How many of the last datapoints are looked at (N)."},
      {"datapoints_to_alarm", optional_whole(draft.datapoints_to_alarm),
       "How many of them must breach (M). Default: all."},
      {"adjustment", word(draft.adjustment, {"change", "exact", "percent"}),
       "What add, remove and set are; follows from how they are written."},
      {"min_adjustment", whole(policy.min_adjustment, {1, 10'000}),
       "Fewest instances that a share adds or removes."},
      {"steps",
       {.read = [&draft](Decoder&, const Cursor& at) { draft.steps.emplace(at); },
        .schema =
            [] {
              StepDraft sample;
              return json::object{
                  {"type", "array"}, {"minItems", 1}, {"items", schema_of(step_table(sample))}};
            },
        .fallback = ""},
       "How much is added or removed, by how far the signal is past the threshold."},
      {"add", aside(draft.add, Amount::adjustment), "Instances to add: 1, or a share: 20%."},
      {"remove", aside(draft.remove, Amount::adjustment),
       "Instances to remove: 1, or a share: 20%."},
      {"set", aside(draft.set, Amount::count), "Number of instances to have."},
      {"cooldown", optional_duration(policy.cooldown, {.least = 0s, .most = 24h}),
       "Rest after an action (simple policies). Default: the group's."},
  };
}

std::vector<Field> tracking_fields(PolicyDraft& draft) {
  Policy& policy = draft.policy;
  return {
      {"target", aside(draft.target, Amount::value), "Value that the signal is held at."},
      {"scale_in_ratio",
       {.read =
            [&draft](Decoder& decoder, const Cursor& at) {
              draft.scale_in_ratio.emplace(at);
              ratio(draft.policy.scale_in_ratio, {0.01, 1}).read(decoder, at);
            },
        .schema = ratio(policy.scale_in_ratio, {0.01, 1}).schema,
        .fallback = "`90%`, and `70%` for cpu"},
       "Instances are removed only below this share of the target."},
      {"scale_out_for", duration(policy.scale_out_for, {.least = 1s, .most = 24h}),
       "How long the signal must be over the target."},
      {"scale_in_for", duration(policy.scale_in_for, {.least = 1s, .most = 24h}),
       "How long the signal must be under that share."},
      {"disable_scale_in", flag(policy.disable_scale_in), "Only ever add instances."},
  };
}

Table policy_table(PolicyDraft& draft) {
  Table table{
      .doc = "One policy: a step (above or below), or target tracking (target).",
      .fields =
          {
              {"name", required_text(draft.policy.name, "a name"),
               "Name in the history. Default: made of signal, side and position."},
              {"type", word(draft.type, {"step", "simple", "target_tracking"}),
               "Default: `target_tracking` with a target, else `step`."},
              {"signal",
               choice({.words = {kSignals.begin(), kSignals.end()}, .later = {"schedule", "queue"}},
                      kSignals.size(),
                      [&draft](std::size_t i) { draft.policy.signal = static_cast<Signal>(i); }),
               "What is measured.", true},
          },
      .later = {"schedule", "predictive"},
      .after = {},
      .one_of = {"above", "below", "target"}};
  for (auto& fields : {alarm_fields(draft), tracking_fields(draft)}) {
    for (const auto& field : fields) table.fields.push_back(field);
  }
  table.fields.push_back({"warm_up",
                          optional_duration(draft.policy.warm_up, {.least = 0s, .most = 24h}),
                          "How long instances that it launched count as warming. Default: the "
                          "group's."});
  return table;
}

std::string default_name(const Policy& policy, std::size_t index) {
  const std::string_view side = policy.kind == PolicyKind::target_tracking ? "target"
                                : policy.above                             ? "above"
                                                                           : "below";
  return fmt::format("{}-{}-{}", kSignals[static_cast<std::size_t>(policy.signal)], side,
                     index + 1);
}

}  // namespace

Kind policies(std::vector<Policy>& out) {
  return list({.read =
                   [&out](Decoder& decoder, const Cursor& at) {
                     PolicyDraft draft;
                     draft.policy.origin = origin_of(at);
                     decode(decoder, at, policy_table(draft));
                     const auto signal = member_of(at, "signal");
                     if (at.value.kind == ValueKind::mapping && signal &&
                         std::find(kSignals.begin(), kSignals.end(), signal->value.text) !=
                             kSignals.end()) {
                       resolve(decoder, at, draft);
                     }
                     if (draft.policy.name.empty()) {
                       draft.policy.name = default_name(draft.policy, out.size());
                     }
                     out.push_back(std::move(draft.policy));
                   },
               .sample =
                   [] {
                     PolicyDraft sample;
                     return schema_of(policy_table(sample));
                   }});
}

}  // namespace lbd::config
