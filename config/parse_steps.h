// What the values of a policy are made of: thresholds in the unit of their signal, adjustments and
// steps. Internal to config/.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "config/tables.h"

namespace lbd::config {

enum class Amount : std::uint8_t { value, adjustment, count };

/// Keeps the cursor for later; the schema says what is allowed.
[[nodiscard]] Kind aside(std::optional<Cursor>& out, Amount amount);

/// A threshold or target: positive, and for cpu at most 100 %.
[[nodiscard]] std::optional<double> read_level(Decoder& decoder, const Cursor& at, Signal signal);

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
[[nodiscard]] std::optional<Adjustment> read_adjustment(Decoder& decoder, const Cursor& at,
                                                        const AdjustmentKeys& keys);

/// A step and where it was written.
struct PlacedStep {
  Step step;
  AdjustmentType type = AdjustmentType::change;
  Place place;
};

struct StepDraft {
  std::optional<Cursor> from, to, add, remove, set;
};
[[nodiscard]] Table step_table(StepDraft& step);
[[nodiscard]] std::optional<PlacedStep> read_step(Decoder& decoder, const Cursor& at,
                                                  Signal signal);
/// Sorts them. No overlap, no gap, at most one open end at each side (EC2 Auto Scaling's rules).
void check_steps(Decoder& decoder, const Cursor& at, std::vector<PlacedStep>& steps);

}  // namespace lbd::config
