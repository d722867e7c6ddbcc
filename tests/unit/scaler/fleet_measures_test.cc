// What the fleet counts and times for /metrics.
#include "tests/unit/scaler/fleet_fixture.h"

namespace lbd::scaler {
namespace {

std::uint64_t count_of(const PhaseHistogram& phase) {
  std::uint64_t count = 0;
  for (const std::uint64_t each : phase.buckets) count += each;
  return count;
}

TEST(PhaseHistogram, ATimeOnABoundBelongsToIt) {
  PhaseHistogram phase;
  phase.record(seconds(1));
  phase.record(seconds(2));
  phase.record(minutes(20));
  EXPECT_EQ(phase.buckets[0], 1u);
  EXPECT_EQ(phase.buckets[1], 1u);
  EXPECT_EQ(phase.buckets.back(), 1u);
  EXPECT_DOUBLE_EQ(phase.sum, 1203);
}

TEST_F(FleetTest, TimesTheFourPhasesOfALaunchFromTheCall) {
  fleet.set_desired(1);
  describe();
  fleet.launch_started("t", "a", now);
  now += seconds(2);
  LaunchReply reply;
  reply.instance.id = "i-1";
  fleet.launch_answered("t", reply, now);
  now += seconds(8);
  run("i-1", "a", "t");
  describe();
  now += seconds(5);
  hear();
  now += seconds(30);
  hear();
  const LaunchTimes& launch = fleet.measures().launch;
  EXPECT_DOUBLE_EQ(launch.api.sum, 2);
  EXPECT_DOUBLE_EQ(launch.boot.sum, 10);
  EXPECT_DOUBLE_EQ(launch.first_healthy.sum, 15);
  EXPECT_DOUBLE_EQ(launch.in_service.sum, 45);
  EXPECT_EQ(count_of(launch.in_service), 1u);
}

TEST_F(FleetTest, AnAdoptedInstanceIsNoLaunchOfOurs) {
  serve({"a", "b"});
  EXPECT_EQ(count_of(fleet.measures().launch.boot), 0u);
  EXPECT_EQ(count_of(fleet.measures().launch.in_service), 0u);
}

TEST_F(FleetTest, TimesADrainUntilTheTermination) {
  serve({"a", "b", "c"});
  fleet.start_drain("i-1", now, "surplus");
  now += seconds(7);
  fleet.terminate_started("i-1", now);
  now += seconds(20);
  fleet.terminate_started("i-1", now);  // asked again
  EXPECT_DOUBLE_EQ(fleet.measures().drain.sum, 7);
  EXPECT_EQ(count_of(fleet.measures().drain), 1u);
}

TEST_F(FleetTest, CountsFailedLaunchesByZoneAndReason) {
  using Failures = std::map<std::pair<std::string, std::string>, std::uint64_t>;
  describe();
  fleet.launch_started("t1", "a", now);
  fleet.launch_answered("t1", refused(CallError::capacity), now);
  fleet.launch_started("t2", "b", now);
  fleet.launch_answered("t2", refused(CallError::throttled), now);
  fleet.launch_started("t3", "b", now);
  fleet.launch_answered("t3", refused(CallError::unknown), now);  // may have happened
  fleet.launch_started("t4", "c", now);
  ReportedInstance& made = run("i-4", "c", "t4");
  describe();
  made.state = ReportedState::terminated;
  describe();
  fleet.launch_started("t5", "c", now);
  run("i-5", "c", "t5");
  describe();
  now += minutes(5);
  hear("i-5");
  hear("i-5");
  const Failures expected{{{"a", "capacity"}, 1},
                          {{"b", "throttled"}, 1},
                          {{"c", "ended"}, 1},
                          {{"c", "never_healthy"}, 1}};
  EXPECT_EQ(fleet.measures().launch_failures, expected);
}

}  // namespace
}  // namespace lbd::scaler
