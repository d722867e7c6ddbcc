// What the scaler hears of its instances: requests, in-flight, latency, health, drained or not.
// Made from the workers' counters, once a second.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lbd/control/publisher.h"
#include "lbd/control/targets.h"
#include "scaler/fleet.h"

namespace lbd::control {

/// Thread: the control loop.
class Demand {
 public:
  Demand(Clock& clock, const Targets& targets, Publisher& publisher, upstream::LiveState& live)
      : clock_(clock), targets_(targets), publisher_(publisher), live_(live) {}

  /// One row per instance of the scaling group that is a target somewhere. Rates are over the time
  /// since the last call for the same instance (about a second).
  std::vector<scaler::InstanceDemand> of(const config::Config& config, health::Checker& checker,
                                         const std::string& scaling_group);
  /// Requests for the scaling group's instances that found no target, since the last call.
  std::uint64_t unserved(const config::Config& config, const std::string& scaling_group);
  /// Notes when targets were first published as draining. Call after each publish.
  void published();

 private:
  struct Totals {
    std::uint64_t requests = 0;
    std::uint64_t failed = 0;
    std::uint64_t response_us = 0;
    std::uint64_t responses = 0;
    std::uint32_t in_flight = 0;
  };
  struct Last {
    Totals totals;
    TimePoint at{};
    scaler::InstanceDemand row;
  };
  [[nodiscard]] Totals totals_of(const std::string& group, const std::string& address) const;
  /// No worker gives it a new request any more.
  [[nodiscard]] bool is_closed(const TargetRow& row) const;

  Clock& clock_;
  const Targets& targets_;
  Publisher& publisher_;
  upstream::LiveState& live_;
  std::map<std::string, Last> last_;               // by instance
  std::map<std::string, std::uint64_t> unserved_;  // in all, by target group
  std::map<std::pair<std::string, std::string>, std::uint64_t>
      draining_since_;  // (group, address) → serial
};

}  // namespace lbd::control
