#include "config/parse_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "config/scalars.h"

namespace lbd::config {
namespace {

namespace json = boost::json;

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

}  // namespace

Kind aside(std::optional<Cursor>& out, Amount amount) {
  return {.read = [&out](Decoder&, const Cursor& at) { out.emplace(at); },
          .schema = [amount] { return amount_schema(amount); },
          .fallback = ""};
}

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

}  // namespace lbd::config
