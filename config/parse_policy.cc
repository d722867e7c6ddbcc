// Scaling policies: the short form, steps, simple policies and target tracking. What a number means
// depends on `signal` (a ratio, a duration or a count), so values are first set aside and then
// read.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "config/scalars.h"
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

constexpr std::array<std::string_view, 4> kSignals{"cpu", "requests_per_target",
                                                   "in_flight_per_target", "latency"};

/// A policy as written: values whose meaning depends on others wait here.
struct PolicyDraft {
  Policy policy;
  std::string type;  // empty: not given
  std::string adjustment;
  std::optional<Cursor> above, below, duration, datapoints, add, remove, set, steps, target,
      scale_in_ratio;
  milliseconds hold{0};
  std::optional<std::uint32_t> datapoints_to_alarm;
};

enum class Amount : std::uint8_t { value, adjustment, count };

json::object amount_schema(Amount amount) {
  if (amount == Amount::count) return {{"type", "integer"}, {"minimum", 0}};
  const json::object text{
      {"type", "string"},
      {"pattern", amount == Amount::value ? R"(^-?[0-9]+(\.[0-9]+)?(%|ms|s|m|h|d)?$)"
                                          : R"(^[0-9]+(\.[0-9]+)?%$)"}};
  return {
      {"anyOf",
       json::array{text, json::object{{"type", amount == Amount::value ? "number" : "integer"}}}}};
}

/// Keeps the cursor for later; the schema says what is allowed.
Kind aside(std::optional<Cursor>& out, Amount amount) {
  return {.read = [&out](Decoder&, const Cursor& at) { out.emplace(at); },
          .schema = [amount] { return amount_schema(amount); },
          .fallback = ""};
}

struct StepDraft {
  std::optional<Cursor> from, to, add, remove, set;
};

Table step_table(StepDraft& step) {
  return {.doc = "One step; its bounds are relative to the threshold.",
          .fields =
              {
                  {"from", aside(step.from, Amount::value), "Where it starts. Default: no bound."},
                  {"to", aside(step.to, Amount::value), "Where it ends. Default: no bound."},
                  {"add", aside(step.add, Amount::adjustment), "Instances to add, or a share."},
                  {"remove", aside(step.remove, Amount::adjustment),
                   "Instances to remove, or a share."},
                  {"set", aside(step.set, Amount::count), "Number of instances to have."},
              },
          .later = {},
          .after = {},
          .one_of = {"add", "remove", "set"}};
}

std::string_view unit_of(Signal signal) {
  switch (signal) {
    case Signal::cpu:
      return "a percentage such as 90%";
    case Signal::latency:
      return "a duration such as 250ms";
    case Signal::requests_per_target:
      return "a number of requests per second";
    case Signal::in_flight_per_target:
      break;
  }
  return "a number of requests";
}

/// A threshold, target or step bound in the unit of its signal; negative only for bounds.
std::optional<double> read_amount(Decoder& decoder, const Cursor& at, Signal signal) {
  const auto* found = scalar_of(decoder, at, unit_of(signal));
  if (found == nullptr) return std::nullopt;
  const bool negative = found->starts_with('-');
  const auto text = std::string_view(*found).substr(negative ? 1 : 0);
  Outcome<double> value = failure("");
  if (signal == Signal::cpu) {
    value = parse_ratio(text);
  } else if (signal == Signal::latency) {
    const auto duration = parse_duration(text);
    if (duration) value = static_cast<double>(duration->count()) / 1000;
  } else {
    value = parse_number(text);
  }
  if (value) return negative ? -*value : *value;
  const bool bare = parse_number(text).has_value() && !at.value.secret;
  decoder.expected(
      at, unit_of(signal),
      bare && signal == Signal::latency ? fmt::format("did you mean '{}ms'?", *found) : "");
  return std::nullopt;
}

/// A threshold or target: positive, and for cpu at most 100 %.
std::optional<double> read_level(Decoder& decoder, const Cursor& at, Signal signal) {
  const auto value = read_amount(decoder, at, signal);
  if (!value) return std::nullopt;
  if (*value > 0 && (signal != Signal::cpu || *value <= 1)) return value;
  const bool forgotten = signal == Signal::cpu && *value > 1 && *value <= 100 &&
                         at.value.text.find('%') == std::string::npos && !at.value.secret;
  decoder.error(
      at.value.place, "E2005",
      fmt::format("{}: {} is out of range: it must be {}", at.path, describe(at.value),
                  signal == Signal::cpu ? "more than 0% and at most 100%" : "more than 0"),
      forgotten ? fmt::format("did you mean '{}%'?", at.value.text) : "");
  return std::nullopt;
}

struct Adjustment {
  AdjustmentType type = AdjustmentType::change;
  double amount = 0;
};

struct AdjustmentKeys {
  const std::optional<Cursor>& add;
  const std::optional<Cursor>& remove;
  const std::optional<Cursor>& set;
};

