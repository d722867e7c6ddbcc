#include "lbd/net/loop.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

#include "lbd/net/loop_core.h"

namespace lbd::net {
namespace {

using std::chrono::milliseconds;

struct Probe {
  Loop& loop;
  std::vector<int>& order;
  int id = 0;
  bool last = false;
  TimePoint due{};
  static void fire(void* context) {
    auto* self = static_cast<Probe*>(context);
    EXPECT_GE(self->loop.clock().now(), self->due);  // never early
    self->order.push_back(self->id);
    if (self->last) self->loop.stop();
  }
};

TEST(Loop, TimersFireInOrderAndNeverEarly) {
  Loop loop;
  std::vector<int> order;
  Probe late{loop, order, 2, true};
  Probe early{loop, order, 1, false};
  Timer second(loop.clock(), &late, &Probe::fire);
  Timer first(loop.clock(), &early, &Probe::fire);
  late.due = loop.clock().now() + milliseconds(60);
  early.due = loop.clock().now() + milliseconds(20);
  second.set(late.due);
  first.set(early.due);
  loop.run();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

/// Spends time in each call and notes what the clock says.
struct Slow {
  Loop& loop;
  std::vector<TimePoint>& seen;
  static void fire(void* context) {
    auto* self = static_cast<Slow*>(context);
    self->seen.push_back(self->loop.clock().now());
    std::this_thread::sleep_for(milliseconds(3));
    self->seen.push_back(self->loop.clock().now());
  }
};

TEST(Loop, TimeStandsStillWithinACallAndGoesOnBetweenThem) {
  Loop loop;
  std::vector<TimePoint> seen;
  Slow slow{loop, seen};
  Timer first(loop.clock(), &slow, &Slow::fire);
  Timer second(loop.clock(), &slow, &Slow::fire);
  const TimePoint due = loop.clock().now() + milliseconds(5);
  first.set(due);
  second.set(due);
  loop.post([&] {
    Slow::fire(&slow);
    loop.post([&] { Slow::fire(&slow); });
  });
  while (seen.size() < 8) {
    loop.post([&] { loop.stop(); });
    loop.run();
  }
  for (std::size_t i = 0; i < 8; i += 2) EXPECT_EQ(seen[i], seen[i + 1]);
  for (std::size_t i = 1; i < 7; i += 2) EXPECT_GE(seen[i + 1] - seen[i], milliseconds(3));
  EXPECT_GT(loop.clock().now(), seen.back());
}

TEST(Loop, ATimerCancelledByAnotherOfTheSameTickDoesNotFire) {
  Loop loop;
  struct Pair {
    Loop& loop;
    Timer* other = nullptr;
    int fired = 0;
    static void fire(void* context) {
      auto* self = static_cast<Pair*>(context);
      ++self->fired;
      self->other->cancel();
    }
  } pair{loop};
  const TimePoint due = loop.clock().now() + milliseconds(20);
  Timer a(loop.clock(), &pair, &Pair::fire);
  Timer b(loop.clock(), &pair, &Pair::fire);
  pair.other = &a;
  b.set(due);
  a.set(due);
  struct Stop {
    static void fire(void* context) { static_cast<Loop*>(context)->stop(); }
  };
  // Either may come first; whichever does cancels a (itself, harmlessly, or the other).
  Timer stop(loop.clock(), &loop, &Stop::fire);
  stop.set(due + milliseconds(40));
  loop.run();
  EXPECT_GE(pair.fired, 1);
  EXPECT_LE(pair.fired, 2);
}

TEST(Loop, PostFromAnotherThreadRunsOnTheLoop) {
  Loop loop;
  std::thread::id ran;
  std::thread other([&] {
    loop.post([&] {
      ran = std::this_thread::get_id();
      loop.stop();
    });
  });
  loop.run();
  other.join();
  EXPECT_EQ(ran, std::this_thread::get_id());
}

TEST(SlowLane, RunsTwoATurnAndLeavesTheRestForTheNext) {
  struct Counter final : Watch {
    void ready(std::uint32_t /*events*/) override {}
    void resume_deferred() override { ++*count; }
    int* count = nullptr;
  };
  Loop loop;
  LoopCore& core = loop.core();
  int slow = 0;
  int quick = 0;
  std::array<Counter, 7> slow_ones;
  std::array<Counter, 7> quick_ones;
  for (Counter& each : slow_ones) {
    each.count = &slow;
    core.defer_slow(each);
  }
  for (Counter& each : quick_ones) {
    each.count = &quick;
    core.defer(each);
  }
  core.turn();
  EXPECT_EQ(quick, 7);
  EXPECT_EQ(slow, 2);
  core.turn();
  EXPECT_EQ(slow, 4);
  core.turn();
  core.turn();
  EXPECT_EQ(slow, 7);
}

}  // namespace
}  // namespace lbd::net
