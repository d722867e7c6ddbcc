#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "lbd/balance/pick.h"
#include "lbd/balance/zones.h"

namespace lbd::balance {
namespace {

std::vector<Candidate> with_weights(const std::vector<std::uint32_t>& weights) {
  std::vector<Candidate> made;
  for (std::uint32_t i = 0; i < weights.size(); ++i) made.push_back({i, weights[i], 0, 0});
  return made;
}

TEST(RoundRobin, EachTargetGetsExactlyItsWeightsShare) {
  for (const auto& weights : std::vector<std::vector<std::uint32_t>>{
           {1}, {1, 1, 1}, {1, 2}, {3, 1, 1}, {5, 3, 2}, {100, 1}, {7, 7, 1}, {1, 1, 1, 1, 10}}) {
    const auto candidates = with_weights(weights);
    const auto total = std::accumulate(weights.begin(), weights.end(), 0U);
    std::vector<std::uint32_t> got(weights.size());
    std::uint64_t turn = 0;
    for (std::uint32_t i = 0; i < 20 * total; ++i) ++got[round_robin(candidates, turn)];
    for (std::size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(got[i], 20 * weights[i], 1);
  }
}

TEST(RoundRobin, AHeavyTargetIsNotGivenItsShareInOneBurst) {
  const auto candidates = with_weights({3, 1, 1, 1});
  std::uint64_t turn = 0;
  std::uint32_t run = 0;
  std::uint32_t longest = 0;
  for (int i = 0; i < 600; ++i) {
    run = round_robin(candidates, turn) == 0 ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  EXPECT_LE(longest, 3u);
}

TEST(Picks, NobodyIsPickedFromNobody) {
  Rng rng(1);
  std::uint64_t turn = 0;
  EXPECT_EQ(round_robin({}, turn), kNobody);
  EXPECT_EQ(random({}, rng), kNobody);
  EXPECT_EQ(least_requests({}, rng), kNobody);
  EXPECT_EQ(least_latency({}, rng), kNobody);
}

TEST(Random, FollowsTheWeights) {
  const auto candidates = with_weights({1, 3, 6});
  Rng rng(42);
  std::array<int, 3> got{};
  for (int i = 0; i < 10'000; ++i) ++got[random(candidates, rng)];
  EXPECT_NEAR(got[0], 1000, 150);
  EXPECT_NEAR(got[1], 3000, 250);
  EXPECT_NEAR(got[2], 6000, 250);
}

TEST(LeastRequests, OfUpToThreeTheLightestIsAlwaysTaken) {
  Rng rng(3);
  std::vector<Candidate> three{{0, 1, 5, 0}, {1, 1, 2, 0}, {2, 1, 9, 0}};
  for (int i = 0; i < 200; ++i) EXPECT_EQ(least_requests(three, rng), 1u);
  // Weight counts: 5 in flight on weight 4 is lighter than 2 on weight 1.
  three[0].weight = 4;
  for (int i = 0; i < 200; ++i) EXPECT_EQ(least_requests(three, rng), 0u);
}

TEST(LeastRequests, OfManyTheHeaviestIsNeverTakenAndTheLightestMost) {
  Rng rng(4);
  std::vector<Candidate> ten = with_weights(std::vector<std::uint32_t>(10, 1));
  for (std::uint32_t i = 0; i < 10; ++i) ten[i].in_flight = i;
  std::array<int, 10> got{};
  for (int i = 0; i < 10'000; ++i) ++got[least_requests(ten, rng)];
  EXPECT_EQ(got[9], 0);            // it loses against whomever it is drawn with
  EXPECT_NEAR(got[0], 2000, 250);  // drawn in 2 of 10 pairs, and wins each
}

TEST(LeastRequests, TiesSpread) {
  Rng rng(5);
  for (const std::size_t count : {2, 3, 8}) {
    const auto same = with_weights(std::vector<std::uint32_t>(count, 1));
    std::vector<int> got(count);
    for (int i = 0; i < 8000; ++i) ++got[least_requests(same, rng)];
    for (const int each : got) EXPECT_NEAR(each, 8000.0 / static_cast<double>(count), 300);
  }
}

TEST(LeastLatency, TheFasterOfTwoIsTakenUntilItsQueueMakesItSlower) {
  Rng rng(6);
  std::vector<Candidate> two{{0, 1, 0, 1000}, {1, 1, 0, 3000}};
  for (int i = 0; i < 100; ++i) EXPECT_EQ(least_latency(two, rng), 0u);
  two[0].in_flight = 3;  // 4 × 1 ms against 1 × 3 ms
  for (int i = 0; i < 100; ++i) EXPECT_EQ(least_latency(two, rng), 1u);
}

TEST(LeastLatency, ATargetNobodyKnowsIsTriedAndNotFlooded) {
  Rng rng(7);
  std::vector<Candidate> two{{0, 1, 2, 1000}, {1, 1, 0, 0}};
  for (int i = 0; i < 100; ++i) EXPECT_EQ(least_latency(two, rng), 1u);
  two[1].in_flight = 3;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(least_latency(two, rng), 0u);
}

// ---- zones

double sum(std::span<const double> shares) {
  return std::accumulate(shares.begin(), shares.end(), 0.0);
}

TEST(ZoneShares, TheOwnZoneGetsItsShareAndTheRestGoesBySpareRoom) {
  const std::array<ZoneLoad, 3> zones{{{4, 0.8}, {4, 0.5}, {4, 0.1}}};
  std::array<double, 3> shares{};
  zone_shares(zones, 0, 0.7, shares);
  EXPECT_DOUBLE_EQ(shares[0], 0.7);
  EXPECT_NEAR(shares[2] / shares[1], 3.0, 1e-9);  // 0.6 spare against 0.2
  EXPECT_NEAR(sum(shares), 1, 1e-9);
}

TEST(ZoneShares, OfALostOwnZoneTheOthersTakeAllBySpareRoom) {
  const std::array<ZoneLoad, 3> zones{{{0, 0}, {4, 0.6}, {4, 0.2}}};
  std::array<double, 3> shares{};
  zone_shares(zones, 0, 1, shares);
  EXPECT_EQ(shares[0], 0);
  EXPECT_NEAR(shares[2] / shares[1], 2.0, 1e-9);  // 0.8 spare against 0.4
  EXPECT_NEAR(sum(shares), 1, 1e-9);
}

TEST(ZoneShares, OfALostOwnZoneDoNotSwingWithFiguresThatLag) {
  for (const std::size_t looks_late : {0U, 10U, 50U}) {
    for (const double demand : {0.4, 0.8, 1.2, 1.3, 1.5, 1.9}) {
      std::vector<std::array<double, 3>> history(looks_late + 1);
      std::array<double, 2> seen{1, 0};
      for (int i = 0; i < 1000; ++i) {
        const auto& known = history[history.size() - 1 - looks_late];
        const std::array<ZoneLoad, 3> zones{{{0, 0}, {1, known[1]}, {1, known[2]}}};
        std::array<double, 3> shares{};
        zone_shares(zones, 0, 1, shares);
        if (i >= 800) seen = {std::min(seen[0], shares[1]), std::max(seen[1], shares[1])};
        // The second is busy with something else as well.
        history.push_back(
            {0, std::min(1.0, demand * shares[1]), std::min(1.0, demand * shares[2] + 0.2)});
      }
      EXPECT_LT(seen[1] - seen[0], 0.05) << "demand " << demand << ", late " << looks_late;
      EXPECT_GE(seen[0], 0.5 - 1e-9) << "the busier one has more";
    }
  }
}

TEST(ZoneShares, AZoneWithoutTargetsGetsNothing) {
  const std::array<ZoneLoad, 3> zones{{{0, 0}, {2, 0.9}, {4, 0.9}}};
  std::array<double, 3> shares{};
  zone_shares(zones, 0, 1, shares);
  EXPECT_EQ(shares[0], 0);
  EXPECT_NEAR(shares[1], 1.0 / 3, 1e-9);
  EXPECT_NEAR(shares[2], 2.0 / 3, 1e-9);
}

TEST(ZoneShares, TheOnlyZoneGetsAll) {
  const std::array<ZoneLoad, 2> zones{{{3, 2.0}, {0, 0}}};
  std::array<double, 2> shares{};
  zone_shares(zones, 0, 0.2, shares);
  EXPECT_EQ(shares[0], 1);
}

TEST(ZoneShares, WithNobodyAnywhereAllSharesAreNothing) {
  const std::array<ZoneLoad, 2> zones{};
  std::array<double, 2> shares{0.5, 0.5};
  zone_shares(zones, 0, 1, shares);
  EXPECT_EQ(sum(shares), 0);
}

TEST(ZoneShares, ANodeOutsideEveryZoneSpreadsByCapacity) {
  const std::array<ZoneLoad, 2> zones{{{1, 0.9}, {3, 0.1}}};
  std::array<double, 2> shares{};
  zone_shares(zones, 2, 1, shares);
  EXPECT_DOUBLE_EQ(shares[0], 0.25);
}

/// Two zones of equal capacity; `demand` is all traffic in units of one zone's capacity.
struct TwoZones {
  double demand = 0;
  double share = 1;
  double own = 0;  // fullness, smoothed as CPU figures are
  double other = 0;
  void look() {
    const std::array<ZoneLoad, 2> zones{{{1, own}, {1, other}}};
    share = next_own_share(share, own, 0.5);
    std::array<double, 2> shares{};
    zone_shares(zones, 0, share, shares);
    ASSERT_NEAR(shares[0] + shares[1], 1, 1e-9);
    own += 0.3 * (std::min(1.0, demand * shares[0]) - own);
    other += 0.3 * (std::min(1.0, demand * shares[1]) - other);
  }
};

TEST(OwnShare, ConvergesWhereTheOwnZoneIsJustFullEnough) {
  for (const double demand : {0.8, 0.9, 1.0, 1.2, 1.3}) {
    TwoZones model{demand};
    for (int i = 0; i < 600; ++i) model.look();
    double least = 1;
    double most = 0;
    for (int i = 0; i < 200; ++i) {
      model.look();
      least = std::min(least, model.own);
      most = std::max(most, model.own);
    }
    EXPECT_NEAR(model.own, kSpillAt, 0.06) << "demand " << demand;
    EXPECT_LT(most - least, 0.08) << "swings at demand " << demand;
  }
}

TEST(OwnShare, WithRoomInTheOwnZoneNothingLeavesIt) {
  TwoZones model{0.5};
  model.share = 0.5;
  for (int i = 0; i < 600; ++i) model.look();
  EXPECT_DOUBLE_EQ(model.share, 1);
}

TEST(OwnShare, IsNeverBelowFairHoweverFullTheOwnZoneIs) {
  TwoZones model{5};
  for (int i = 0; i < 600; ++i) {
    model.look();
    ASSERT_GE(model.share, 0.5);
  }
  EXPECT_DOUBLE_EQ(model.share, 0.5);
}

TEST(OwnShare, FallsFasterThanItRises) {
  const double fallen = 0.8 - next_own_share(0.8, 1.0, 0.1);
  const double risen = next_own_share(0.8, 0.0, 0.1) - 0.8;
  EXPECT_GT(fallen, 2 * risen);
  EXPECT_NEAR(next_own_share(0.8, kSpillAt, 0.1), 0.8, 1e-9);
}

}  // namespace
}  // namespace lbd::balance
