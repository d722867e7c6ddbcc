// A bad check, or our own line, must not empty a fleet that serves.
#include "tests/unit/scaler/fleet_fixture.h"

namespace lbd::scaler {
namespace {

TEST_F(FleetTest, WhenAllFailTheirChecksOneNewInstanceIsTriedAndNoneIsEnded) {
  serve({"a", "b", "c"});
  hear_down({"i-1", "i-2", "i-3"});
  EXPECT_TRUE(happened("mass_failure"));
  EXPECT_EQ(next().kind, StepKind::launch);
  EXPECT_NE(next().sentence.find("3 of 3 instances fail"), std::string::npos) << next().sentence;
  now += seconds(1);
  fleet.launch_started("t", "a", now);
  run("i-4", "a", "t");
  describe();
  hear_down({"i-1", "i-2", "i-3", "i-4"});
  EXPECT_EQ(next().word, "mass_failure");
  EXPECT_EQ(next().kind, StepKind::none);
  now += minutes(5);  // the grace: it does not pass either
  hear_down({"i-1", "i-2", "i-3", "i-4"});
  EXPECT_EQ(next().kind, StepKind::drain);
  EXPECT_EQ(next().instance, "i-4");
  end("i-4");
  hear_down({"i-1", "i-2", "i-3"});
  EXPECT_EQ(next().kind, StepKind::none);
  now += minutes(5) - seconds(1);
  EXPECT_EQ(next().word, "mass_failure");
  now += seconds(1);  // ten minutes after the last try
  EXPECT_EQ(next().kind, StepKind::launch);
}

TEST_F(FleetTest, ANewInstanceThatPassesProvesTheOthersSick) {
  serve({"a", "b", "c"});
  hear_down({"i-1", "i-2", "i-3"});
  now += seconds(1);
  fleet.launch_started("t", "a", now);
  run("i-4", "a", "t");
  describe();
  hear_down({"i-1", "i-2", "i-3"});
  EXPECT_EQ(next().kind, StepKind::launch);  // at once: no try, a replacement
  fleet.launch_started("t2", "b", now);
  run("i-5", "b", "t2");
  describe();
  hear_down({"i-1", "i-2", "i-3"});
  EXPECT_EQ(next().kind, StepKind::drain);  // at the maximum, with two that pass
}

TEST_F(FleetTest, AMassFailureThatEndsReplacesNobody) {
  serve({"a", "b", "c"});
  hear_down({"i-1", "i-2", "i-3"});
  hear();
  EXPECT_EQ(next().kind, StepKind::none);
}

TEST_F(FleetTest, AtTheMaximumAMassFailureCostsOneInstanceAfterAWhileAndNoMore) {
  fleet.set_desired(5);
  serve({"a", "b", "c", "a", "b"});
  const std::vector<std::string> all{"i-1", "i-2", "i-3", "i-4", "i-5"};
  hear_down(all);
  EXPECT_EQ(next().word, "mass_failure");
  now += minutes(2) - seconds(1);
  hear_down(all);
  EXPECT_EQ(next().kind, StepKind::none);
  now += seconds(1);
  hear_down(all);
  EXPECT_EQ(next().kind, StepKind::drain);
  const std::string gone = next().instance;
  fleet.start_drain(gone, now, "trial");
  EXPECT_EQ(next().kind, StepKind::none);
  end(gone);
  EXPECT_EQ(next().kind, StepKind::launch);
  fleet.launch_started("t", "a", now);
  run("i-6", "a", "t");
  describe();
  for (int i = 0; i < 60; ++i) {
    now += minutes(1);
    hear_down({"i-1", "i-2", "i-3", "i-4", "i-5", "i-6"});
    const FleetStep step = next();
    EXPECT_TRUE(step.kind == StepKind::none || step.instance == "i-6") << step.sentence;
  }
}

TEST_F(FleetTest, InAMassFailureThoseThatAreNotWantedAnyMoreGo) {
  serve({"a", "b", "c"});
  hear_down({"i-1", "i-2"});
  EXPECT_EQ(next().kind, StepKind::launch);
  fleet.set_desired(1);  // i-3 passes and is enough
  EXPECT_EQ(next().kind, StepKind::drain);
  EXPECT_NE(next().instance, "i-3");
}

TEST_F(FleetTest, HalfOfThemFailingIsNoMassFailure) {
  fleet.set_desired(4);
  serve({"a", "b", "c", "a"});
  hear_down({"i-1", "i-2"});
  EXPECT_FALSE(happened("mass_failure"));
}

TEST_F(FleetTest, WhomTheProviderCallsImpairedIsReplacedHoweverMany) {
  fleet.set_desired(5);
  serve({"a", "b", "c", "a", "b"});
  for (ReportedInstance& each : cloud) each.status_impaired = true;
  describe();
  now += minutes(2);
  hear_down({"i-1", "i-2", "i-3", "i-4", "i-5"});
  EXPECT_EQ(next().kind, StepKind::drain);
}

TEST_F(FleetTest, WhomTheProviderCallsImpairedDoesNotHideThatTheRestFailAtOnce) {
  fleet.set_desired(5);
  serve({"a", "b", "c", "a", "b"});
  cloud[3].status_impaired = cloud[4].status_impaired = true;
  describe();
  hear_down({"i-1", "i-2", "i-3", "i-4", "i-5"});
  EXPECT_TRUE(happened("mass_failure"));
  EXPECT_EQ(next().instance, "i-4");
  end("i-4");
  end("i-5");
  fleet.set_desired(3);
  hear_down({"i-1", "i-2", "i-3"});
  for (int i = 0; i < 3; ++i) EXPECT_NE(next().kind, StepKind::drain);
}

TEST_F(FleetTest, OfUnhealthyOnesTheOneThatNeverServedGoesFirst) {
  fleet.set_desired(4);
  serve({"a", "b", "c", "a"});
  fleet.launch_started("t", "b", now);
  run("i-5", "b", "t");
  describe();
  hear_down({"i-1", "i-5"});
  now += minutes(5);
  hear_down({"i-1", "i-5"});
  EXPECT_EQ(next().kind, StepKind::drain);
  EXPECT_EQ(next().instance, "i-5");
}

TEST_F(FleetTest, InstancesThatNeverPassTakeOnePlaceAndNotAllUpToTheMaximum) {
  serve({"a", "b", "c"});
  hear_down({"i-1"});
  for (int i = 4; i < 9; ++i) {
    ASSERT_EQ(next().kind, StepKind::launch) << i;
    const std::string id = "i-" + std::to_string(i);
    fleet.launch_started("t" + id, "a", now);
    run(id, "a", "t" + id);
    describe();
    hear_down({"i-1", id});
    now += minutes(5);
    hear_down({"i-1", id});
    ASSERT_EQ(next().instance, id);
    EXPECT_EQ(fleet.count().alive, 4u);
    end(id);
    hear_down({"i-1"});
  }
}

}  // namespace
}  // namespace lbd::scaler
