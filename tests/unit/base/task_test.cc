#include "lbd/base/task.h"

#include <gtest/gtest.h>

#include <memory>

#include "lbd/base/event.h"
#include "tests/support/manual_clock.h"

namespace lbd {
namespace {

using std::chrono::milliseconds;

Task<int> ready(int value) { co_return value; }

Task<> count_to(int times, int& count) {
  for (int i = 0; i < times; ++i) count += co_await ready(1);
}

Task<> wait_then_add(Event& event, int& count) {
  co_await event.wait();
  ++count;
}

Task<> wait_with_deadline(Event& event, Clock& clock, TimePoint due, std::optional<bool>& seen) {
  seen = co_await event.wait_until(clock, due);
}

TEST(Task, AMillionReadyAwaitsUseNoStack) {
  TaskGroup group;
  int count = 0;
  group.spawn(count_to(1'000'000, count));
  EXPECT_EQ(count, 1'000'000);
  EXPECT_EQ(group.running(), 0u);
}

Task<std::unique_ptr<int>> without_a_frame(int value) { return std::make_unique<int>(value); }
Task<> done_already() { return {}; }

Task<> add_from_no_frame(int& sum) {
  const std::unique_ptr<int> got = co_await without_a_frame(40);
  sum += *got;
  Task<std::unique_ptr<int>> kept = without_a_frame(2);
  Task<std::unique_ptr<int>> moved = std::move(kept);
  const std::unique_ptr<int> later = co_await moved;
  sum += *later;
  co_await done_already();
}

TEST(Task, OneThatIsMadeOfItsValueIsAwaitedLikeAnyOther) {
  TaskGroup group;
  int sum = 0;
  group.spawn(add_from_no_frame(sum));
  group.spawn(done_already());
  EXPECT_EQ(sum, 42);
  EXPECT_EQ(group.running(), 0u);
}

TEST(Event, WakesEveryWaiterInOrderAndLaterOnesDoNotWait) {
  TaskGroup group;
  Event event;
  int count = 0;
  group.spawn(wait_then_add(event, count));
  group.spawn(wait_then_add(event, count));
  EXPECT_EQ(count, 0);
  event.set();
  EXPECT_EQ(count, 2);
  group.spawn(wait_then_add(event, count));
  EXPECT_EQ(count, 3);
}

TEST(Event, WaitUntilTellsTheDeadlineFromTheEvent) {
  ManualClock clock;
  TaskGroup group;
  Event event;
  std::optional<bool> first;
  group.spawn(wait_with_deadline(event, clock, clock.now() + milliseconds(10), first));
  clock.advance(milliseconds(9));
  EXPECT_FALSE(first.has_value());
  clock.advance(milliseconds(1));
  EXPECT_EQ(first, false);
  std::optional<bool> second;
  group.spawn(wait_with_deadline(event, clock, clock.now() + milliseconds(10), second));
  event.set();
  EXPECT_EQ(second, true);
  clock.advance(milliseconds(100));
  EXPECT_EQ(second, true);
}

TEST(Timer, MovedLaterItFiresOnceAtTheNewTime) {
  ManualClock clock;
  int fired = 0;
  Timer timer(clock, &fired, [](void* count) { ++*static_cast<int*>(count); });
  timer.set(clock.now() + milliseconds(10));
  timer.set(clock.now() + milliseconds(30));
  clock.advance(milliseconds(20));
  EXPECT_EQ(fired, 0);
  clock.advance(milliseconds(10));
  EXPECT_EQ(fired, 1);
}

}  // namespace
}  // namespace lbd