/// `add: 1`, `remove: 20%` or `set: 3`; exactly one of them.
std::optional<Adjustment> read_adjustment(Decoder& decoder, const Cursor& at,
                                          const AdjustmentKeys& keys) {
  const int count = keys.add.has_value() + keys.remove.has_value() + keys.set.has_value();
  if (count != 1) {
    decoder.error(at.label, count == 0 ? "E2004" : "E2010",
                  fmt::format("{}: exactly one of add, remove and set is needed, found {}", at.path,
                              count == 0 ? "none" : std::to_string(count)));
    return std::nullopt;
  }
  const Cursor& key = keys.add ? *keys.add : keys.remove ? *keys.remove : *keys.set;
  const bool share_allowed = !keys.set;
  const std::string_view what = share_allowed
                                    ? "a whole number of instances, or a share such as 20%"
                                    : "a whole number of instances";
  const auto* text = scalar_of(decoder, key, what);
  if (text == nullptr) return std::nullopt;
  const bool share = share_allowed && text->ends_with('%');
  const auto whole = parse_whole(*text);
  const auto ratio = parse_ratio(*text);
  constexpr double kInstancesMax = 10'000;
  const double amount =
      share ? (ratio ? *ratio * 100 : -1) : (whole ? static_cast<double>(*whole) : -1);
  const bool positive = keys.set ? amount >= 0 : amount > 0;
  if (!positive || amount > kInstancesMax) {
    decoder.expected(key, what, amount == 0 ? "it must be at least 1" : "");
    return std::nullopt;
  }
  const auto type = keys.set ? AdjustmentType::exact
                    : share  ? AdjustmentType::percent
                             : AdjustmentType::change;
  return Adjustment{type, keys.remove ? -amount : amount};
}

/// A step and where it was written.
struct PlacedStep {
  Step step;
  AdjustmentType type = AdjustmentType::change;
  Place place;
};

std::optional<PlacedStep> read_step(Decoder& decoder, const Cursor& at, Signal signal) {
  StepDraft draft;
  decode(decoder, at, step_table(draft));
  if (at.value.kind != ValueKind::mapping) return std::nullopt;
  PlacedStep placed;
  placed.place = at.label;
  if (draft.from) placed.step.lower = read_amount(decoder, *draft.from, signal);
  if (draft.to) placed.step.upper = read_amount(decoder, *draft.to, signal);
  const auto adjustment =
      read_adjustment(decoder, at, {.add = draft.add, .remove = draft.remove, .set = draft.set});
  const bool complete = adjustment && draft.from.has_value() == placed.step.lower.has_value() &&
                        draft.to.has_value() == placed.step.upper.has_value();
  if (!complete) return std::nullopt;
  placed.type = adjustment->type;
  placed.step.adjustment = adjustment->amount;
  if (placed.step.lower && placed.step.upper && *placed.step.lower >= *placed.step.upper) {
    decoder.error(at.label, "E2011",
                  fmt::format("{}: the step ends where it starts, or before", at.path));
    return std::nullopt;
  }
  return placed;
}

/// No overlap, no gap, at most one open end at each side (EC2 Auto Scaling's rules).
void check_steps(Decoder& decoder, const Cursor& at, std::vector<PlacedStep>& steps) {
  constexpr double kSame = 1e-9;
  const auto infinity = std::numeric_limits<double>::infinity();
  std::stable_sort(steps.begin(), steps.end(), [&](const PlacedStep& a, const PlacedStep& b) {
    return a.step.lower.value_or(-infinity) < b.step.lower.value_or(-infinity);
  });
  for (std::size_t i = 1; i < steps.size(); ++i) {
    const double end = steps[i - 1].step.upper.value_or(infinity);
    const double start = steps[i].step.lower.value_or(-infinity);
    if (start < end - kSame || std::isinf(start)) {
      decoder.error(steps[i].place, "E2011",
                    fmt::format("{}: this step overlaps the one on line {}", at.path,
                                steps[i - 1].place.line));
    } else if (start > end + kSame) {
      decoder.error(steps[i].place, "E2011",
                    fmt::format("{}: there is a gap between this step and the one on line {}",
                                at.path, steps[i - 1].place.line));
    }
    if (steps[i].type != steps[0].type) {
      decoder.error(steps[i].place, "E2011",
                    fmt::format("{}: steps of one policy must all be counts, all shares (20%), or "
                                "all 'set'",
                                at.path));
    }
  }
}

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

/// `for: 30s` is so many datapoints of one period each.
void resolve_duration(Decoder& decoder, PolicyDraft& draft) {
  Policy& policy = draft.policy;
  if (draft.duration && draft.datapoints) {
    decoder.error(
        draft.duration->label, "E2010",
        fmt::format("{}: 'for' and 'datapoints' say the same: keep one", draft.duration->path));
  }
  if (draft.duration && draft.hold.count() > 0) {
    if (draft.hold.count() % policy.period.count() != 0) {
      decoder.error(draft.duration->value.place, "E2005",
                    fmt::format("{}: {} is not a multiple of the period, {}", draft.duration->path,
                                duration_text(draft.hold), duration_text(policy.period)));
    }
    policy.datapoints = static_cast<std::uint32_t>(draft.hold / policy.period);
  }
  policy.datapoints_to_alarm = draft.datapoints_to_alarm.value_or(policy.datapoints);
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

void resolve_tracking(Decoder& decoder, PolicyDraft& draft) {
  constexpr double kCpuScaleInRatio = 0.7;
  Policy& policy = draft.policy;
  policy.kind = PolicyKind::target_tracking;
  if (!draft.scale_in_ratio && policy.signal == Signal::cpu) {
    policy.scale_in_ratio = kCpuScaleInRatio;
  }
  const auto level = read_level(decoder, *draft.target, policy.signal);
  if (level) policy.target = *level;
}

/// Keys that have no meaning in this form of policy.
void refuse_foreign_keys(Decoder& decoder, const Cursor& at, const PolicyDraft& draft) {
  static constexpr std::array<std::string_view, 12> kAlarmKeys{
      "above",      "below",          "for",   "period", "datapoints", "datapoints_to_alarm",
      "adjustment", "min_adjustment", "steps", "add",    "remove",     "set"};
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
    resolve_tracking(decoder, draft);
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
              duration(draft.hold, {.least = 1ms, .most = 24h}).read(decoder, at);
            },
        .schema = duration(draft.hold).schema,
        .fallback = "one period"},
       "How long every datapoint must breach."},
      {"period", duration(policy.period, {.least = 100ms, .most = 1h}), "Time of one datapoint."},
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
