#include "scaler/fleet.h"

#include <gtest/gtest.h>

namespace lbd::scaler {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

/// A fleet with a provider that shows exactly what the test put there.
class FleetTest : public testing::Test {
 protected:
  FleetTest() : fleet(group(), FleetTimings{}) {
    fleet.set_zones({"a", "b", "c"});
    fleet.set_desired(3);
  }

  static config::ScalingGroup group() {
    config::ScalingGroup made;
    made.name = "web";
    made.min = 1;
    made.max = 5;
    return made;
  }

  ReportedInstance& run(const std::string& id, const std::string& zone,
                        const std::string& token = "") {
    ReportedInstance made;
    made.id = id;
    made.zone = zone;
    made.client_token = token;
    made.state = ReportedState::running;
    made.address = "10.0.0.1";
    made.launched = WallTime(seconds(++age));
    cloud.push_back(made);
    return cloud.back();
  }
  void describe() { fleet.observe(Observation{cloud, now, now, WallTime{}}); }
  /// Everyone reported and, unless in `down`, healthy.
  void hear(const std::string& down = "", std::uint32_t in_flight = 1) {
    std::vector<InstanceDemand> demand;
    for (const ReportedInstance& each : cloud) {
      InstanceDemand row;
      row.instance = each.id;
      row.health = each.id == down ? Health::down : Health::up;
      row.health_since = now - minutes(1);
      row.in_flight = in_flight;
      row.drained = in_flight == 0;
      demand.push_back(row);
    }
    fleet.hear(demand, now);
    fleet.advance(now);
  }
  void serve(const std::vector<std::string>& in_zones) {
    int i = 0;
    for (const std::string& zone : in_zones) run("i-" + std::to_string(++i), zone);
    describe();
    hear();
    now += minutes(1);
    hear();
    (void)fleet.take_events();
  }
  FleetStep next() { return fleet.next_step(now); }
  bool happened(std::string_view kind) {
    bool found = false;
    for (const FleetEvent& each : fleet.take_events()) found = found || each.kind == kind;
    return found;
  }
  const Instance& at(const std::string& id) { return *fleet.find(id); }
  static LaunchReply refused(CallError error) {
    LaunchReply reply;
    reply.failure = CallFailure{error, "Code", "message"};
    return reply;
  }

