#include "tests/unit/scaler/fleet_fixture.h"

namespace lbd::scaler {
namespace {

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
  EXPECT_EQ(next().word, "quota");
  now += minutes(1);
  EXPECT_EQ(next().kind, StepKind::launch);
  fleet.launch_started("t2", "a", now);
  fleet.launch_answered("t2", refused(CallError::denied), now);
  EXPECT_EQ(next().word, "held") << "no limit of the account's";
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

TEST_F(FleetTest, ALaunchThatAnAdminEndsIsNoFailureOfItsZone) {
  describe();
  fleet.launch_started("t", "a", now);
  ReportedInstance& made = run("i-1", "a", "t");
  made.state = ReportedState::pending;
  describe();
  made.state = ReportedState::terminated;
  made.state_reason = "Client.UserInitiatedShutdown: User initiated shutdown";
  describe();
  EXPECT_TRUE(happened("launch_failed"));
  EXPECT_EQ(next().zone, "a");
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
  const std::vector<FleetEvent> events = fleet.take_events();
  const auto told = std::count_if(events.begin(), events.end(), [](const FleetEvent& each) {
    return each.kind == "not_visible" && each.instance == "i-1";
  });
  EXPECT_EQ(told, 1);
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
  fleet.set_desired(4);
  serve({"a", "b", "c", "a"});
  hear_down({"i-1", "i-2"});
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

// A group with min = max would stay uneven for ever.
TEST_F(FleetTest, AtTheMaximumTheZonesAreEvenedOutByDrainingFirst) {
  config::ScalingGroup full = group();
  full.max = 3;
  fleet.configure(full);
  serve({"a", "a", "b"});
  EXPECT_EQ(fleet.next_step(now, false).word, "uneven");
  EXPECT_EQ(fleet.next_step(now, false).kind, StepKind::none);
  const FleetStep step = next();
  EXPECT_EQ(step.kind, StepKind::drain);
  EXPECT_EQ(step.word, "rebalance");
  EXPECT_EQ(at(step.instance).zone, "a");
  fleet.start_move(step.instance, now, step.sentence);
  now += seconds(1);
  hear();
  EXPECT_EQ(next().kind, StepKind::none) << next().sentence;  // neither taken back nor a fourth
  end(step.instance);
  EXPECT_EQ(next().kind, StepKind::launch);
  EXPECT_EQ(next().zone, "c");
}

TEST_F(FleetTest, AMoveIsTakenBackWhenItsZoneCannotBeLaunchedIn) {
  config::ScalingGroup full = group();
  full.max = 3;
  fleet.configure(full);
  serve({"a", "a", "b"});
  fleet.start_move(next().instance, now, "uneven");
  fleet.set_zones({"a", "b"});
  hear();
  EXPECT_EQ(next().kind, StepKind::undrain);
}

TEST_F(FleetTest, NobodyIsMovedIntoAZoneThatFailedHalfAnHourAgo) {
  config::ScalingGroup full = group();
  full.max = 3;
  fleet.configure(full);
  fleet.set_desired(4);
  describe();
  fleet.launch_started("t", "c", now);
  fleet.launch_answered("t", refused(CallError::capacity), now);
  fleet.set_desired(3);
  serve({"a", "a", "b"});
  now += minutes(3) + minutes(30) - seconds(90);
  hear();
  EXPECT_EQ(next().word, "uneven");
  now += minutes(1);
  hear();
  EXPECT_EQ(next().word, "rebalance");
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
