// Thousands of simulated lives of a scaling group, each from one seed. A failing one prints the
// command that replays it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "tests/sim/schedule.h"

namespace lbd::sim {
namespace {

constexpr std::uint64_t kShards = 4;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

void run_shard(std::uint64_t shard) {
  if (std::getenv("LBD_SIM_SEED") != nullptr) GTEST_SKIP() << "one seed is replayed";
  const std::uint64_t seeds = from_environment("LBD_SIM_SEEDS", 10'000);
  ScheduleResult total;
  for (std::uint64_t seed = shard; seed < seeds; seed += kShards) {
    ScheduleOptions options;
    options.seed = seed;
    const ScheduleResult result = run_schedule(options);
    total.launches += result.launches;
    total.terminations += result.terminations;
    total.crashes += result.crashes;
    for (const auto& [error, count] : result.launches_forbidden) {
      total.launches_forbidden[error] += count;
    }
    ASSERT_FALSE(result.violation) << *result.violation << "\nreplay: LBD_SIM_SEED=" << seed
                                   << " build/dev/tests/sim --gtest_filter=Sim.Replay";
  }
  if (seeds < 1'000) return;
  // A simulation in which nothing happens proves nothing.
  EXPECT_GT(total.launches, seeds / kShards * 3);
  EXPECT_GT(total.terminations, seeds / kShards);
  EXPECT_GT(total.crashes, seeds / kShards);
  for (const CallError error : {CallError::denied, CallError::invalid, CallError::account_limit}) {
    EXPECT_GT(total.launches_forbidden[error], seeds / kShards / 10)
        << scaler::call_error_name(error);
  }
}

TEST(Sim, NoScheduleBreaksAnInvariantShard0) { run_shard(0); }
TEST(Sim, NoScheduleBreaksAnInvariantShard1) { run_shard(1); }
TEST(Sim, NoScheduleBreaksAnInvariantShard2) { run_shard(2); }
TEST(Sim, NoScheduleBreaksAnInvariantShard3) { run_shard(3); }

TEST(Sim, TheStoreOnDiskHoldsWhatTheOneInMemoryHolds) {
  for (std::uint64_t seed = 1'000'000; seed < 1'000'012; ++seed) {
    ScheduleOptions options;
    options.seed = seed;
    options.sqlite = true;
    const ScheduleResult disk = run_schedule(options);
    ASSERT_FALSE(disk.violation) << *disk.violation << " seed " << seed;
    options.sqlite = false;
    const ScheduleResult memory = run_schedule(options);
    EXPECT_GT(disk.launches, 0u);
    EXPECT_FALSE(memory.violation);
  }
}

TEST(Sim, OneSeedIsOneSchedule) {
  ScheduleOptions options;
  for (options.seed = 1; options.seed < 20; ++options.seed) {
    const ScheduleResult first = run_schedule(options);
    const ScheduleResult second = run_schedule(options);
    EXPECT_EQ(first.launches, second.launches);
    EXPECT_EQ(first.terminations, second.terminations);
    EXPECT_EQ(first.crashes, second.crashes);
  }
}

// Canaries: the invariants must be able to fail.

TEST(SimCanary, ACloudThatLaunchesTwicePerTokenIsCaught) {
  std::uint64_t caught = 0;
  ScheduleOptions options;
  options.launches_twice = true;
  for (options.seed = 0; options.seed < 50; ++options.seed) {
    const ScheduleResult result = run_schedule(options);
    if (result.launches > 0 && result.violation) ++caught;
  }
  EXPECT_GE(caught, 45u);
}

TEST(SimCanary, TerminatingWhatTheBalancerDoesNotDrainIsCaught) {
  std::uint64_t caught = 0;
  ScheduleOptions options;
  options.hides_drains = true;
  for (options.seed = 0; options.seed < 200; ++options.seed) {
    const ScheduleResult result = run_schedule(options);
    if (result.violation && result.violation->find("without a drain") != std::string::npos) {
      ++caught;
    }
  }
  EXPECT_GE(caught, 20u);
}

TEST(SimCanary, AFleetThatIsEndedBecauseEveryCheckFailsIsCaught) {
  std::uint64_t caught = 0;
  ScheduleOptions options;
  options.blames_all = true;
  for (options.seed = 0; options.seed < 1500; ++options.seed) {
    const ScheduleResult result = run_schedule(options);
    if (result.violation && result.violation->find("every check fails") != std::string::npos) {
      ++caught;
    }
  }
  EXPECT_GE(caught, 15u);
}

TEST(Sim, Replay) {
  if (std::getenv("LBD_SIM_SEED") == nullptr) GTEST_SKIP() << "set LBD_SIM_SEED";
  ScheduleOptions options;
  options.seed = from_environment("LBD_SIM_SEED", 0);
  options.verbose = true;
  const ScheduleResult result = run_schedule(options);
  EXPECT_FALSE(result.violation) << *result.violation;
}

}  // namespace
}  // namespace lbd::sim
