#include "scaler/window.h"

#include <gtest/gtest.h>

namespace lbd::scaler {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

const TimePoint kStart{std::chrono::hours(1)};

Series filled(double value, int count) {
  Series series{minutes(30)};
  for (int i = 0; i < count; ++i) series.add(kStart + seconds(i), value);
  return series;
}

AlarmRule rule(bool above, double threshold, std::uint32_t needed, std::uint32_t of) {
  AlarmRule made;
  made.above = above;
  made.threshold = threshold;
  made.datapoints = of;
  made.datapoints_to_alarm = needed;
  return made;
}

TEST(Series, AveragesOnlyTheWindow) {
  Series series{minutes(1)};
  for (int i = 0; i < 10; ++i) series.add(kStart + seconds(i), i);
  EXPECT_DOUBLE_EQ(*series.average(kStart + seconds(9), seconds(4)), 7.5);
  EXPECT_DOUBLE_EQ(*series.average(kStart + seconds(9), seconds(100)), 4.5);
  EXPECT_FALSE(series.average(kStart + seconds(60), seconds(10)));
}

TEST(Series, ALaterValueOfTheSameSecondReplacesTheEarlier) {
  Series series{minutes(1)};
  series.add(kStart, 1);
  series.add(kStart + std::chrono::milliseconds(900), 3);
  EXPECT_DOUBLE_EQ(*series.average(kStart, seconds(1)), 3);
}

TEST(Series, AValueOlderThanTheRingIsPassedOver) {
  Series series{minutes(1)};
  for (int i = 0; i < 200; ++i) series.add(kStart + seconds(i), 1);
  series.add(kStart + seconds(199) - seconds(static_cast<std::int64_t>(series.capacity())), 9);
  EXPECT_DOUBLE_EQ(*series.latest(kStart + seconds(199)), 1);
}

TEST(Series, AlarmsWhenMOfNBreach) {
  Series series{minutes(1)};
  for (int i = 0; i < 5; ++i) series.add(kStart + seconds(i), i % 2 == 0 ? 0.95 : 0.5);
  const TimePoint now = kStart + seconds(4);
  EXPECT_EQ(series.evaluate(rule(true, 0.9, 3, 5), now), AlarmState::alarm);
  EXPECT_EQ(series.evaluate(rule(true, 0.9, 4, 5), now), AlarmState::ok);
}

TEST(Series, IsInsufficientWithoutDataLately) {
  const Series series = filled(1, 60);
  EXPECT_EQ(series.evaluate(rule(true, 0.9, 30, 30), kStart + seconds(61)), AlarmState::alarm);
  EXPECT_EQ(series.evaluate(rule(true, 0.9, 30, 30), kStart + seconds(62)),
            AlarmState::insufficient);
  EXPECT_EQ(Series(minutes(1)).evaluate(rule(true, 0.9, 1, 1), kStart), AlarmState::insufficient);
}

TEST(Series, IsInsufficientBeforeThereAreMDatapoints) {
  EXPECT_EQ(filled(1, 29).evaluate(rule(true, 0.9, 30, 30), kStart + seconds(28)),
            AlarmState::insufficient);
  EXPECT_EQ(filled(1, 30).evaluate(rule(true, 0.9, 30, 30), kStart + seconds(29)),
            AlarmState::alarm);
}

TEST(Series, AMissedSecondDoesNotBreakALongAlarm) {
  Series series{minutes(30)};
  for (int i = 0; i < 62; ++i) {
    if (i != 40) series.add(kStart + seconds(i), 0.1);
  }
  EXPECT_EQ(series.evaluate(rule(false, 0.5, 60, 60), kStart + seconds(61)), AlarmState::alarm);
}

TEST(Series, AnIncompleteDatapointRaisesAnAlarmAboveButNeverOneBelow) {
  Series series{minutes(1)};
  for (int i = 0; i < 5; ++i) series.add(kStart + seconds(i), 0.5, false);
  const TimePoint now = kStart + seconds(4);
  EXPECT_EQ(series.evaluate(rule(true, 0.4, 5, 5), now), AlarmState::alarm);
  EXPECT_EQ(series.evaluate(rule(false, 0.6, 5, 5), now), AlarmState::ok);
}

TEST(Series, EqualToTheThresholdBreachesOnlyWhenInclusive) {
  const Series series = filled(0.9, 5);
  AlarmRule strict = rule(true, 0.9, 1, 1);
  EXPECT_EQ(series.evaluate(strict, kStart + seconds(4)), AlarmState::ok);
  strict.inclusive = true;
  EXPECT_EQ(series.evaluate(strict, kStart + seconds(4)), AlarmState::alarm);
}

TEST(Series, ALongerPeriodAveragesItsSeconds) {
  Series series{minutes(5)};
  for (int i = 0; i < 20; ++i) series.add(kStart + seconds(i), i % 10 == 0 ? 10 : 0);
  AlarmRule ten = rule(true, 0.9, 2, 2);
  ten.period = seconds(10);
  EXPECT_EQ(series.evaluate(ten, kStart + seconds(19)), AlarmState::alarm);
  ten.threshold = 1.1;
  EXPECT_EQ(series.evaluate(ten, kStart + seconds(19)), AlarmState::ok);
}

// Or one second of a start would decide as much as ten.
TEST(Series, ADatapointThatBeganBeforeTheFirstFigureIsNone) {
  AlarmRule ten = rule(true, 0.9, 3, 3);
  ten.period = seconds(10);
  EXPECT_EQ(filled(1, 29).evaluate(ten, kStart + seconds(28)), AlarmState::insufficient);
  EXPECT_EQ(filled(1, 30).evaluate(ten, kStart + seconds(29)), AlarmState::alarm);
  Series longer{minutes(60)};
  longer.take_over(filled(1, 30));
  EXPECT_EQ(longer.evaluate(ten, kStart + seconds(29)), AlarmState::alarm);
}

TEST(Series, AReloadKeepsThePast) {
  const Series old = filled(0.7, 50);
  Series longer{minutes(60)};
  longer.take_over(old);
  EXPECT_DOUBLE_EQ(*longer.average(kStart + seconds(49), seconds(50)), 0.7);
  EXPECT_EQ(longer.evaluate(rule(true, 0.6, 50, 50), kStart + seconds(49)), AlarmState::alarm);
}

}  // namespace
}  // namespace lbd::scaler
