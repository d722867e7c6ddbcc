#include "lbd/base/rng.h"
#include "tests/unit/scaler/policy_case.h"

namespace lbd::scaler {
namespace {

using config::AdjustmentType;
using config::Signal;

TEST(Rounding, PercentagesRoundTowardZeroButNeverToZero) {
  Policy policy = step(true, 0.9, 0);
  policy.adjustment_type = AdjustmentType::percent;
  const struct {
    std::uint32_t n;
    double percent;
    std::int64_t change;
  } rows[] = {{127, 10, 12}, {10, 5, 1},  {3, 10, 1},   {10, -5, -1}, {667, -1, -6},
              {100, 10, 10}, {30, 10, 3}, {4, -25, -1}, {5, -33, -1}, {10, -33, -3},
              {4, 100, 4},   {3, 0, 0},   {0, 50, 0},   {8, -25, -2}};
  for (const auto& row : rows) {
    EXPECT_EQ(adjustment_of(policy, row.percent, row.n), row.change)
        << row.percent << " % of " << row.n;
  }
}

TEST(Rounding, MinAdjustmentIsAFloorOnTheMagnitude) {
  Policy policy = step(true, 0.9, 0);
  policy.adjustment_type = AdjustmentType::percent;
  policy.min_adjustment = 2;
  EXPECT_EQ(adjustment_of(policy, 25, 4), 2);
  EXPECT_EQ(adjustment_of(policy, -25, 4), -2);
  EXPECT_EQ(adjustment_of(policy, 100, 4), 4);
}

TEST(Rounding, ExactIsTheDistanceToTheNumber) {
  Policy policy = step(true, 0.9, 0);
  policy.adjustment_type = AdjustmentType::exact;
  EXPECT_EQ(adjustment_of(policy, 5, 3), 2);
  EXPECT_EQ(adjustment_of(policy, 5, 8), -3);
}

TEST(StepBounds, AboveTheThresholdLowerIsInclusiveAndUpperExclusive) {
  Policy policy = step(true, 0.6, 0);
  policy.steps = {{0.0, 0.1, 1}, {0.1, 0.2, 2}, {0.2, std::nullopt, 3}};
  EXPECT_EQ(step_for(policy, 0.59), nullptr);
  EXPECT_EQ(step_for(policy, 0.60)->adjustment, 1);
  EXPECT_EQ(step_for(policy, 0.699)->adjustment, 1);
  EXPECT_EQ(step_for(policy, 0.70)->adjustment, 2);
  EXPECT_EQ(step_for(policy, 0.80)->adjustment, 3);
  EXPECT_EQ(step_for(policy, 5)->adjustment, 3);
}

TEST(StepBounds, BelowTheThresholdLowerIsExclusiveAndUpperInclusive) {
  Policy policy = step(false, 0.4, 0);
  policy.steps = {{-0.1, 0.0, -1}, {-0.2, -0.1, -2}, {std::nullopt, -0.2, -3}};
  EXPECT_EQ(step_for(policy, 0.41), nullptr);
  EXPECT_EQ(step_for(policy, 0.40)->adjustment, -1);
  EXPECT_EQ(step_for(policy, 0.301)->adjustment, -1);
  EXPECT_EQ(step_for(policy, 0.30)->adjustment, -2);
  EXPECT_EQ(step_for(policy, 0.20)->adjustment, -3);
}

TEST(StepPolicy, AddsOneWhenCpuPassesNinetyPercent) {
  const Case group({step(true, 0.9, 1)}, 0.93, 3);
  const Recommendation advice = group.ask();
  EXPECT_EQ(advice.desired, 4u);
  EXPECT_EQ(advice.kind, "scale_out");
  EXPECT_NE(advice.sentence.find("scale out 3 -> 4: cpu 93 % above 90 % for 30 s"),
            std::string::npos)
      << advice.sentence;
}

TEST(StepPolicy, TwoBreachesOfTheSameStepAreOneActivity) {
  Case group({step(true, 0.9, 1)}, 0.95, 3);
  group.view.desired = 4;  // the fourth is warming
  group.view.policies[0].warming = true;
  const Recommendation advice = group.ask();
  EXPECT_EQ(advice.direction, Direction::none);
  EXPECT_EQ(advice.kind, "on_its_way");
}

TEST(StepPolicy, AHigherStepAddsOnlyWhatIsNotWarmingYet) {
  Policy policy = step(true, 0.9, 1);
  policy.steps = {{0.0, 0.05, 1}, {0.05, std::nullopt, 3}};
  Case group({policy}, 0.97, 3);
  group.view.desired = 4;
  group.view.policies[0].warming = true;
  EXPECT_EQ(group.ask().desired, 6u);
}

TEST(StepPolicy, StopsAtTheMaximumAndSaysSo) {
  Case group({step(true, 0.9, 1)}, 0.95, 5);
  group.view.max = 5;
  const Recommendation advice = group.ask();
  EXPECT_EQ(advice.desired, 5u);
  EXPECT_EQ(advice.kind, "at_max");
}

TEST(StepPolicy, DoesNotShrinkWhileAnInstanceIsStillWarming) {
  Case group({step(false, 0.6, -1)}, 0.1, 4);
  group.view.policies[0].warming = true;
  EXPECT_EQ(group.ask().kind, "warming");
  group.view.policies[0].warming = false;
  EXPECT_EQ(group.ask().desired, 3u);
}

TEST(StepPolicy, ShrinksThoughWhatIsWantedCannotBeHad) {
  Case group({step(false, 0.6, -1)}, 0.1, 3);
  group.view.desired = 5;
  EXPECT_EQ(group.ask().desired, 3u);
}

TEST(StepPolicy, DoesNotShrinkWhileTheLastOneDrains) {
  Case group({step(false, 0.6, -1)}, 0.1, 4);
  group.view.shrinking = true;
  EXPECT_EQ(group.ask().kind, "shrinking");
}

TEST(StepPolicy, LooksAtTheNewSizeBeforeShrinkingAgain) {
  Case group({step(false, 0.6, -1)}, 0.1, 4);
  group.view.changed_at = kNow - seconds(29);
  EXPECT_EQ(group.ask().kind, "settling");
  group.view.changed_at = kNow - seconds(30);
  EXPECT_EQ(group.ask().kind, "scale_in");
}

TEST(StepPolicy, DoesNotGoBelowTheMinimum) {
  Case group({step(false, 0.6, -3)}, 0.0, 4);
  group.view.min = 3;
  EXPECT_EQ(group.ask().desired, 3u);
  group.view.desired = 3;
  group.view.policies[0].counted = 3;
  EXPECT_EQ(group.ask().kind, "at_min");
}

TEST(SimplePolicy, WaitsForTheActivityAndThenForItsCooldown) {
  Policy policy = step(true, 0.9, 1);
  policy.kind = PolicyKind::simple;
  Case group({policy}, 0.95, 3);
  group.view.activity_open = true;
  EXPECT_EQ(group.ask().kind, "cooldown");
  group.view.activity_open = false;
  group.view.activity_finished = kNow - seconds(299);
  EXPECT_EQ(group.ask().kind, "cooldown");
  group.view.activity_finished = kNow - seconds(300);
  EXPECT_EQ(group.ask().desired, 4u);
  group.policies[0].cooldown = std::chrono::milliseconds(400'000);
  EXPECT_EQ(group.ask().kind, "cooldown");
}

TEST(SimplePolicy, AStepPolicyKnowsNoCooldown) {
  Case group({step(true, 0.9, 1)}, 0.95, 3);
  group.view.activity_finished = kNow;
  EXPECT_EQ(group.ask().desired, 4u);
}

TEST(TargetTracking, WantsTheCeilingOfTheRatio) {
  const struct {  // NOLINT(clang-analyzer-optin.performance.Padding)
    std::uint32_t n;
    double value;
    std::uint32_t want;
  } rows[] = {{3, 0.75, 5}, {4, 0.6, 5}, {4, 0.62, 5}, {4, 0.63, 6}, {2, 0.5, 2}, {4, 0.504, 4}};
  for (const auto& row : rows) {
    const Case group({tracking(0.5)}, row.value, row.n);
    EXPECT_EQ(group.ask().desired, row.want) << row.n << " at " << row.value;
  }
}

TEST(TargetTracking, ShrinksOnlyBelowItsShareOfTheTarget) {
  Case above({tracking(0.5)}, 0.46, 10);
  EXPECT_EQ(above.ask().desired, 10u);
  Case below({tracking(0.5)}, 0.44, 10);
  EXPECT_EQ(below.ask().desired, 9u);
}

TEST(TargetTracking, NeverShrinksWhenScaleInIsDisabled) {
  Case group({tracking(0.5)}, 0.01, 10);
  group.policies[0].disable_scale_in = true;
  EXPECT_EQ(group.ask().direction, Direction::none);
}

/// Seconds until a group whose signal has this mean and this spread is resized; at most `limit`.
std::int64_t seconds_until_resized(const Policy& policy, double mean, std::uint64_t seed) {
  constexpr double kSpread = 0.04;
  constexpr std::int64_t kLimit = 3'600;
  Case group({policy}, mean, 4);
  group.series[0] = Series(span_of(policy));
  Rng rng(seed);
  for (std::int64_t second = 1; second <= kLimit; ++second) {
    double noise = -6;  // twelve uniform draws: nearly normal, spread 1
    for (int i = 0; i < 12; ++i) noise += rng.unit();
    group.view.now = kNow + seconds(second);
    group.series[0].add(group.view.now, mean + kSpread * noise);
    if (group.ask().direction != Direction::none) return second;
  }
  return kLimit;
}

Policy alarm_for(bool above, double threshold, seconds window) {
  Policy policy = step(above, threshold, above ? 1 : -1);
  policy.period = config::default_period(window);
  policy.datapoints = static_cast<std::uint32_t>(window / policy.period);
  policy.datapoints_to_alarm = policy.datapoints;
  return policy;
}

TEST(NoisySignal, FivePointsOverTheThresholdScaleOutWithinTwiceTheWindow) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    EXPECT_LE(seconds_until_resized(alarm_for(true, 0.9, seconds(30)), 0.95, seed), 60) << seed;
    EXPECT_LE(seconds_until_resized(tracking(0.9), 0.95, seed), 60) << seed;
  }
}

TEST(NoisySignal, FivePointsUnderTheThresholdScaleInAfterAQuarterOfAnHour) {
  Policy slow = tracking(0.9);  // in below 63 %
  slow.scale_in_for = minutes(15);
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    EXPECT_LE(seconds_until_resized(alarm_for(false, 0.6, minutes(15)), 0.55, seed), 1'200) << seed;
    EXPECT_LE(seconds_until_resized(slow, 0.58, seed), 1'200) << seed;
  }
}

TEST(NoisySignal, FivePointsUnderTheThresholdNeverScaleOut) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    EXPECT_EQ(seconds_until_resized(alarm_for(true, 0.9, seconds(30)), 0.85, seed), 3'600) << seed;
    EXPECT_EQ(seconds_until_resized(tracking(0.9), 0.85, seed), 3'600) << seed;
  }
}

TEST(NewSize, AnAlarmFromBeforeTheLastInstanceJoinedAddsNoOther) {
  Case group({step(true, 0.9, 1)}, 0.95, 4);
  group.view.policies[0].joined = kNow - seconds(9);
  EXPECT_EQ(group.ask().kind, "settling");
  EXPECT_EQ(group.ask().direction, Direction::none);
  group.view.policies[0].joined = kNow - seconds(10);  // one datapoint at the new size
  EXPECT_EQ(group.ask().desired, 5u);
}

TEST(NewSize, TwoOfThreeDatapointsDoNotAddWhenTheOneSinceTheLastInstanceJoinedIsFine) {
  Case group({step(true, 0.9, 1)}, 0.95, 4);
  group.policies[0].datapoints_to_alarm = 2;
  for (int i = 0; i < 10; ++i) group.series[0].add(kNow - seconds(i), 0.8);
  group.view.policies[0].joined = kNow - seconds(10);
  EXPECT_EQ(group.ask().kind, "settling");
  group.view.policies[0].joined = kNow - minutes(5);
  EXPECT_EQ(group.ask().desired, 5u);
}

TEST(NewSize, TargetTrackingMultipliesTheNewNumberByTheNewMeanOnly) {
  Case group({tracking(0.5)}, 1.0, 6);
  for (int i = 0; i < 15; ++i) group.series[0].add(kNow - seconds(i), 0.55);
  group.view.policies[0].joined = kNow - seconds(15);
  EXPECT_EQ(group.ask().desired, 7u);
}

TEST(SeveralPolicies, TheLargestCapacityWins) {
  Policy big = step(true, 0.8, 3);
  big.name = "big";
  const Case group({step(true, 0.9, 1), big}, 0.95, 3);
  EXPECT_EQ(group.ask().desired, 6u);
}

TEST(SeveralPolicies, OneStepPolicyShrinksWithoutTheOthers) {
  Policy deep = step(false, 0.3, -2);
  deep.name = "deep";
  Case group({step(false, 0.6, -1), deep}, 0.45, 8);
  EXPECT_EQ(group.ask().desired, 7u);
  EXPECT_NE(group.ask().sentence.find("(policy in)"), std::string::npos);
}

TEST(SeveralPolicies, ASimplePolicyInItsCooldownLeavesTheWordToTheOthers) {
  Policy simple = step(false, 0.6, -1);
  simple.kind = PolicyKind::simple;
  Case group({simple, step(false, 0.6, -2)}, 0.1, 8);
  group.view.activity_finished = kNow - seconds(10);
  EXPECT_EQ(group.ask().desired, 6u);
  group.view.activity_finished.reset();
  EXPECT_EQ(group.ask().desired, 7u);
}

TEST(SeveralPolicies, TargetTrackingShrinksOnlyWhenEverySuchPolicyAgrees) {
  Policy other = tracking(0.5);
  other.name = "other";
  Case group({tracking(0.5), other}, 0.2, 8);
  EXPECT_EQ(group.ask().desired, 4u);
  group.series[1] = Case::steadily(0.45);
  EXPECT_EQ(group.ask().kind, "disagree");
  group.policies[1].disable_scale_in = true;  // has no say, but its target is not passed
  EXPECT_EQ(group.ask().kind, "guard");
}

TEST(SeveralPolicies, OfThoseThatShrinkTheOneThatLeavesMostWins) {
  Policy percent = step(false, 0.6, -50);
  percent.name = "half";
  percent.adjustment_type = AdjustmentType::percent;
  Case group({step(false, 0.6, -1), percent}, 0.05, 8);
  EXPECT_EQ(group.ask().desired, 7u);
}

TEST(SeveralPolicies, OutBeatsIn) {
  Case group({step(true, 0.9, 1), step(false, 0.6, -1)}, 0.1, 4);
  group.series[0] = Case::steadily(0.95);
  EXPECT_EQ(group.ask().desired, 5u);
}

TEST(MissingData, ForbidsScaleInButNotScaleOutByAnotherSignal) {
  Policy other = step(true, 100, 1);
  other.name = "rps";
  other.signal = Signal::requests_per_target;
  Case shrink({step(false, 0.6, -1), other}, 0.1, 4);
  shrink.series[1] = Series(minutes(5));
  EXPECT_EQ(shrink.ask().kind, "no_data");
  Case grow({step(true, 0.9, 1), other}, 0.95, 4);
  grow.series[1] = Series(minutes(5));
  EXPECT_EQ(grow.ask().desired, 5u);
}

TEST(MissingData, APastThatIsTooShortIsNotCalledMissing) {
  Policy patient = step(false, 0.6, -1);
  patient.name = "patient";
  patient.datapoints = patient.datapoints_to_alarm = 1000;
  Case group({step(true, 0.9, 1), patient}, 0.7, 4);
  group.series[1] = Series(minutes(900));
  for (int i = 0; i < 60; ++i) group.series[1].add(kNow - seconds(i), 0.7);
  EXPECT_EQ(group.ask().kind, "steady");
  EXPECT_EQ(group.ask().sentence,
            "no change: 4 wanted, no policy asks for another number; cpu has figures for only part "
            "of the last 10000 s (policy patient)");
  group.series[1] = Series(minutes(900));  // while no figure at all is
  EXPECT_EQ(group.ask().kind, "no_data");
  EXPECT_EQ(group.ask().sentence, "no change: cpu has no fresh data");
}

// Removing one of n at utilisation u is safe only below T*(n-1)/n.
TEST(Guard, RefusesTheScaleInThatWouldCauseTheNextScaleOut) {
  const struct {
    std::uint32_t n;
    double limit;
  } rows[] = {{5, 0.72}, {4, 0.675}, {3, 0.60}, {2, 0.45}};
  for (const auto& row : rows) {
    const Case over({step(true, 0.9, 1), step(false, 0.81, -1)}, row.limit + 0.001, row.n);
    EXPECT_EQ(over.ask().kind, "guard") << row.n;
    EXPECT_EQ(over.ask().desired, row.n);
    const Case under({step(true, 0.9, 1), step(false, 0.81, -1)}, row.limit - 0.001, row.n);
    EXPECT_EQ(under.ask().desired, row.n - 1) << row.n;
  }
}

TEST(Guard, LetsGoOfFewerWhenAllThatAreAskedForWouldBeTooMany) {
  const Case group({step(true, 0.9, 1), step(false, 0.6, -3)}, 0.5, 5);
  EXPECT_EQ(group.ask().desired, 3u);  // 0.5*5/3 = 0.83; on 2 it would be 1.25
}

// Its CPU is never quite 0, so that no figure could ever let it go.
TEST(Guard, TheLastInstanceGoesAMinuteAfterTheLastRequestWhateverItsCpu) {
  Case group({step(true, 0.9, 1), step(false, 0.6, -1)}, 0.003, 1);
  group.view.min = 0;
  group.view.idle_for = seconds(59);
  EXPECT_EQ(group.ask().kind, "guard");
  EXPECT_EQ(group.ask().sentence,
            "no scale-in: cpu 0.3 % below 60 % for 30 s, but the last request came less than 60 s "
            "ago");
  group.view.idle_for = seconds(60);
  EXPECT_EQ(group.ask().desired, 0u);
  EXPECT_EQ(group.ask().direction, Direction::in);
}

TEST(Guard, OneStaysWhenAllAreToGoButRequestsStillCome) {
  Case group({step(true, 0.9, 1), step(false, 0.6, -3)}, 0.1, 3);
  group.view.min = 0;
  group.view.idle_for = seconds(1);
  EXPECT_EQ(group.ask().desired, 1u);
}

TEST(FromZero, ARequestThatFindsNoTargetWakesTheGroup) {
  Case group({step(true, 0.9, 1)}, 0, 0);
  group.view.min = 0;
  EXPECT_EQ(group.ask().kind, "at_zero");
  EXPECT_EQ(group.ask().direction, Direction::none);
  group.view.unserved = 3;
  EXPECT_EQ(group.ask().direction, Direction::out);
  EXPECT_EQ(group.ask().desired, 1u);
  EXPECT_EQ(group.ask().sentence, "scale out 0 -> 1: 3 requests found no target");
}

TEST(FromZero, NotBeyondAMaximumOfZeroNorWithoutAnyPolicy) {
  Case closed({step(true, 0.9, 1)}, 0, 0);
  closed.view.min = closed.view.max = 0;
  closed.view.unserved = 1;
  EXPECT_EQ(closed.ask().kind, "at_max");
  EXPECT_EQ(closed.ask().desired, 0u);
  Case manual({}, 0, 0);  // an admin alone says how many
  manual.view.min = 0;
  manual.view.unserved = 1;
  EXPECT_EQ(manual.ask().direction, Direction::none);
}

TEST(Guard, OneIsSparedForAMoveOnlyWhenTheRestCarryItsLoad) {
  const Case light({step(true, 0.9, 1)}, 0.5, 3);
  EXPECT_TRUE(spares_one(light.view));
  const Case heavy({step(true, 0.9, 1)}, 0.7, 3);
  EXPECT_FALSE(spares_one(heavy.view));
  Case unknown({step(true, 0.9, 1)}, 0.5, 3);
  unknown.series[0] = Series(minutes(5));
  EXPECT_FALSE(spares_one(unknown.view));
  const Case without({}, 0, 3);
  EXPECT_TRUE(spares_one(without.view));
}

TEST(Guard, LastInstanceGoesOnlyWhenIdle) {
  EXPECT_TRUE(survives_removal(0, 0.9, 1, 1));
  EXPECT_FALSE(survives_removal(0.01, 0.9, 1, 1));
}

}  // namespace
}  // namespace lbd::scaler
