#include "health/streak.h"

#include <gtest/gtest.h>

namespace lbd::health {
namespace {

TEST(Streak, GoesUpAfterItsPassesAndDownAfterItsFailures) {
  Streak streak;
  const Thresholds thresholds{3, 2};
  EXPECT_FALSE(observe(streak, true, thresholds));
  EXPECT_FALSE(observe(streak, true, thresholds));
  EXPECT_TRUE(observe(streak, true, thresholds));
  EXPECT_TRUE(streak.up);
  EXPECT_FALSE(observe(streak, false, thresholds));
  EXPECT_TRUE(observe(streak, false, thresholds));
  EXPECT_FALSE(streak.up);
}

TEST(Streak, OnePassBetweenFailuresKeepsTheTargetUp) {
  Streak streak{.up = true, .against = 0};
  const Thresholds thresholds{2, 2};
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(observe(streak, false, thresholds));
    EXPECT_FALSE(observe(streak, true, thresholds));
  }
  EXPECT_TRUE(streak.up);
}

TEST(Streak, OneFailureBetweenPassesKeepsTheTargetDown) {
  Streak streak;
  const Thresholds thresholds{2, 2};
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(observe(streak, true, thresholds));
    EXPECT_FALSE(observe(streak, false, thresholds));
  }
  EXPECT_FALSE(streak.up);
}

}  // namespace
}  // namespace lbd::health
