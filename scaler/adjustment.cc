// The arithmetic of policies: how many instances an adjustment is, which step applies.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "scaler/policy.h"

namespace lbd::scaler {

using config::AdjustmentType;
using config::Policy;

std::string_view signal_name(config::Signal signal) {
  switch (signal) {
    case config::Signal::cpu:
      return "cpu";
    case config::Signal::requests_per_target:
      return "requests_per_target";
    case config::Signal::in_flight_per_target:
      return "in_flight_per_target";
    case config::Signal::latency:
      return "latency";
  }
  return "?";
}

std::string signal_text(config::Signal signal, double value) {
  if (signal == config::Signal::cpu) return fmt::format("{:.3g} %", value * 100);
  if (signal == config::Signal::latency) return fmt::format("{:.3g} ms", value * 1000);
  if (signal == config::Signal::requests_per_target) return fmt::format("{:.4g} requests/s", value);
  return fmt::format("{:.4g}", value);
}

std::int64_t adjustment_of(const Policy& policy, double adjustment, std::uint32_t n) {
  switch (policy.adjustment_type) {
    case AdjustmentType::change:
      return std::llround(adjustment);
    case AdjustmentType::exact:
      return std::llround(adjustment) - static_cast<std::int64_t>(n);
    case AdjustmentType::percent:
      break;
  }
  // 33 % of 3 must be 0.99, and 10 % of 30 exactly 3, whatever binary fractions make of it.
  const double exact = std::round(n * adjustment / 100 * 1e9) / 1e9;
  if (exact == 0) return 0;
  auto whole = static_cast<std::int64_t>(std::trunc(exact));
  if (whole == 0) whole = exact > 0 ? 1 : -1;
  const auto least = static_cast<std::int64_t>(policy.min_adjustment);
  if (whole > 0) return std::max(whole, least);
  return std::min(whole, -least);
}

const config::Step* step_for(const Policy& policy, double value) {
  // Distances are compared with a hair of slack: 0.95 - 0.90 is not 0.05 in binary.
  const double distance = std::round((value - policy.threshold) * 1e9) / 1e9;
  for (const config::Step& step : policy.steps) {
    const bool within =
        policy.above
            ? (!step.lower || distance >= *step.lower) && (!step.upper || distance < *step.upper)
            : (!step.lower || distance > *step.lower) && (!step.upper || distance <= *step.upper);
    if (within) return &step;
  }
  return nullptr;
}

bool survives_removal(double value, double limit, std::uint32_t n, std::uint32_t removed) {
  if (value <= 0) return true;
  if (removed >= n) return false;
  return value * n / (n - removed) < limit;
}

}  // namespace lbd::scaler
