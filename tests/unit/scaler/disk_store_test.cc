#include "scaler/disk_store.h"

#include <gtest/gtest.h>

#include "scaler/memory_store.h"
#include "tests/support/manual_clock.h"

namespace lbd::scaler {
namespace {

using std::chrono::seconds;

struct Disk {
  ManualClock clock;
  std::string trouble = "disk is full";
  int tries = 0;
  DiskStore store{clock, [this]() -> Outcome<std::unique_ptr<Store>> {
                    ++tries;
                    if (!trouble.empty()) return failure(trouble);
                    return std::unique_ptr<Store>(std::make_unique<MemoryStore>("disk"));
                  }};
};

TEST(DiskStore, EveryUseFailsWithTheReasonUntilItOpens) {
  Disk disk;
  EXPECT_EQ(disk.store.trouble(), "disk is full");
  EXPECT_EQ(disk.store.load("web").error().message, "disk is full");
  EXPECT_EQ(disk.store.save(Batch{}).error().message, "disk is full");
  EXPECT_FALSE(disk.store.decisions(HistoryQuery{}));
  EXPECT_FALSE(disk.store.decision(1));
  EXPECT_FALSE(disk.store.intent("launch:t"));
  EXPECT_FALSE(disk.store.prune(WallTime{}, 1));
}

TEST(DiskStore, IsTriedAgainEveryTenSeconds) {
  Disk disk;
  disk.trouble.clear();
  disk.clock.advance(seconds(9));
  EXPECT_FALSE(disk.store.load("web"));
  EXPECT_EQ(disk.tries, 1);
  disk.clock.advance(seconds(1));
  EXPECT_TRUE(disk.store.load("web"));
  EXPECT_EQ(disk.tries, 2);
  EXPECT_TRUE(disk.store.trouble().empty());
  EXPECT_EQ(disk.store.identity(), "disk");
  EXPECT_TRUE(disk.store.save(Batch{}));
}

TEST(DiskStore, OneThatOpensAtOnceIsUsedAtOnce) {
  ManualClock clock;
  const DiskStore store(
      clock, [] { return Outcome<std::unique_ptr<Store>>(std::make_unique<MemoryStore>("disk")); });
  EXPECT_EQ(store.identity(), "disk");
}

}  // namespace
}  // namespace lbd::scaler
