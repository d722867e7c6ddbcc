// What a restart or a reload must not change.
#include "tests/unit/scaler/scaler_fixture.h"

namespace lbd::scaler {
namespace {

TEST_F(ScalerTest, APauseSurvivesARestart) {
  after(seconds(15));
  ASSERT_TRUE(scaler->pause("web", minutes(5), "test"));
  end();
  begin();
  cloud.cpu = 0.95;
  after(minutes(4));
  EXPECT_EQ(alive(), 3u);
}

TEST_F(ScalerTest, ARestartAdoptsAndChangesNothing) {
  after(seconds(15));
  cloud.cpu = 0.7;
  ASSERT_TRUE(scaler->set_desired("web", 4, "test"));
  after(seconds(20));
  end();
  const int before = cloud.launches;
  targets.clear();
  begin();
  after(minutes(2));
  EXPECT_EQ(cloud.launches, before);
  EXPECT_EQ(alive(), 4u);
  EXPECT_EQ(targets.size(), 4u);
  EXPECT_EQ(scaler->status("web")->desired, 4u);
}

TEST_F(ScalerTest, ARestartWithoutTheApiOffersWhatWasInServiceUntilTheFirstReport) {
  cloud.cpu = 0.7;
  after(seconds(15));
  const std::vector<InstanceTarget> before = targets;
  ASSERT_EQ(before.size(), 3u);
  end();
  targets.clear();
  cloud.unreachable = true;
  begin();
  after(minutes(30));
  EXPECT_EQ(targets, before);
  EXPECT_EQ(cloud.launches, 3);
  const std::vector<Decision> rows = history(false);
  EXPECT_TRUE(std::any_of(rows.begin(), rows.end(), [](const Decision& row) {
    return row.sentence == "start failed: ECONNREFUSED no route";
  }));
  cloud.instances[0].state = ReportedState::terminated;
  cloud.unreachable = false;
  after(minutes(2));
  ASSERT_EQ(targets.size(), 3u);
  EXPECT_EQ(targets[0].id, "i-2") << "the report is the truth";
}

TEST_F(ScalerTest, WhatEndedWhileLbdWasAwayIsReplacedAtOnce) {
  cloud.cpu = 0.7;
  after(seconds(15));
  end();
  targets.clear();
  for (auto& each : cloud.instances) each.state = ReportedState::terminated;
  begin();
  after(seconds(40));
  EXPECT_EQ(targets.size(), 3u);
  EXPECT_EQ(cloud.launches, 6) << "no zone is closed for it";
}

TEST_F(ScalerTest, WhatWasDrainedIsNotOfferedByARestart) {
  cloud.cpu = 0.7;
  after(seconds(15));
  ASSERT_TRUE(scaler->set_desired("web", 4, "test"));
  after(seconds(15));
  drains = false;
  ASSERT_TRUE(scaler->set_desired("web", 3, "test"));
  after(seconds(15));
  ASSERT_EQ(scaler->status("web")->counts.draining, 1u);
  end();
  targets.clear();
  cloud.unreachable = true;
  begin();
  after(seconds(5));
  EXPECT_EQ(targets.size(), 3u);
}

TEST_F(ScalerTest, TwoRestartsBeforeAnyCheckHasPassedStillOfferThem) {
  cloud.cpu = 0.7;
  after(seconds(15));
  end();
  targets.clear();
  checks_pass = false;
  begin();
  after(seconds(3));
  end();
  targets.clear();
  cloud.unreachable = true;
  begin();
  after(seconds(3));
  EXPECT_EQ(targets.size(), 3u);
}

TEST_F(ScalerTest, AReloadWithAnotherProviderLeavesADrainAlone) {
  cloud.cpu = 0.7;
  after(seconds(15));
  ASSERT_TRUE(scaler->set_desired("web", 4, "test"));
  after(seconds(15));
  drains = false;
  ASSERT_TRUE(scaler->set_desired("web", 3, "test"));
  after(seconds(15));
  ASSERT_EQ(targets.size(), 4u);
  cloud.unreachable = true;
  std::get<config::ProcessProvider>(config.scaling_groups["web"].provider).cpu_share = 2;
  scaler->apply(config);
  after(seconds(15));
  EXPECT_EQ(targets.size(), 4u);
}

TEST_F(ScalerTest, WithoutItsPlanItServesWhatRunsAndChangesNothingUntilThePlanIsBack) {
  cloud.cpu = 0.7;
  after(seconds(15));
  ASSERT_TRUE(scaler->set_desired("web", 4, "test"));
  after(seconds(15));
  end();
  targets.clear();
  store.unreadable = true;
  begin();
  after(minutes(1));
  EXPECT_EQ(targets.size(), 4u) << "found by their tag";
  EXPECT_EQ(scaler->status("web")->kind, "no_plan");
  EXPECT_EQ(scaler->status("web")->store_error, "file is not a database");
  EXPECT_FALSE(scaler->set_desired("web", 5, "test"));
  cloud.instances[0].state = ReportedState::terminated;
  cloud.cpu = 0.95;
  after(minutes(5));
  EXPECT_EQ(cloud.launches, 4);
  EXPECT_EQ(targets.size(), 3u);
  cloud.cpu = 0.7;
  store.unreadable = false;
  after(seconds(30));
  EXPECT_EQ(alive(), 4u);
  EXPECT_EQ(targets.size(), 4u);
  EXPECT_TRUE(scaler->status("web")->store_error.empty());
}

class CooldownTest : public ScalerTest {
 protected:
  CooldownTest() {
    config::ScalingGroup& group = config.scaling_groups["web"];
    group.cooldown = milliseconds(300'000);
    for (config::Policy& each : group.policies) each.kind = config::PolicyKind::simple;
    scaler->apply(config);
    cloud.cpu = 0.7;
    after(minutes(1));
    EXPECT_TRUE(scaler->set_desired("web", 4, "test"));
    after(seconds(20));  // the activity is over, the cooldown goes on
  }
  void restart() {
    end();
    targets.clear();
    begin();
  }
};

TEST_F(CooldownTest, ARestartDoesNotStartTheCooldownAnew) {
  after(minutes(3));
  restart();
  cloud.cpu = 0.95;
  after(minutes(1));
  EXPECT_EQ(alive(), 4u);
  EXPECT_EQ(scaler->status("web")->kind, "cooldown");
  after(minutes(1) + seconds(15));  // five minutes after the activity ended
  EXPECT_EQ(alive(), 5u);
}

TEST_F(CooldownTest, AnActivityThatARestartCutsIsStillOpen) {
  drains = false;
  ASSERT_TRUE(scaler->set_desired("web", 3, "test"));
  after(seconds(5));
  after(minutes(4));  // the cooldown of the activity before is over
  restart();
  cloud.cpu = 0.95;
  after(seconds(30));
  EXPECT_EQ(scaler->status("web")->kind, "cooldown");
  drains = true;
  after(minutes(4));
  EXPECT_EQ(scaler->status("web")->desired, 3u);
}

/// One zone, which has no capacity left when a fourth instance is wanted.
class FailingActivityTest : public ScalerTest {
 protected:
  FailingActivityTest() {
    config::ScalingGroup& group = config.scaling_groups["web"];
    group.cooldown = milliseconds(300'000);
    for (config::Policy& each : group.policies) each.kind = config::PolicyKind::simple;
    cloud.zones = {"a"};
    cloud.cpu = 0.7;
    end();
    begin();
    after(minutes(10));
    cloud.closed_zone = "a";
    EXPECT_TRUE(scaler->set_desired("web", 5, "test"));
    after(seconds(10));
    cloud.cpu = 0.1;
  }
};

TEST_F(FailingActivityTest, LaunchesThatKeepFailingEndItAndItsCooldownBegins) {
  after(minutes(4));
  EXPECT_EQ(scaler->status("web")->desired, 5u) << "in its cooldown";
  after(minutes(2));
  EXPECT_EQ(scaler->status("web")->desired, 3u) << "what cannot be had is given up";
  EXPECT_EQ(alive(), 3u);
}

TEST_F(FailingActivityTest, ALaunchThatSucceedsAfterAllBeginsTheCooldownAnew) {
  cloud.closed_zone.clear();
  after(minutes(5) + seconds(30));  // the zone's pause is three minutes
  EXPECT_EQ(alive(), 5u);
  EXPECT_EQ(scaler->status("web")->kind, "cooldown");
  after(minutes(3));
  EXPECT_EQ(alive(), 4u);
}

}  // namespace
}  // namespace lbd::scaler
