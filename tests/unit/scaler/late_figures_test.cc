// Metrics of the cloud come minutes late and once in minutes: every minute with detailed
// monitoring, every five without.
#include "tests/unit/scaler/policy_case.h"
#include "tests/unit/scaler/scaler_fixture.h"

namespace lbd::scaler {
namespace {

TEST(LateFigures, AreJudgedAtTheTimeTheyAreOf) {
  Case group({step(true, 0.9, 1)}, 0.95, 3);
  group.view.now = kNow + minutes(3);
  EXPECT_EQ(group.ask().kind, "no_data");
  group.view.policies[0].late = LateEnd{kNow, kNow, minutes(1)};
  EXPECT_EQ(group.ask().desired, 4u);
}

TEST(LateFigures, FromBeforeTheLastChangeShrinkNothing) {
  Case group({step(false, 0.6, -1)}, 0.1, 4);
  group.view.now = kNow + minutes(3);
  group.view.policies[0].late = LateEnd{kNow, kNow, minutes(1)};
  group.view.changed_at = kNow + minutes(1);
  EXPECT_EQ(group.ask().kind, "settling");
  group.view.changed_at = kNow - minutes(1);
  EXPECT_EQ(group.ask().desired, 3u);
}

TEST(LateFigures, CapacityGoesByWhatIsKnownOfAllAndComesByWhatIsKnownOfHalf) {
  Policy slow = tracking(0.5);
  slow.scale_in_for = minutes(1);
  Case group({slow, step(true, 0.9, 1)}, 0.1, 4);
  group.view.now = kNow + minutes(6);
  for (PolicyView& each : group.view.policies) {
    each.late = LateEnd{kNow + minutes(4), kNow, minutes(5)};
    each.joined = kNow - minutes(30);
  }
  group.view.changed_at = kNow - minutes(10);
  const auto tell_half = [&](double ratio) {
    for (Series& each : group.series) {
      for (int i = 1; i <= 240; ++i) each.add(kNow + seconds(i), ratio, false);
    }
  };
  tell_half(0.1);
  EXPECT_EQ(group.ask().direction, Direction::in);
  tell_half(0.95);
  EXPECT_EQ(group.ask().direction, Direction::out);
}

TEST(LateFigures, OfATimeInWhichTheFleetChangedShrinkNothing) {
  Case group({step(false, 0.6, -1)}, 0.1, 4);
  group.view.now = kNow + minutes(2);
  group.view.policies[0].late = LateEnd{kNow, kNow, minutes(5)};
  group.view.changed_at = kNow - minutes(4);
  EXPECT_EQ(group.ask().kind, "settling");
  group.view.changed_at = kNow - minutes(5);
  EXPECT_EQ(group.ask().desired, 3u);
}

TEST_F(ScalerTest, OneLateDatapointAddsOneInstanceAndNotOneASecond) {
  config.scaling_groups["web"].provider = config::Ec2Provider{};
  scaler->apply(config);
  cloud.cpu = 0.93;
  cloud.cpu_minute = clock.now();
  after(minutes(4));
  EXPECT_EQ(alive(), 3u) << "of before there were three";
  cloud.cpu_minute = clock.now() - seconds(90);
  after(minutes(9));
  EXPECT_EQ(alive(), 4u) << "one datapoint, one instance";
  cloud.cpu_minute = clock.now() - seconds(90);
  after(minutes(2));
  EXPECT_EQ(alive(), 5u) << "measured with four";
}

TEST_F(ScalerTest, OneLateDatapointRemovesOneInstanceAndNotOneASecond) {
  config.scaling_groups["web"].provider = config::Ec2Provider{};
  scaler->apply(config);
  cloud.cpu = 0.7;
  cloud.cpu_minute = clock.now();
  after(seconds(20));
  ASSERT_TRUE(scaler->set_desired("web", 5, "test"));
  after(minutes(4));
  EXPECT_EQ(alive(), 5u);
  cloud.cpu = 0.1;
  cloud.cpu_minute = clock.now() - seconds(90);
  after(minutes(9));
  EXPECT_EQ(alive(), 4u);
}

/// Three to five instances that nothing but CloudWatch tells of; at the full size from the start.
class MeteredTest : public ScalerTest {
 protected:
  MeteredTest() {
    config.scaling_groups["web"].provider = config::Ec2Provider{};
    cloud.cpu_metered = minutes(5);
  }
  void begin_with(const Policy& policy, std::uint32_t desired) {
    config.scaling_groups["web"].policies = {policy};
    scaler->apply(config);
    after(seconds(20));
    ASSERT_TRUE(scaler->set_desired("web", desired, "test"));
    after(seconds(20));
    ASSERT_EQ(alive(), desired);
    after(minutes(5) - clock.now().time_since_epoch() % minutes(5));  // as they are measured
  }
  /// A policy of so many one-minute datapoints.
  static Policy alarm_of(bool above, double threshold, std::uint32_t datapoints) {
    Policy policy = step(above, threshold, above ? 1 : -1);
    policy.period = minutes(1);
    policy.datapoints = policy.datapoints_to_alarm = datapoints;
    return policy;
  }
};

TEST_F(MeteredTest, AQuarterOfAnHourBelowTheTargetFillsByThreeFiguresOfFiveMinutes) {
  Policy policy = tracking(0.5);
  policy.period = policy.scale_in_period = minutes(1);
  policy.scale_out_for = minutes(3);
  policy.scale_in_for = minutes(15);
  cloud.cpu = 0.1;
  begin_with(policy, 5);
  after(minutes(17));
  EXPECT_EQ(alive(), 5u) << "before the third figure was told";
  after(minutes(2));
  EXPECT_EQ(alive(), 3u);
}

TEST_F(MeteredTest, OneFigureOfFiveMinutesIsThreeDatapointsOfOneAndAddsOnce) {
  cloud.cpu = 0.95;
  begin_with(alarm_of(true, 0.9, 3), 3);
  after(minutes(7));
  EXPECT_EQ(alive(), 3u) << "nothing is told of the five minutes yet";
  after(minutes(1));
  EXPECT_EQ(alive(), 4u);
  after(minutes(9));
  EXPECT_EQ(alive(), 4u) << "no figure is of four instances only";
  after(minutes(1));
  EXPECT_EQ(alive(), 5u);
}

TEST_F(MeteredTest, OneFigureOfFiveMinutesRemovesOnce) {
  cloud.cpu = 0.1;
  begin_with(alarm_of(false, 0.6, 15), 5);
  after(minutes(18));
  EXPECT_EQ(alive(), 4u);
  after(minutes(9));
  EXPECT_EQ(alive(), 4u) << "the fleet changed in the only newer figure";
  after(minutes(1));
  EXPECT_EQ(alive(), 3u);
}

TEST_F(MeteredTest, SomeMeasuredEachMinuteAndSomeEveryFiveShrinkByWhatIsKnownOfAll) {
  cloud.cpu = 0.1;
  cloud.cpu_metered = minutes(1);
  cloud.cpu_metered_of = {{"i-1", minutes(5)}, {"i-4", minutes(5)}};
  begin_with(alarm_of(false, 0.6, 15), 5);
  after(minutes(17));
  EXPECT_EQ(alive(), 5u);
  after(minutes(1));
  EXPECT_EQ(alive(), 4u);
}

TEST_F(MeteredTest, MostMeasuredEachMinuteGrowWithoutWaitingForTheOthers) {
  cloud.cpu = 0.95;
  cloud.cpu_metered = minutes(1);
  cloud.cpu_metered_of = {{"i-1", minutes(5)}};
  begin_with(alarm_of(true, 0.9, 3), 3);
  after(minutes(1));
  EXPECT_EQ(alive(), 4u);
}
}  // namespace
}  // namespace lbd::scaler
