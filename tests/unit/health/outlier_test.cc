#include "health/outlier.h"

#include <gtest/gtest.h>

namespace lbd::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

OutlierSample sample(std::string target, std::uint64_t errors = 0, std::uint64_t streak = 0) {
  OutlierSample made;
  made.target = std::move(target);
  made.errors = errors;
  made.error_streak = streak;
  return made;
}

struct Group {
  config::Passive settings;
  Outliers outliers;
  TimePoint now{std::chrono::hours(1)};
  std::vector<OutlierChange> look(const std::vector<OutlierSample>& samples) {
    return outliers.observe(settings, now, samples);
  }
};

TEST(Outliers, FiveFailuresInARowEjectAndFourDoNot) {
  Group group;
  EXPECT_TRUE(group.look({sample("a", 4, 4), sample("b")}).empty());
  const auto changes = group.look({sample("a", 5, 5), sample("b")});
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_TRUE(changes[0].ejected);
  EXPECT_EQ(changes[0].target, "a");
  EXPECT_EQ(changes[0].reason, "5 failed responses in a row");
  EXPECT_EQ(changes[0].cause, EjectionCause::failed_responses);
  EXPECT_TRUE(group.outliers.is_ejected("a"));
  EXPECT_FALSE(group.outliers.is_ejected("b"));
}

TEST(Outliers, ConnectErrorsHaveAThresholdOfTheirOwn) {
  Group group;
  OutlierSample a = sample("a");
  a.connect_failures = a.connect_streak = 3;
  const auto changes = group.look({a, sample("b")});
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].reason, "3 connect errors in a row");
  EXPECT_EQ(changes[0].cause, EjectionCause::connect_errors);
}

TEST(Outliers, ManyFailuresThatAreNotInARowDoNotEject) {
  Group group;
  EXPECT_TRUE(group.look({sample("a", 1000, 4), sample("b")}).empty());
}

TEST(Outliers, TheLastUsableTargetIsNeverEjected) {
  Group group;
  EXPECT_TRUE(group.look({sample("a", 9, 9)}).empty());
  OutlierSample down = sample("b");
  down.usable = false;
  EXPECT_TRUE(group.look({sample("a", 9, 9), down}).empty());
}

TEST(Outliers, NoMoreThanTheShareOfTheGroupIsEjected) {
  Group group;
  std::vector<OutlierSample> all;
  all.reserve(10);
  for (int i = 0; i < 10; ++i) all.push_back(sample("t" + std::to_string(i), 9, 9));
  EXPECT_EQ(group.look(all).size(), 5u);  // ejected_share_max 50 %
  group.now += seconds(1);
  EXPECT_TRUE(group.look(all).empty());
}

TEST(Outliers, OneTargetMayAlwaysBeEjectedHoweverSmallTheShare) {
  Group group;
  group.settings.ejected_share_max = 0.01;
  EXPECT_EQ(group.look({sample("a", 9, 9), sample("b", 9, 9), sample("c")}).size(), 1u);
}

TEST(Outliers, AnEjectionEndsAndItsFailuresAreForgiven) {
  Group group;
  group.look({sample("a", 5, 5), sample("b")});
  group.now += group.settings.ejection - milliseconds(1);
  EXPECT_TRUE(group.look({sample("a", 5, 5), sample("b")}).empty());
  group.now += milliseconds(1);
  const auto changes = group.look({sample("a", 5, 5), sample("b")});
  ASSERT_EQ(changes.size(), 1u);  // readmitted, and not ejected again for the old streak
  EXPECT_FALSE(changes[0].ejected);
  EXPECT_TRUE(group.look({sample("a", 9, 9), sample("b")}).empty());  // 4 new ones
  EXPECT_EQ(group.look({sample("a", 10, 10), sample("b")}).size(), 1u);
}

TEST(Outliers, EachEjectionInARowIsLongerUpToTheMost) {
  Group group;
  group.settings.ejection = seconds(30);
  group.settings.ejection_max = seconds(70);
  std::uint64_t errors = 0;
  for (const seconds wanted : {seconds(30), seconds(60), seconds(70), seconds(70)}) {
    errors += 5;
    const auto changes = group.look({sample("a", errors, errors), sample("b")});
    ASSERT_EQ(changes.size(), 1u);
    EXPECT_EQ(changes[0].duration, Duration(wanted));
    group.now += wanted;
    ASSERT_EQ(group.look({sample("a", errors, errors), sample("b")}).size(), 1u);
  }
}

TEST(Outliers, GoodTimesMakeTheNextEjectionShortAgain) {
  Group group;
  group.look({sample("a", 5, 5), sample("b")});
  group.now += group.settings.ejection;
  group.look({sample("a", 5, 5), sample("b")});
  group.now += group.settings.ejection;  // one clean period
  group.look({sample("a", 5, 0), sample("b")});
  const auto changes = group.look({sample("a", 10, 5), sample("b")});
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].duration, Duration(group.settings.ejection));
}

TEST(Outliers, APassingCheckEndsAnEjectionEarly) {
  Group group;
  group.look({sample("a", 5, 5), sample("b")});
  group.outliers.readmit("a");
  const auto changes = group.look({sample("a", 5, 5), sample("b")});
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_FALSE(changes[0].ejected);
}

TEST(Outliers, TurningItOffReadmitsEveryone) {
  Group group;
  group.look({sample("a", 5, 5), sample("b")});
  group.settings.enabled = false;
  ASSERT_EQ(group.look({sample("a", 5, 5), sample("b")}).size(), 1u);
  EXPECT_FALSE(group.outliers.any_ejected());
  EXPECT_TRUE(group.look({sample("a", 50, 50), sample("b")}).empty());
}

TEST(Outliers, ATargetThatIsGoneIsForgotten) {
  Group group;
  group.look({sample("a", 5, 5), sample("b")});
  group.look({sample("b")});
  EXPECT_FALSE(group.outliers.is_ejected("a"));
}

}  // namespace
}  // namespace lbd::health