  Fleet fleet;
  std::vector<ReportedInstance> cloud;
  TimePoint now{std::chrono::hours(5)};
  int age = 0;
};

TEST_F(FleetTest, DoesNothingBeforeTheFirstReport) {
  EXPECT_EQ(next().kind, StepKind::none);
  EXPECT_EQ(next().word, "starting");
}

TEST_F(FleetTest, FillsToTheWantedNumberOnePerZone) {
  describe();
  for (const char* zone : {"a", "b", "c"}) {
    const FleetStep step = next();
    EXPECT_EQ(step.kind, StepKind::launch);
    EXPECT_EQ(step.zone, zone);
    fleet.launch_started(std::string("t-") + zone, step.zone, now);
  }
  EXPECT_EQ(next().kind, StepKind::none);
}

TEST_F(FleetTest, ACapacityErrorClosesTheZoneForThreeMinutesDoublingToThirty) {
  describe();
  Duration expected = minutes(3);
  for (int i = 0; i < 6; ++i) {
    fleet.launch_started("t", "a", now);
    fleet.launch_answered("t", refused(CallError::capacity), now);
    EXPECT_EQ(fleet.launch_zone(now + expected - seconds(1)), "b");
    EXPECT_EQ(fleet.launch_zone(now + expected), "a");
    now += expected;
    expected = std::min<Duration>(expected * 2, minutes(30));
  }
}

TEST_F(FleetTest, TheAdminSaysHowLongAZoneIsPaused) {
  config::ScalingGroup impatient = group();
  impatient.zone_pause = seconds(5);
  impatient.zone_pause_max = seconds(8);
  fleet.configure(impatient);
  describe();
  for (const Duration expected : {seconds(5), seconds(8), seconds(8)}) {
    fleet.launch_started("t", "a", now);
    fleet.launch_answered("t", refused(CallError::capacity), now);
    EXPECT_EQ(fleet.launch_zone(now + expected - seconds(1)), "b");
    now += expected;
    EXPECT_EQ(fleet.launch_zone(now), "a");
  }
}

TEST_F(FleetTest, AnInstanceInServiceClosesItsZonesBreaker) {
  describe();
  fleet.launch_started("t1", "a", now);
  fleet.launch_answered("t1", refused(CallError::capacity), now);
  now += minutes(3);
  fleet.launch_started("t2", "a", now);
  run("i-1", "a", "t2");
  describe();
  hear();
  EXPECT_EQ(fleet.zones()[0].failures, 0u);
}

TEST_F(FleetTest, AnAccountLimitHoldsEveryZone) {
  describe();
  fleet.launch_started("t", "a", now);
  fleet.launch_answered("t", refused(CallError::account_limit), now);
  EXPECT_EQ(next().word, "held");
  now += minutes(1);
  EXPECT_EQ(next().kind, StepKind::launch);
}

TEST_F(FleetTest, AnUnansweredLaunchCountsUntilItIsFoundByItsToken) {
  fleet.set_desired(1);
  describe();
  fleet.launch_started("t", "a", now);
  fleet.launch_answered("t", refused(CallError::unknown), now);
  EXPECT_EQ(next().kind, StepKind::none);
  run("i-1", "a", "t");
  now += seconds(5);
  describe();
  EXPECT_EQ(fleet.instances().size(), 1u);
  EXPECT_EQ(at("i-1").state, InstanceState::pending);
}

TEST_F(FleetTest, AnUnansweredLaunchIsAskedForAgainOnlyAfterItWouldSurelyShow) {
  fleet.set_desired(1);
  describe();
  fleet.launch_started("t", "a", now);
  fleet.launch_answered("t", refused(CallError::unknown), now);
  now += seconds(29);
  for (int i = 0; i < 5; ++i) describe();
  EXPECT_EQ(next().kind, StepKind::none);
  now += seconds(1);
  for (int i = 0; i < 3; ++i) describe();
  const FleetStep again = next();
  EXPECT_EQ(again.kind, StepKind::launch_again);
  EXPECT_EQ(again.token, "t");
  EXPECT_EQ(again.zone, "a");
}

TEST_F(FleetTest, ALaunchThatEndsBeforeServiceIsAFailureOfItsZone) {
  describe();
  fleet.launch_started("t", "a", now);
  ReportedInstance& made = run("i-1", "a", "t");
  made.state = ReportedState::pending;
  describe();
  made.state = ReportedState::terminated;
  made.state_reason = "Server.InsufficientInstanceCapacity";
  describe();
  EXPECT_TRUE(happened("launch_failed"));
  EXPECT_EQ(next().zone, "b");
}

TEST_F(FleetTest, AJustLaunchedInstanceMissingFromTheReportIsNotLost) {
  fleet.set_desired(1);
  describe();
  fleet.launch_started("t", "a", now);
  LaunchReply reply;
  reply.instance.id = "i-1";
  fleet.launch_answered("t", reply, now);
  for (int i = 0; i < 20; ++i) {
    now += seconds(10);
    describe();
  }
  EXPECT_EQ(at("i-1").state, InstanceState::pending);
  EXPECT_EQ(next().kind, StepKind::none);
}

TEST_F(FleetTest, ALongKnownInstanceMissingFromSeveralReportsIsLostAndReplaced) {
  serve({"a", "b", "c"});
  cloud.pop_back();
  now += minutes(1);
  describe();
  describe();
  EXPECT_EQ(at("i-3").state, InstanceState::in_service);
  describe();
  EXPECT_EQ(at("i-3").state, InstanceState::lost);
  EXPECT_EQ(next().kind, StepKind::launch);
}

TEST_F(FleetTest, AReportAskedForBeforeTheLaunchWasAnsweredProvesNothing) {
  serve({"a", "b", "c"});
  cloud.pop_back();
  for (int i = 0; i < 5; ++i) {
    fleet.observe(Observation{cloud, now - minutes(10), now, WallTime{}});
  }
  EXPECT_EQ(at("i-3").state, InstanceState::in_service);
}

TEST_F(FleetTest, AdoptsWhatCarriesOurTag) {
  run("i-9", "b", "unknown-token");
  describe();
  EXPECT_TRUE(happened("adopted"));
  hear();
  EXPECT_EQ(fleet.count().serving, 1u);
}

TEST_F(FleetTest, OfTwoInstancesOfOneTokenOneIsTerminated) {
  fleet.set_desired(1);
  fleet.launch_started("t", "a", now);
  run("i-1", "a", "t");
  run("i-2", "a", "t");
  describe();
  const FleetStep step = next();
  EXPECT_EQ(step.kind, StepKind::terminate);
  EXPECT_EQ(step.instance, "i-2");
}

TEST_F(FleetTest, MoreThanWantedAreDrainedFromTheFullestZoneLeastBusyFirst) {
  serve({"a", "a", "b", "c"});
  std::vector<InstanceDemand> demand;
  for (const auto& [id, busy] : {std::pair{"i-1", 7u}, {"i-2", 3u}, {"i-3", 0u}, {"i-4", 0u}}) {
    InstanceDemand row;
    row.instance = id;
    row.health = Health::up;
    row.in_flight = busy;
    demand.push_back(row);
  }
  fleet.hear(demand, now);
  const FleetStep step = next();
  EXPECT_EQ(step.kind, StepKind::drain);
  EXPECT_EQ(step.instance, "i-2");
}

TEST_F(FleetTest, OfEquallyBusyOnesTheOldestIsDrained) {
  serve({"a", "a", "b", "c"});
  EXPECT_EQ(next().instance, "i-1");
}

TEST_F(FleetTest, ADrainedInstanceIsTerminatedOnceNothingIsInFlight) {
  serve({"a", "b", "c"});
  fleet.set_desired(2);
  fleet.start_drain("i-1", now, "surplus");
  hear("", 4);
  now += seconds(30);
  hear("", 4);
  EXPECT_EQ(next().kind, StepKind::none);
  hear("", 0);
  EXPECT_EQ(next().kind, StepKind::terminate);
}

TEST_F(FleetTest, ADrainIsNotBelievedBeforeTheWorkersCanKnowOfIt) {
  serve({"a", "b", "c"});
  fleet.set_desired(2);
  fleet.start_drain("i-1", now, "surplus");
  hear("", 0);
  EXPECT_EQ(next().kind, StepKind::none);
  now += seconds(2);
  EXPECT_EQ(next().kind, StepKind::terminate);
}

TEST_F(FleetTest, TheDrainDeadlineEndsTheWait) {
  serve({"a", "b", "c"});
  fleet.set_desired(2);
  fleet.start_drain("i-1", now, "surplus");
  now += minutes(5) - seconds(1);
  hear("", 4);
  EXPECT_EQ(next().kind, StepKind::none);
  now += seconds(1);
  EXPECT_EQ(next().kind, StepKind::terminate);
}

TEST_F(FleetTest, AnUndrainIsTheCheapestScaleOut) {
  serve({"a", "b", "c"});
  fleet.set_desired(2);
  fleet.start_drain("i-1", now, "surplus");
  fleet.set_desired(3);
  hear("", 0);
  now += seconds(5);
  const FleetStep step = next();
  EXPECT_EQ(step.kind, StepKind::undrain);
  fleet.undrain(step.instance, now);
  EXPECT_EQ(at("i-1").state, InstanceState::in_service);
  EXPECT_EQ(next().kind, StepKind::none);
}

TEST_F(FleetTest, AnUnhealthyInstanceIsReplacedLaunchFirstBelowTheMaximum) {
  serve({"a", "b", "c"});
  hear("i-1");
  EXPECT_EQ(next().word, "replace");
  EXPECT_EQ(next().kind, StepKind::launch);
  fleet.launch_started("t", "b", now);
  EXPECT_EQ(next().kind, StepKind::none);
  run("i-4", "b", "t");
  describe();
  hear("i-1");
  EXPECT_EQ(next().kind, StepKind::drain);
  EXPECT_EQ(next().instance, "i-1");
}

TEST_F(FleetTest, AtTheMaximumTheUnhealthyOneGoesFirst) {
  fleet.set_desired(5);
  serve({"a", "b", "c", "a", "b"});
  hear("i-1");
  EXPECT_EQ(next().kind, StepKind::drain);
  EXPECT_EQ(next().instance, "i-1");
}

TEST_F(FleetTest, NeverLaunchesOverTheMaximumWhileAnythingStillRuns) {
  fleet.set_desired(5);
  serve({"a", "b", "c", "a", "b"});
  hear("i-1");
  fleet.start_drain("i-1", now, "unhealthy");
  EXPECT_EQ(next().word, "full");
  fleet.terminate_started("i-1", now);
  EXPECT_EQ(next().word, "full");  // not confirmed: it may still run
  fleet.terminate_answered("i-1", TerminateReply{}, now);
  EXPECT_EQ(next().kind, StepKind::launch);
}

TEST_F(FleetTest, ReplacesAtMostATenthAndAtLeastOneAtATime) {
  serve({"a", "b", "c"});
  std::vector<InstanceDemand> demand;
  for (const char* id : {"i-1", "i-2", "i-3"}) {
    InstanceDemand row;
    row.instance = id;
    row.health = Health::down;
    row.health_since = now - minutes(1);
    demand.push_back(row);
  }
  fleet.hear(demand, now);
  fleet.advance(now);
  EXPECT_EQ(next().kind, StepKind::launch);
  fleet.launch_started("t", "a", now);
  EXPECT_EQ(next().word, "replacing");
}

TEST_F(FleetTest, AZoneWhereEverythingWentDownGetsNoReplacements) {
  fleet.set_desired(4);
  serve({"a", "b", "c", "c"});
  cloud[2].state = cloud[3].state = ReportedState::terminated;
  describe();
  EXPECT_TRUE(happened("zone_closed"));
  EXPECT_EQ(next().zone, "a");
  fleet.launch_started("t1", "a", now);
  EXPECT_EQ(next().zone, "b");
}

TEST_F(FleetTest, EvensOutTheZonesByLaunchingFirst) {
  serve({"a", "a", "b"});
  const FleetStep step = next();
  EXPECT_EQ(step.word, "rebalance");
  EXPECT_EQ(step.zone, "c");
  fleet.launch_started("t", "c", now);
  EXPECT_EQ(next().kind, StepKind::none);  // nothing is drained before it serves
  run("i-4", "c", "t");
  describe();
  hear();
  EXPECT_EQ(next().kind, StepKind::drain);
  EXPECT_EQ(at(next().instance).zone, "a");
}

TEST_F(FleetTest, DoesNotEvenOutADifferenceOfOne) {
  fleet.set_desired(4);
  serve({"a", "a", "b", "c"});
  EXPECT_EQ(next().kind, StepKind::none);
}

TEST_F(FleetTest, AnInstanceThatNeverPassesItsCheckIsReplacedAfterTheGrace) {
  fleet.set_desired(1);
  fleet.launch_started("t", "a", now);
  run("i-1", "a", "t");
  describe();
  hear("i-1");
  now += minutes(5) - seconds(1);
  hear("i-1");
  EXPECT_EQ(next().kind, StepKind::none);
  now += seconds(1);
  hear("i-1");
  EXPECT_EQ(next().word, "replace");
}

TEST_F(FleetTest, WarmingOnesServeButDoNotCount) {
  run("i-1", "a");
  fleet.launch_started("t", "b", now);
  run("i-2", "b", "t");
  describe();
  hear();
  EXPECT_EQ(fleet.counted(now, seconds(30)).size(), 1u);  // the adopted one is warm already
  EXPECT_EQ(at("i-2").state, InstanceState::warming);
  now += seconds(30);
  hear();
  EXPECT_EQ(fleet.counted(now, seconds(30)).size(), 2u);
  EXPECT_EQ(at("i-2").state, InstanceState::in_service);
}

TEST_F(FleetTest, ARestartGoesOnWithWhatItHadBegun) {
  Intent launch;
  launch.token = "t";
  launch.zone = "a";
  Intent drain;
  drain.kind = IntentKind::drain;
  drain.instance = "i-1";
  Intent terminate;
  terminate.kind = IntentKind::terminate;
  terminate.instance = "i-2";
  fleet.restore({launch, drain, terminate}, now);
  run("i-1", "a");
  run("i-2", "b");
  describe();
  EXPECT_EQ(at("i-1").state, InstanceState::draining);
  EXPECT_EQ(at("i-2").state, InstanceState::terminating);
  EXPECT_EQ(fleet.count().coming, 1u);
  EXPECT_EQ(next().kind, StepKind::terminate);
  EXPECT_EQ(next().instance, "i-2");
}

TEST_F(FleetTest, ARestartDoesNotRelaunchWhatOneReportLeftOut) {
  Intent launch;
  launch.state = IntentState::acked;
  launch.token = "t";
  launch.zone = "a";
  launch.instance = "i-1";
  fleet.set_desired(1);
  fleet.restore({launch}, now);
  describe();
  EXPECT_EQ(next().kind, StepKind::none);
  now += minutes(1);
  for (int i = 0; i < 3; ++i) describe();
  EXPECT_TRUE(happened("lost"));
  EXPECT_EQ(next().kind, StepKind::launch);
}

}  // namespace
}  // namespace lbd::scaler
