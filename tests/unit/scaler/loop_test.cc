#include "tests/unit/scaler/scaler_fixture.h"

namespace lbd::scaler {
namespace {

TEST_F(ScalerTest, AGroupWithoutRequestsSleepsAtZeroAndTheFirstRequestWakesIt) {
  config.scaling_groups["web"].min = 0;
  config.scaling_groups["web"].desired = 1;
  end();
  begin();
  after(seconds(30));
  ASSERT_EQ(alive(), 1u);
  cloud.cpu = 0.002;
  after(minutes(3));
  EXPECT_EQ(alive(), 1u) << "ended although it had requests";
  idle = true;
  after(minutes(3));
  EXPECT_EQ(alive(), 0u);
  EXPECT_EQ(cloud.launches, 1) << "it came and went without a request";
  unserved = 2;
  after(seconds(5));
  EXPECT_EQ(alive(), 1u);
  EXPECT_TRUE(history().front().sentence.starts_with("scale out 0 -> 1: 2 requests found no"))
      << history().front().sentence;
}

TEST_F(ScalerTest, FillsToTheMinimumOnePerZoneOneActionATick) {
  after(milliseconds(10));
  EXPECT_EQ(cloud.launches, 0);  // the first tick starts and looks
  for (int i = 1; i <= 3; ++i) {
    after(seconds(1));
    EXPECT_LE(cloud.launches, i);
  }
  after(seconds(3));
  EXPECT_EQ(alive(), 3u);
  EXPECT_EQ(cloud.instances[0].zone, "a");
  EXPECT_EQ(cloud.instances[1].zone, "b");
  EXPECT_EQ(cloud.instances[2].zone, "c");
  EXPECT_EQ(targets.size(), 3u);
}

TEST_F(ScalerTest, GoesFromThreeToFiveAndNeverSixWhenCpuPassesNinety) {
  after(seconds(15));
  cloud.cpu = 0.95;
  after(minutes(5));
  EXPECT_EQ(alive(), 5u);
  EXPECT_EQ(cloud.launches, 5);
  EXPECT_EQ(scaler->status("web")->kind, "at_max");
}

TEST_F(ScalerTest, ShrinksBackByDrainingFirst) {
  after(seconds(15));
  cloud.cpu = 0.95;
  after(minutes(2));
  drains = false;
  cloud.cpu = 0.1;
  after(minutes(1));
  EXPECT_EQ(alive(), 5u);  // still requests in flight
  EXPECT_EQ(scaler->status("web")->counts.draining, 1u);
  drains = true;
  after(minutes(3));
  EXPECT_EQ(alive(), 3u);
  EXPECT_EQ(targets.size(), 3u);
}

TEST_F(ScalerTest, ACapacityErrorFailsOverToTheNextZoneInTheSameTick) {
  cloud.closed_zone = "a";
  after(milliseconds(1'500));
  EXPECT_EQ(cloud.launches, 2);
  EXPECT_EQ(alive(), 1u);
  EXPECT_EQ(cloud.instances[0].zone, "b");
  const auto rows = history();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_NE(rows[0].outcome.find("InsufficientInstanceCapacity"), std::string::npos);
  EXPECT_NE(rows[0].outcome.find("i-1: launched"), std::string::npos) << rows[0].outcome;
}

TEST_F(ScalerTest, ACapacityErrorOfALaunchThatIsAskedForAgainFailsOverInTheSameTickToo) {
  config.scaling_groups["web"].min = 1;
  cloud.launches_lost = 1;
  end();
  begin();
  after(seconds(25));
  ASSERT_EQ(cloud.launches, 1);
  cloud.closed_zone = "a";
  for (int i = 0; i < 60 && cloud.launches == 1; ++i) after(seconds(1));
  EXPECT_EQ(cloud.launches, 3);
  ASSERT_EQ(cloud.instances.size(), 1u);
  EXPECT_EQ(cloud.instances[0].zone, "b");
  EXPECT_TRUE(scaler->status("web")->zones[0].closed);
}

TEST_F(ScalerTest, AZoneOfWhichAPartIsFullIsTriedAgainInTheSameTickAndStaysOpen) {
  cloud.full_zone = "a";
  cloud.room_after = 3;
  after(milliseconds(1'500));
  EXPECT_EQ(cloud.launches, 4) << "twice in a, which then is full, and once in b";
  EXPECT_EQ(cloud.instances.at(0).zone, "b");
  const GroupStatus full = *scaler->status("web");
  EXPECT_TRUE(full.zones[0].closed);
  EXPECT_NE(full.zones[0].reason.find("subnet-a is full"), std::string::npos);
  EXPECT_FALSE(full.zones[1].closed);
}

TEST_F(ScalerTest, EveryLaunchHasItsIntentAndItsSentence) {
  after(seconds(15));
  cloud.cpu = 0.95;
  after(minutes(1));
  for (const ReportedInstance& each : cloud.instances) {
    const auto intent = store.intent("launch:" + each.client_token);
    ASSERT_TRUE(intent && intent->has_value());
    EXPECT_EQ((*intent)->instance, each.id);
    const auto decision = store.decision((*intent)->decision);
    ASSERT_TRUE(decision && decision->has_value());
    EXPECT_FALSE((*decision)->sentence.empty());
  }
}

TEST_F(ScalerTest, NonDecisionsOfOneKindShareARow) {
  cloud.cpu = 0.7;
  after(minutes(10));
  std::size_t quiet = 0;
  std::uint64_t repeats = 0;
  for (const Decision& each : history(false)) {
    if (each.kind != "steady") continue;
    ++quiet;
    repeats = each.repeats;
  }
  EXPECT_EQ(quiet, 1u);
  EXPECT_GT(repeats, 400u);
}

TEST_F(ScalerTest, NothingIsLaunchedWhileThePlanCannotBeWritten) {
  store.full = true;
  after(minutes(1));
  EXPECT_EQ(cloud.launches, 0);
  EXPECT_NE(scaler->status("web")->store_error.find("disk is full"), std::string::npos);
  store.full = false;
  after(seconds(10));
  EXPECT_EQ(alive(), 3u);
}

TEST_F(ScalerTest, DesiredOutsideTheBoundsIsAnErrorAndNotAClamp) {
  after(seconds(15));
  const auto refused = scaler->set_desired("web", 6, "test");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message.rfind("ValidationError", 0), 0u);
  EXPECT_TRUE(scaler->set_desired("web", 5, "test"));
  cloud.cpu = 0.7;
  after(seconds(15));
  EXPECT_EQ(alive(), 5u);
  EXPECT_FALSE(scaler->set_desired("none", 3, "test"));
}

TEST_F(ScalerTest, PausedItDoesNothingUntilTheTimeIsOver) {
  after(seconds(15));
  ASSERT_TRUE(scaler->pause("web", minutes(5), "test"));
  cloud.cpu = 0.95;
  after(minutes(4));
  EXPECT_EQ(alive(), 3u);
  EXPECT_TRUE(scaler->status("web")->paused);
  after(minutes(2));
  EXPECT_GT(alive(), 3u);
}

TEST_F(ScalerTest, AReloadKeepsTheFleetAndAppliesTheNewBounds) {
  cloud.cpu = 0.7;
  after(seconds(15));
  config.scaling_groups["web"].min = 4;
  scaler->apply(config);
  after(seconds(15));
  EXPECT_EQ(alive(), 4u);
  EXPECT_EQ(providers, 1);
  config.scaling_groups["web"].min = 1;
  config.scaling_groups["web"].max = 2;
  scaler->apply(config);
  after(minutes(1));
  EXPECT_EQ(alive(), 2u);
}

TEST_F(ScalerTest, AReloadWithAnotherProviderTakesNoTargetAway) {
  cloud.cpu = 0.7;
  after(seconds(15));
  const int before = published;
  std::get<config::ProcessProvider>(config.scaling_groups["web"].provider).cpu_share = 2;
  scaler->apply(config);
  after(seconds(15));
  EXPECT_EQ(providers, 2);
  EXPECT_EQ(alive(), 3u);
  EXPECT_EQ(targets.size(), 3u);
  EXPECT_LE(published, before + 1);
}

TEST_F(ScalerTest, ARemovedGroupLetsItsInstancesRun) {
  after(seconds(15));
  config.scaling_groups.clear();
  scaler->apply(config);
  after(seconds(15));
  EXPECT_EQ(alive(), 3u);
  EXPECT_TRUE(targets.empty());
}

TEST_F(ScalerTest, ThePreferredCpuSourceWinsWhileItIsFresh) {
  cloud.cpu = 0.95;
  config.scaling_groups["web"].cpu_sources = {config::CpuSource::orca, config::CpuSource::provider};
  scaler->apply(config);
  after(seconds(10));
  for (int i = 0; i < 20; ++i) {
    for (const InstanceTarget& each : targets) {
      scaler->report_cpu({each.id, 0.7, clock.now()}, config::CpuSource::orca);
    }
    after(seconds(1));
  }
  EXPECT_EQ(alive(), 3u);
  after(minutes(1));  // no header for long: the provider's figure counts again
  EXPECT_GT(alive(), 3u);
}

class StatisticTest : public ScalerTest {
 protected:
  double value_of(config::Signal signal, config::Statistic statistic) {
    config::Policy policy = config.scaling_groups["web"].policies[0];
    policy.signal = signal;
    policy.statistic = statistic;
    policy.threshold = 1000;
    config.scaling_groups["web"].policies = {policy};
    scaler->apply(config);
    after(seconds(10));
    return scaler->status("web")->signals.at(0).value.value_or(-1);
  }
};

TEST_F(StatisticTest, IsTakenOverTheInstances) {
  using config::Signal;
  using config::Statistic;
  cloud.cpu = 0.7;
  after(seconds(15));
  cloud.cpu_of = {{"i-1", 0.2}, {"i-2", 0.9}};
  EXPECT_NEAR(value_of(Signal::cpu, Statistic::average), 0.6, 1e-9);
  EXPECT_NEAR(value_of(Signal::cpu, Statistic::minimum), 0.2, 1e-9);
  EXPECT_NEAR(value_of(Signal::cpu, Statistic::maximum), 0.9, 1e-9);
  rates = {{"i-1", 10}, {"i-2", 1}, {"i-3", 1}};
  EXPECT_NEAR(value_of(Signal::requests_per_target, Statistic::average), 4, 1e-9);
  EXPECT_NEAR(value_of(Signal::requests_per_target, Statistic::maximum), 10, 1e-9);
  EXPECT_NEAR(value_of(Signal::requests_per_target, Statistic::minimum), 1, 1e-9);
  latencies = {{"i-1", 0.1}, {"i-2", 1.3}, {"i-3", 0.7}};
  EXPECT_NEAR(value_of(Signal::latency, Statistic::average), 0.25, 1e-9) << "by requests";
  EXPECT_NEAR(value_of(Signal::latency, Statistic::maximum), 1.3, 1e-9);
  EXPECT_NEAR(value_of(Signal::in_flight_per_target, Statistic::minimum), 2, 1e-9);
}

TEST_F(ScalerTest, TheHighestCpuScalesOutWhenThePolicySaysMaximum) {
  config.scaling_groups["web"].policies[0].statistic = config::Statistic::maximum;
  scaler->apply(config);
  cloud.cpu = 0.7;
  cloud.cpu_of["i-1"] = 0.95;
  after(seconds(40));
  EXPECT_GT(alive(), 3u);
  std::string sentences;
  for (const Decision& each : history()) sentences += each.sentence + "\n";
  EXPECT_NE(sentences.find("highest cpu 95 % above 90 %"), std::string::npos) << sentences;
}

TEST_F(ScalerTest, AnUndrainTakesBackWhatIsLeavingWhenLoadReturns) {
  after(seconds(15));
  cloud.cpu = 0.95;
  after(minutes(2));
  drains = false;
  cloud.cpu = 0.1;
  after(seconds(40));
  ASSERT_EQ(scaler->status("web")->counts.draining, 1u);
  const int before = cloud.launches;
  cloud.cpu = 0.95;
  after(seconds(30));
  EXPECT_EQ(scaler->status("web")->counts.draining, 0u);
  EXPECT_EQ(cloud.launches, before);
  EXPECT_EQ(targets.size(), 5u);
}

TEST_F(ScalerTest, EachTickCountsAsOneDecision) {
  cloud.cpu = 0.7;
  after(seconds(100));
  DecisionMeasures decided = scaler->status("web")->decided;
  std::uint64_t total = 0;
  for (const auto& [key, count] : decided.decisions) total += count;
  EXPECT_NEAR(static_cast<double>(total), 100, 3);
  EXPECT_GE((decided.decisions[{"launch", true}]), 3u);
  EXPECT_EQ(decided.evaluated, clock.wall());
}

}  // namespace
}  // namespace lbd::scaler
