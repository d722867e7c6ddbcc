#include "lbd/upstream/flight_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/exchange_rig.h"

namespace lbd {
namespace {

using upstream::FlightLease;
using upstream::FlightTable;
using Entry = FlightTable::Entry;

TEST(FlightTable, AsManyAreLetInAsMayBeAndTheNextWhenOneEnds) {
  FlightTable table(64, 1);
  std::vector<FlightLease> leases(3);
  for (FlightLease& each : leases) EXPECT_EQ(table.enter("a", 3, each), Entry::counted);
  FlightLease late;
  EXPECT_EQ(table.enter("a", 3, late), Entry::refused);
  EXPECT_EQ(table.count("a"), 3u);
  leases.pop_back();
  EXPECT_EQ(table.count("a"), 2u);
  EXPECT_EQ(table.enter("a", 3, late), Entry::counted);
  EXPECT_EQ(table.enter("b", 3, leases[0]), Entry::counted) << "in place of one of a's";
  EXPECT_EQ(table.count("a"), 2u);
  EXPECT_EQ(table.count("b"), 1u);
}

TEST(FlightTable, ALeaseThatMovesIsGivenBackOnce) {
  FlightTable table(64, 1);
  {
    FlightLease first;
    EXPECT_EQ(table.enter("a", 9, first), Entry::counted);
    FlightLease second(std::move(first));
    FlightLease third;
    third = std::move(second);
    EXPECT_EQ(table.count("a"), 1u);
  }
  EXPECT_EQ(table.count("a"), 0u);
}

TEST(FlightTable, ALimitThatIsLoweredLetsNobodyInUntilEnoughHaveEnded) {
  FlightTable table(64, 1);
  std::vector<FlightLease> leases(5);
  for (FlightLease& each : leases) EXPECT_EQ(table.enter("a", 5, each), Entry::counted);
  FlightLease late;
  EXPECT_EQ(table.enter("a", 2, late), Entry::refused);
  leases.resize(2);
  EXPECT_EQ(table.enter("a", 2, late), Entry::refused);
  leases.resize(1);
  EXPECT_EQ(table.enter("a", 2, late), Entry::counted);
}

TEST(FlightTable, AsManyKeysAsItWasMadeForFindPlacesAndLeaveThem) {
  FlightTable table(4096, 7);
  for (int round = 0; round < 3; ++round) {
    std::vector<FlightLease> leases(4096);
    std::size_t counted = 0;
    for (std::size_t i = 0; i < leases.size(); ++i) {
      counted += table.enter(std::to_string(i), 1, leases[i]) == Entry::counted ? 1 : 0;
    }
    EXPECT_EQ(counted, leases.size()) << round;
    FlightLease second;
    EXPECT_EQ(table.enter("17", 1, second), Entry::refused);
  }
}

TEST(FlightTable, WhoFillsItShutsNobodyOut) {
  FlightTable table(8, 1);  // two sets of 16 places
  std::vector<FlightLease> leases(200);
  std::size_t uncounted = 0;
  for (std::size_t i = 0; i < leases.size(); ++i) {
    const Entry entry = table.enter(std::to_string(i), 1, leases[i]);
    EXPECT_NE(entry, Entry::refused);
    uncounted += entry == Entry::uncounted ? 1 : 0;
  }
  EXPECT_EQ(uncounted, 200u - 32u);
}

/// What one thread of several does with one key; the most that it saw under way.
int enter_and_leave(FlightTable& table, std::atomic<int>& inside, int rounds) {
  int most = 0;
  for (int i = 0; i < rounds; ++i) {
    FlightLease lease;
    if (table.enter("hot", 1, lease) != Entry::counted) continue;
    most = std::max(most, inside.fetch_add(1) + 1);
    inside.fetch_sub(1);
  }
  return most;
}

// Other keys come and go in the same set and the key itself ends and begins all the time, so that
// it has two places at once now and then.
TEST(FlightTable, WorkersAtTheSameTimeNeverLetInMoreThanTheLimit) {
  FlightTable table(4, 1);  // one set
  std::atomic<int> inside{0};
  std::atomic<bool> over{false};
  std::atomic<int> most{0};
  std::vector<std::thread> noise;
  for (int n = 0; n < 2; ++n) {
    noise.emplace_back([&table, &over, n] {
      for (int i = 0; !over; ++i) {
        FlightLease lease;
        (void)table.enter(std::to_string(n) + std::to_string(i % 9), 5, lease);
      }
    });
  }
  std::vector<std::thread> workers;
  for (int n = 0; n < 6; ++n) {
    workers.emplace_back([&] {
      const int seen = enter_and_leave(table, inside, 100'000);
      for (int before = most; before < seen && !most.compare_exchange_weak(before, seen);) {
      }
    });
  }
  for (std::thread& each : workers) each.join();
  over = true;
  for (std::thread& each : noise) each.join();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(table.count("hot"), 0u) << "every lease came back";
}

TEST(FlightTable, OfManyAtTheSameTimeExactlyTheLimitIsLetIn) {
  for (int round = 0; round < 50; ++round) {
    FlightTable table(64, static_cast<std::uint64_t>(round));
    std::atomic<int> counted{0};
    std::vector<std::vector<FlightLease>> kept(4);
    std::vector<std::thread> workers;
    for (std::vector<FlightLease>& mine : kept) {
      workers.emplace_back([&table, &counted, &mine] {
        mine.resize(20);
        for (FlightLease& each : mine) {
          counted += table.enter("a", 50, each) == Entry::counted ? 1 : 0;
        }
      });
    }
    for (std::thread& each : workers) each.join();
    EXPECT_EQ(counted, 50);
    EXPECT_EQ(table.count("a"), 50u);
  }
}

// ---- through a worker

class InFlight : public Exchange {
 protected:
  void limit(std::uint32_t requests) {
    plant.listener.rules.resize(1);
    plant.listener.rules[0].when.paths = {"/free"};
    plant.listener.rules[0].then = config::FixedResponse{};
    plant.listener.in_flight_limits = {{.by = config::RateKey::all, .requests = requests}};
    plant.publish_and_wait();
  }
  /// A request that lbd answers itself is let in again: the count is where it was.
  void expect_free() {
    EXPECT_TRUE(eventually([this] {
      Peer user = client();
      user.send("GET /free HTTP/1.1\r\nHost: a\r\n\r\n");
      return user.read_message().starts_with("HTTP/1.1 200 ");
    }));
  }
};

TEST_F(InFlight, OneMoreThanMayBeIsRefusedUntilAnotherEnds) {
  limit(1);
  Peer first = client();
  first.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  Peer second = client();
  second.send(kGet);
  const std::string refused = second.read_message();
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 429 ")) << refused;
  EXPECT_NE(refused.find("Retry-After: 1\r\n"), std::string::npos);
  EXPECT_NE(refused.find("reason: in_flight_limited\n"), std::string::npos);
  EXPECT_EQ(last_record(1).reason, Fault::in_flight_limited);
  target.send(kOk);
  EXPECT_TRUE(first.read_message().ends_with("ok"));
  first.send(kGet);
  target.read_head();
  target.send(kOk);
  EXPECT_TRUE(first.read_message().ends_with("ok")) << "the next of the same client";
}

TEST_F(InFlight, WhatIsRefusedByALaterLimitIsNotCountedByAnEarlierOne) {
  plant.listener.in_flight_limits = {{.by = config::RateKey::all, .requests = 5}};
  plant.listener.rate_limits = {
      {.by = config::RateKey::all, .requests = 1, .per = std::chrono::hours(1), .burst = 1}};
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  user.read_message();
  for (int i = 0; i < 20; ++i) {
    user.send(kGet);
    EXPECT_NE(user.read_message().find("reason: rate_limited\n"), std::string::npos) << i;
  }
}

TEST_F(InFlight, ATargetThatIsSlowGivesThePlaceBack) {
  plant.group.timeouts.response_head = std::chrono::milliseconds(50);
  limit(1);
  Peer user = client();
  user.send(kGet);
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 504 "));
  expect_free();
}

TEST_F(InFlight, AClientThatLeavesGivesItsPlaceBack) {
  limit(1);
  {
    Peer user = client();
    user.send(kGet);
    Peer target = origin.accept();
    target.read_head();
    Peer second = client();
    second.send("GET /free HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(second.read_message().starts_with("HTTP/1.1 429 "));
  }
  expect_free();
}

TEST_F(InFlight, ARequestThatIsTriedAgainHasOnePlaceAndGivesItBack) {
  Server other;
  plant.target(other.port());
  plant.group.retries.attempts = 2;
  limit(2);
  Peer user = client();
  user.send(kGet);
  Peer first = origin.accept();
  first.read_head();
  first = Peer();  // breaks: tried at the other
  Peer second = other.accept();
  second.read_head();
  expect_free();  // there is room for one more, and no less
  second.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  user = Peer();
  limit(1);
  expect_free();
}

TEST_F(InFlight, ATunnelCountsUntilItEnds) {
  limit(1);
  Peer user = client();
  user.send(
      "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  Peer target = origin.accept();
  target.read_head();
  target.send(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
  EXPECT_TRUE(user.read_head().starts_with("HTTP/1.1 101 "));
  {
    Peer second = client();
    second.send(kGet);
    EXPECT_TRUE(second.read_message().starts_with("HTTP/1.1 429 "));
  }
  user = Peer();
  EXPECT_TRUE(target.sees_end());
  target = Peer();
  expect_free();
}

TEST_F(InFlight, WhatIsUnderWayIsCountedOnThroughAReload) {
  limit(2);
  Peer first = client();
  first.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  limit(1);  // and lowered
  Peer second = client();
  second.send(kGet);
  EXPECT_TRUE(second.read_message().starts_with("HTTP/1.1 429 "));
  target.send(kOk);
  EXPECT_TRUE(first.read_message().ends_with("ok"));
  first.send(kGet);
  target.read_head();
  target.send(kOk);
  EXPECT_TRUE(first.read_message().ends_with("ok"));
}

}  // namespace
}  // namespace lbd
