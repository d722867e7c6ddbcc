// One simulated life of a scaling group, drawn whole from a seed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "tests/sim/sim_cloud.h"

namespace lbd::sim {

struct ScheduleResult {
  std::optional<std::string> violation;
  std::uint64_t launches = 0;
  std::uint64_t terminations = 0;
  std::uint64_t crashes = 0;
  std::map<scaler::CallError, std::uint64_t> launches_forbidden = {};
};

struct ScheduleOptions {
  std::uint64_t seed = 0;
  bool verbose = false;
  bool sqlite = false;          // the real store, in a temporary directory
  bool launches_twice = false;  // canary: a cloud that makes two instances per launch
  bool blames_all = false;      // canary: while checks fail the provider calls everyone impaired
  bool hides_drains = false;    // canary: drains never reach the balancer
};

[[nodiscard]] ScheduleResult run_schedule(const ScheduleOptions& options);

}  // namespace lbd::sim
