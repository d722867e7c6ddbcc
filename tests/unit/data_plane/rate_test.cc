#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "lbd/upstream/live.h"
#include "lbd/upstream/rate_table.h"

namespace lbd::upstream {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{1000s};

TEST(RateTable, ABurstPassesAndThenOneForEachToken) {
  RateTable table(64, 1);
  const Rate rate{.requests = 10, .per = 1s, .burst = 3};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(table.take("a", rate, kStart), 0s) << i;
  EXPECT_EQ(table.take("a", rate, kStart), 100ms) << "how long until the next token";
  EXPECT_EQ(table.take("a", rate, kStart + 99ms), 1ms) << "what is refused takes no token";
  EXPECT_EQ(table.take("a", rate, kStart + 100ms), 0s);
  EXPECT_EQ(table.take("a", rate, kStart + 100ms), 100ms);
}

TEST(RateTable, ABucketHoldsNoMoreThanItsBurst) {
  RateTable table(64, 1);
  const Rate rate{.requests = 10, .per = 1s, .burst = 2};
  EXPECT_EQ(table.take("a", rate, kStart), 0s);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(table.take("a", rate, kStart + 1h), 0s) << i;
  EXPECT_GT(table.take("a", rate, kStart + 1h), 0s);
}

TEST(RateTable, ARateThatIsRaisedCountsAtOnceForKeysWithoutTokens) {
  RateTable table(64, 7);
  const TimePoint now{std::chrono::hours(1)};
  const Rate slow{.requests = 2, .per = std::chrono::hours(1), .burst = 2};
  EXPECT_EQ(table.take("a", slow, now), Duration::zero());
  EXPECT_EQ(table.take("a", slow, now), Duration::zero());
  EXPECT_GT(table.take("a", slow, now), std::chrono::minutes(20));
  const Rate fast{.requests = 10, .per = std::chrono::seconds(1), .burst = 5};
  EXPECT_EQ(table.take("a", fast, now), Duration::zero());
  const Duration wait = table.take("a", fast, now);
  EXPECT_GT(wait, Duration::zero());
  EXPECT_LE(wait, std::chrono::milliseconds(100));
  EXPECT_EQ(table.take("a", fast, now + std::chrono::milliseconds(100)), Duration::zero());
}

TEST(RateTable, KeysDoNotShareTheirTokens) {
  RateTable table(1024, 1);
  const Rate rate{.requests = 1, .per = 1h, .burst = 1};
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(table.take(std::to_string(i), rate, kStart), 0s) << i;
    EXPECT_GT(table.take(std::to_string(i), rate, kStart), 0s) << i;
  }
  EXPECT_EQ(table.evictions(), 0u);
}

TEST(RateTable, ANewKeyTakesAPlaceThatIsFullAgainOrElseTheOneThatIsSoonest) {
  RateTable table(8, 1);  // one set
  const Rate slow{.requests = 1, .per = 1h, .burst = 10};
  const Rate quick{.requests = 1, .per = 1s, .burst = 10};
  EXPECT_EQ(table.take("quick", quick, kStart), 0s);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(table.take("slow" + std::to_string(i), slow, kStart), 0s);
  EXPECT_EQ(table.take("new", slow, kStart + 2s), 0s);
  EXPECT_EQ(table.evictions(), 0u) << "the quick one was full again";
  EXPECT_EQ(table.take("newer", slow, kStart + 2s), 0s);
  EXPECT_EQ(table.evictions(), 1u);
}

TEST(RateTable, EvictionsAreSummedByListener) {
  LiveState live(1);
  EXPECT_TRUE(live.rate_evictions().empty());
  const Rate slow{.requests = 1, .per = 1h, .burst = 10};
  const auto own = live.rates("public\n1", 8);
  const auto rule = live.rates("public\nrule\n1", 8);
  const auto other = live.rates("internal\n1", 8);
  for (const auto& table : {own, rule}) {
    for (int i = 0; i < 9; ++i) EXPECT_EQ(table->take(std::to_string(i), slow, kStart), 0s);
  }
  EXPECT_EQ(live.rate_evictions(),
            (std::map<std::string, std::uint64_t>{{"public", 2}, {"internal", 0}}));
}

TEST(RateTable, WorkersAtTheSameTimeTakeNoTokenTwice) {
  RateTable table(64, 1);
  const Rate rate{.requests = 1, .per = 1h, .burst = 10'000};
  std::atomic<int> taken{0};
  std::vector<std::thread> workers;
  workers.reserve(4);
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] {
      for (int k = 0; k < 5'000; ++k) taken += table.take("a", rate, kStart) == 0s ? 1 : 0;
    });
  }
  for (std::thread& each : workers) each.join();
  EXPECT_EQ(taken, 10'000);
}

}  // namespace
}  // namespace lbd::upstream
