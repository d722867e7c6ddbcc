// What a scaling group counts and times for /metrics: plain values, since the start of the process.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "lbd/base/clock.h"

namespace lbd::scaler {

/// Upper bounds in seconds: launches and drains take from moments to a quarter of an hour.
inline constexpr std::array<double, 14> kPhaseBounds{1,  2.5, 5,   10,  20,  30,  45,
                                                     60, 90,  120, 180, 300, 600, 900};

struct PhaseHistogram {
  std::array<std::uint64_t, kPhaseBounds.size() + 1> buckets{};  // not cumulative
  double sum = 0;                                                // seconds

  void record(Duration time) noexcept;
};

/// From the launch call to each of these.
struct LaunchTimes {
  PhaseHistogram api;            // its answer
  PhaseHistogram boot;           // the provider reports it running
  PhaseHistogram first_healthy;  // its first passing health check
  PhaseHistogram in_service;     // the end of its warm-up
};

/// Kept by the fleet.
struct FleetMeasures {
  LaunchTimes launch;
  PhaseHistogram drain;  // from its begin to the termination
  /// By zone and reason: capacity, account_limit, throttled, denied, invalid; ended (before its
  /// first passing check), never_healthy, timeout.
  std::map<std::pair<std::string, std::string>, std::uint64_t> launch_failures;

  /// Of all zones and reasons.
  [[nodiscard]] std::uint64_t failed_launches() const noexcept;
};

/// Kept by the group.
struct DecisionMeasures {
  /// By kind and whether something was done; one each tick.
  std::map<std::pair<std::string, bool>, std::uint64_t> decisions;
  WallTime evaluated{};  // the last tick that decided
};

}  // namespace lbd::scaler
