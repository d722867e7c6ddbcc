// What a reader (lbd scale status, /metrics) sees of a group, as plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "scaler/fleet.h"
#include "scaler/measures.h"
#include "scaler/policy.h"

namespace lbd::scaler {

struct InstanceStatus {
  std::string id;  // empty while launching
  std::string token;
  std::string zone;
  std::string address;
  std::uint16_t port = 0;
  InstanceState state = InstanceState::launching;
  Duration in_state{};
  std::string reason;
  Health health = Health::unknown;
  std::string health_reason;
  std::string unhealthy;  // why it is to be replaced
  std::uint32_t in_flight = 0;
  double requests_per_second = 0;
  std::optional<double> cpu;  // ratio
};

struct SignalStatus {
  std::string policy;
  config::Signal signal = config::Signal::cpu;
  std::optional<double> value;
  double threshold = 0;
  std::optional<Duration> age;
  Direction direction = Direction::none;
  std::uint32_t want = 0;  // with a direction
};

struct ZoneStatus {
  std::string zone;
  std::uint32_t instances = 0;  // not draining, not unhealthy
  bool closed = false;          // no launches
  Duration closed_for{};
  std::string reason;
};

struct GroupStatus {
  std::string name;
  std::uint32_t desired = 0;
  std::uint32_t min = 0;
  std::uint32_t max = 0;
  FleetCounts counts;
  std::string kind;      // of the last decision or non-decision
  std::string sentence;  // likewise
  std::uint64_t decision = 0;
  std::string provider_error;  // of the last failed call; empty once one succeeds
  std::string store_error;     // nothing is launched or ended while this is set
  bool paused = false;
  Duration paused_for{};
  std::vector<InstanceStatus> instances;
  std::vector<SignalStatus> signals;
  std::vector<ZoneStatus> zones;
  // Totals since the start of this process.
  std::uint64_t launches = 0;
  std::uint64_t terminations = 0;
  FleetMeasures fleet;
  DecisionMeasures decided;
};

}  // namespace lbd::scaler
