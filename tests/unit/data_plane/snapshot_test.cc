#include "lbd/upstream/snapshot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "lbd/base/task.h"
#include "lbd/proxy/exchange.h"
#include "lbd/proxy/h1_upstream.h"
#include "lbd/proxy/pick.h"

namespace lbd::upstream {
namespace {

TargetInput input(std::string ip, TargetState state, std::string zone = "z1",
                  std::uint32_t weight = 1) {
  return {{std::move(ip), 80}, std::move(zone), weight, state};
}

config::TargetGroup web() {
  config::TargetGroup settings;
  settings.name = "web";
  return settings;
}

std::vector<std::string> usable(const SnapshotGroup& group) {
  std::vector<std::string> all;
  for (const auto& zone : group.usable) {
    for (const std::uint32_t index : zone) all.push_back(group.targets[index].address.host());
  }
  return all;
}

using Ips = std::vector<std::string>;

TEST(CompileGroup, OnlyHealthyTargetsAreUsable) {
  LiveState live(1);
  const auto group = compile_group(
      web(),
      {input("10.0.0.1", TargetState::initial), input("10.0.0.2", TargetState::healthy),
       input("10.0.0.3", TargetState::unhealthy), input("10.0.0.4", TargetState::ejected),
       input("10.0.0.5", TargetState::draining), input("10.0.0.6", TargetState::healthy, "z1", 0)},
      "", live);
  EXPECT_EQ(usable(*group), (Ips{"10.0.0.2"}));
  EXPECT_EQ(group->targets.size(), 6u);
  EXPECT_FALSE(group->fail_open);
}

TEST(CompileGroup, WithNobodyHealthyAllButDrainingOnesServe) {
  LiveState live(1);
  const std::vector<TargetInput> inputs{
      input("10.0.0.1", TargetState::unhealthy), input("10.0.0.2", TargetState::ejected),
      input("10.0.0.3", TargetState::initial), input("10.0.0.4", TargetState::draining)};
  const auto open = compile_group(web(), inputs, "", live);
  EXPECT_TRUE(open->fail_open);
  EXPECT_EQ(usable(*open), (Ips{"10.0.0.1", "10.0.0.2", "10.0.0.3"}));
  auto closed = web();
  closed.fail_open = false;
  EXPECT_TRUE(usable(*compile_group(closed, inputs, "", live)).empty());
}

TEST(CompileGroup, StrictZonesUseTheOwnOneOnly) {
  LiveState live(1);
  auto settings = web();
  settings.zones = config::ZonePreference::strict;
  const std::vector<TargetInput> inputs{input("10.0.0.1", TargetState::healthy, "z1"),
                                        input("10.0.0.2", TargetState::healthy, "z2")};
  EXPECT_EQ(usable(*compile_group(settings, inputs, "z2", live)), (Ips{"10.0.0.2"}));
  EXPECT_TRUE(usable(*compile_group(settings, inputs, "z3", live)).empty());
  // A node that does not know its zone has nothing to be strict about.
  EXPECT_EQ(usable(*compile_group(settings, inputs, "", live)).size(), 2u);
}

TEST(CompileGroup, ADrainingTargetIsClosedForEveryOlderSnapshotToo) {
  LiveState live(1);
  const auto before = compile_group(web(), {input("10.0.0.1", TargetState::healthy)}, "", live);
  EXPECT_FALSE(before->targets[0].live->closed);
  const auto after = compile_group(web(), {input("10.0.0.1", TargetState::draining)}, "", live);
  EXPECT_TRUE(before->targets[0].live->closed);
  const auto undrained = compile_group(web(), {input("10.0.0.1", TargetState::healthy)}, "", live);
  EXPECT_FALSE(before->targets[0].live->closed);
}

TEST(CompileListener, AWeightedForwardIsDrawnByLotAndWeightZeroNever) {
  LiveState live(1);
  config::Listener listener;
  listener.rules.resize(2);
  listener.rules[0].then = config::Forward{"", {{"a", 30}, {"never", 0}, {"b", 10}}};
  listener.rules[1].then = config::Forward{"b"};
  const auto compiled = compile_listener(listener, {{"a", 0}, {"b", 1}, {"never", 2}}, live);
  Rng rng(1);
  std::vector<int> drawn(3);
  for (int i = 0; i < 40'000; ++i) {
    const upstream::SnapshotRoute& route = compiled->routes[0];
    ++drawn[route.shares[route.draw_share(rng)].group];
  }
  EXPECT_NEAR(drawn[0], 30'000, 500);
  EXPECT_NEAR(drawn[1], 10'000, 500);
  EXPECT_EQ(drawn[2], 0);
  EXPECT_TRUE(compiled->routes[1].shares.empty());
  EXPECT_EQ(compiled->routes[1].group, 1u);
}

TEST(LiveState, InFlightCountsSurviveASnapshotSwap) {
  LiveState live(2);
  auto first = compile_group(web(), {input("10.0.0.1", TargetState::healthy)}, "", live);
  first->targets[0].live->load(1).in_flight.add(3);
  auto second = compile_group(web(), {input("10.0.0.1", TargetState::unhealthy)}, "", live);
  first.reset();
  live.collect_garbage();
  EXPECT_EQ(second->targets[0].live->in_flight(), 3u);
}

TEST(LiveState, WhatNoSnapshotHoldsIsForgotten) {
  LiveState live(1);
  auto group = compile_group(web(), {input("10.0.0.1", TargetState::healthy)}, "", live);
  live.collect_garbage();
  EXPECT_EQ(live.targets().size(), 1u);
  EXPECT_EQ(live.groups().size(), 1u);
  group.reset();
  live.collect_garbage();
  EXPECT_TRUE(live.targets().empty());
  EXPECT_TRUE(live.groups().empty());
}

TEST(LiveState, TheTotalsOfAZoneDoNotGoDownWhenATargetIsForgotten) {
  LiveState live(2);
  auto both = compile_group(
      web(), {input("10.0.0.1", TargetState::healthy), input("10.0.0.2", TargetState::healthy)}, "",
      live);
  for (const auto& target : both->targets) {
    target.live->load(0).responses[2].add(3);
    target.live->load(1).responses[5].add(1);
    target.live->load(1).response.record(700);
  }
  const std::pair key(both->targets[0].live->group(), both->targets[0].live->zone());
  const auto whole = [&] { return live.zone_totals().at(key); };
  EXPECT_EQ(whole().responses[2], 6u);
  auto one = compile_group(web(), {input("10.0.0.1", TargetState::healthy)}, "", live);
  both.reset();
  live.collect_garbage();
  ASSERT_EQ(live.targets().size(), 1u);
  EXPECT_EQ(whole().responses[2], 6u);
  EXPECT_EQ(whole().responses[5], 2u);
  EXPECT_EQ(whole().response.buckets[1], 2u);
  EXPECT_EQ(whole().response.sum_us, 1400u);
  one.reset();
  live.collect_garbage();
  EXPECT_TRUE(live.zone_totals().empty());  // the group is gone
}

TEST(LiveState, OneAddressInTwoGroupsOrAnotherZoneIsNotTheSameTarget) {
  LiveState live(1);
  const auto a = live.target("a", "10.0.0.1:80", "z1");
  EXPECT_NE(a, live.target("b", "10.0.0.1:80", "z1"));
  EXPECT_EQ(a, live.target("a", "10.0.0.1:80", "z1"));
  EXPECT_NE(a, live.target("a", "10.0.0.1:80", "z2"));
}

TEST(StatusCounts, CountsPerKeyAndPutsTheOverflowTogether) {
  StatusCounts counts;
  for (std::uint32_t key = 100; key < 300; ++key) {
    for (int i = 0; i < 3; ++i) counts.add(key);
  }
  std::uint64_t sum = 0;
  std::map<std::uint32_t, int> seen;
  std::uint64_t other = 0;
  counts.each([&](std::uint32_t key, std::uint64_t count) {
    sum += count;
    ++seen[key];
    if (key == StatusCounts::kOther) {
      other = count;
    } else {
      EXPECT_EQ(count, 3u);
    }
  });
  EXPECT_EQ(sum, 600u);
  EXPECT_EQ(seen.size(), StatusCounts::kSlots);
  EXPECT_EQ(other, 3 * (200 - (StatusCounts::kSlots - 1)));
  for (const auto& [key, times] : seen) EXPECT_EQ(times, 1) << key;
}

// ---- picking from a compiled group

struct Picker {
  explicit Picker(const config::TargetGroup& settings, const std::vector<TargetInput>& inputs,
                  const std::string& zone = "")
      : live(1), context(0, loop, 1), group(compile_group(settings, inputs, zone, live)) {}
  std::map<std::string, int> pick(int times) {
    std::map<std::string, int> got;
    for (int i = 0; i < times; ++i) {
      const proxy::Choice choice = proxy::pick_target(context, *group, turns, tried);
      ++got[choice.target == nullptr ? std::string(fault_name(choice.why_not))
                                     : choice.target->address.host()];
    }
    return got;
  }
  net::Loop loop;
  LiveState live;
  proxy::WorkerContext context;
  std::shared_ptr<const SnapshotGroup> group;
  proxy::GroupTurns turns;
  proxy::Tried tried;
};

std::vector<TargetInput> many(std::uint32_t count, std::uint32_t weight_of_first = 1) {
  std::vector<TargetInput> made;
  for (std::uint32_t i = 0; i < count; ++i) {
    made.push_back(input("10.0.0." + std::to_string(i + 1), TargetState::healthy, "z1",
                         i == 0 ? weight_of_first : 1));
  }
  return made;
}

TEST(PickTarget, RoundRobinOverManyTargetsKeepsToTheirWeights) {
  auto settings = web();
  settings.balance = config::Balance::round_robin;
  Picker picker(settings, many(40, 11));
  const auto got = picker.pick(5000);  // 11 + 39 shares of 100
  EXPECT_EQ(got.size(), 40u);
  for (const auto& [ip, times] : got) EXPECT_NEAR(times, ip == "10.0.0.1" ? 1100 : 100, 3) << ip;
}

TEST(PickTarget, RoundRobinWithALimitPerTargetStillReachesEveryone) {
  auto settings = web();
  settings.balance = config::Balance::round_robin;
  settings.limits.requests_per_target_max = 4;
  Picker picker(settings, many(40));
  EXPECT_EQ(picker.pick(400).size(), 40u);
}

TEST(PickTarget, EveryAlgorithmReachesEveryOfManyTargets) {
  for (const auto balance : {config::Balance::round_robin, config::Balance::random,
                             config::Balance::least_requests, config::Balance::least_latency}) {
    auto settings = web();
    settings.balance = balance;
    Picker picker(settings, many(40));
    EXPECT_EQ(picker.pick(4000).size(), 40u) << static_cast<int>(balance);
  }
}

TEST(PickTarget, EveryZoneIsReachedHoweverManyThereAre) {
  std::vector<TargetInput> inputs;
  inputs.reserve(100);
  for (int i = 0; i < 100; ++i) {
    inputs.push_back(
        input("10.0.1." + std::to_string(i), TargetState::healthy, "z" + std::to_string(i)));
  }
  Picker picker(web(), inputs);
  EXPECT_EQ(picker.pick(4000).size(), 100u);
  Picker last(web(), inputs, "z99");
  EXPECT_EQ(last.pick(100), (std::map<std::string, int>{{"10.0.1.99", 100}}));
  last.tried.add(last.group->targets[99].live.get(), last.group->targets[99].zone);
  EXPECT_EQ(last.pick(100).count("10.0.1.99"), 0u);
}

/// Of 50 targets, 20 neighbours cannot take a request: 10 are closed, 10 are full.
void block_neighbours(Picker& picker, std::size_t from) {
  for (std::size_t i = 0; i < 20; ++i) {
    LiveTarget& live = *picker.group->targets[(from + i) % 50].live;
    if (i % 2 == 0) {
      live.closed = true;
    } else {
      live.load(0).in_flight.add(4);
    }
  }
}

/// Six standard deviations of a binomial count.
double six_sigma(int draws, double chance) { return 6 * std::sqrt(draws * chance * (1 - chance)); }

TEST(PickTarget, RandomOverManyTargetsIsByWeightWhoeverCannotTakeIt) {
  for (const bool blocked : {false, true}) {
    auto settings = web();
    settings.balance = config::Balance::random;
    settings.limits.requests_per_target_max = 4;
    std::vector<TargetInput> inputs = many(50);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs[i].weight = 1 + static_cast<std::uint32_t>(i % 3);
    }
    Picker picker(settings, inputs);
    if (blocked) block_neighbours(picker, 10);
    double total = 0;
    for (std::size_t i = 0; i < 50; ++i) {
      if (!blocked || i < 10 || i >= 30) total += inputs[i].weight;
    }
    const int draws = 60'000;
    auto got = picker.pick(draws);
    for (std::size_t i = 0; i < 50; ++i) {
      const bool out = blocked && i >= 10 && i < 30;
      const double chance = out ? 0 : inputs[i].weight / total;
      EXPECT_NEAR(got[inputs[i].address.ip], draws * chance, six_sigma(draws, chance)) << i;
    }
  }
}

TEST(PickTarget, ComparingTwoOfManyGivesEachTheSameChance) {
  for (const auto balance : {config::Balance::least_requests, config::Balance::least_latency}) {
    auto settings = web();
    settings.balance = balance;
    settings.limits.requests_per_target_max = 4;
    Picker picker(settings, many(50));
    block_neighbours(picker, 10);
    const int draws = 30'000;
    const auto got = picker.pick(draws);
    EXPECT_EQ(got.size(), 30u);
    for (const auto& [ip, times] : got) {
      EXPECT_NEAR(times, draws / 30.0, six_sigma(draws, 1.0 / 30)) << ip;
    }
  }
}

TEST(PickTarget, WhenNearlyAllAreFullTheRestSharesEvenly) {
  for (const auto balance : {config::Balance::random, config::Balance::least_requests}) {
    auto settings = web();
    settings.balance = balance;
    settings.limits.requests_per_target_max = 1;
    Picker picker(settings, many(200));
    for (std::size_t i = 3; i < 200; ++i) picker.group->targets[i].live->load(0).in_flight.add(1);
    const int draws = 9000;
    const auto got = picker.pick(draws);
    EXPECT_EQ(got.size(), 3u);
    for (const auto& [ip, times] : got) {
      EXPECT_NEAR(times, draws / 3.0, six_sigma(draws, 1.0 / 3)) << ip;
    }
  }
}

TEST(PickTarget, AllSlotsTakenIsAFullQueueAndNotNobody) {
  for (const std::uint32_t count : {3U, 40U}) {
    for (const auto balance : {config::Balance::round_robin, config::Balance::least_requests}) {
      auto settings = web();
      settings.balance = balance;
      settings.limits.requests_per_target_max = 1;
      Picker picker(settings, many(count));
      for (const SnapshotTarget& target : picker.group->targets) {
        target.live->load(0).in_flight.add(1);
      }
      EXPECT_EQ(picker.pick(5), (std::map<std::string, int>{{"queue_full", 5}}));
      picker.group->targets[count - 1].live->load(0).in_flight.sub(1);
      EXPECT_EQ(picker.pick(5).begin()->first, "10.0.0." + std::to_string(count));
    }
  }
}

TEST(PickTarget, AClosedTargetIsNeverPickedAndATriedOneOnlyWhenAlone) {
  Picker picker(web(), many(3));
  picker.group->targets[0].live->closed = true;
  picker.tried.add(picker.group->targets[1].live.get(), 0);
  EXPECT_EQ(picker.pick(50), (std::map<std::string, int>{{"10.0.0.3", 50}}));
  picker.tried.add(picker.group->targets[2].live.get(), 0);
  const auto got = picker.pick(100);
  EXPECT_EQ(got.size(), 2u);
  EXPECT_FALSE(got.contains("10.0.0.1"));
}

TEST(PickTarget, AnIdleNodeKeepsToItsZoneAndAfterAFailureLeavesIt) {
  Picker picker(
      web(),
      {input("10.0.1.1", TargetState::healthy, "z1"), input("10.0.1.2", TargetState::healthy, "z1"),
       input("10.0.2.1", TargetState::healthy, "z2")},
      "z1");
  EXPECT_FALSE(picker.pick(200).contains("10.0.2.1"));
  picker.tried.add(picker.group->targets[0].live.get(), 0);
  EXPECT_EQ(picker.pick(50), (std::map<std::string, int>{{"10.0.2.1", 50}}));
}

TEST(PickTarget, AnEmptyGroupHasNobody) {
  Picker picker(web(), {});
  EXPECT_EQ(picker.pick(1), (std::map<std::string, int>{{"no_healthy_target", 1}}));
}

}  // namespace
}  // namespace lbd::upstream
