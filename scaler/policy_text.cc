#include <fmt/format.h>

#include "scaler/policy.h"

namespace lbd::scaler {

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

}  // namespace lbd::scaler
