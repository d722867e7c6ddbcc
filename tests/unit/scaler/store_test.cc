#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "scaler/history.h"
#include "scaler/memory_store.h"

namespace lbd::scaler {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

ServedInstance served(const std::string& id, std::uint16_t port) {
  return {id, "a", "10.0.0.1", port};
}

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string name = (std::filesystem::temp_directory_path() / "lbd-store-XXXXXX").string();
    directory = ::mkdtemp(name.data());
  }
  ~StoreTest() override { std::filesystem::remove_all(directory); }

  std::unique_ptr<SqliteStore> open(std::uint64_t seed = 1) {
    auto opened = SqliteStore::open(path(), seed);
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
  }
  [[nodiscard]] std::string path() const { return directory + "/scaler.db"; }

  static Decision decision(std::uint64_t id, WallTime at) {
    Decision row;
    row.id = id;
    row.group = "web";
    row.acted = id % 2 == 0;
    row.kind = "scale_out";
    row.sentence = "scale out 3 -> 4: it's \"hot\"";
    row.inputs.counted = 3;
    row.inputs.max = 5;
    row.inputs.signals = {{"out", "cpu", 0.93, 0.9}, {"rps", "requests_per_target", {}, 100}};
    row.first = row.last = at;
    row.repeats = 7;
    return row;
  }

  std::string directory;
};

TEST_F(StoreTest, GivesBackAfterReopeningWhatWasSaved) {
  const WallTime at{hours(24 * 365 * 50)};
  Intent launch;
  launch.group = "web";
  launch.token = "lbd-1";
  launch.zone = "a";
  launch.decision = 2;
  launch.created = launch.updated = at;
  Intent done = launch;
  done.token = "lbd-2";
  done.state = IntentState::failed;
  Batch batch;
  batch.decisions = {decision(1, at), decision(2, at)};
  batch.intents = {launch, done};
  batch.groups = {GroupState{"web", 4, at, std::nullopt}};
  const std::string identity = open()->identity();
  ASSERT_TRUE(open()->save(batch));

  const auto store = open(99);
  EXPECT_EQ(store->identity(), identity);
  EXPECT_EQ(store->last_decision(), 2u);
  const auto saved = store->load("web");
  ASSERT_TRUE(saved);
  ASSERT_EQ(saved->live.size(), 1u);
  EXPECT_EQ(saved->live[0].token, "lbd-1");
  EXPECT_EQ(saved->live[0].decision, 2u);
  EXPECT_EQ(saved->live[0].created, at);
  ASSERT_TRUE(saved->state);
  EXPECT_EQ(saved->state->desired, 4u);
  EXPECT_EQ(saved->state->activity_finished, at);
  EXPECT_FALSE(saved->state->paused_until);
  const auto row = store->decision(2);
  ASSERT_TRUE(row && row->has_value());
  EXPECT_EQ((*row)->sentence, "scale out 3 -> 4: it's \"hot\"");
  EXPECT_EQ((*row)->repeats, 7u);
  ASSERT_EQ((*row)->inputs.signals.size(), 2u);
  EXPECT_DOUBLE_EQ(*(*row)->inputs.signals[0].value, 0.93);
  EXPECT_FALSE((*row)->inputs.signals[1].value);
  EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(StoreTest, SavingARowAgainReplacesIt) {
  const auto store = open();
  Batch batch;
  batch.decisions = {decision(1, WallTime{})};
  ASSERT_TRUE(store->save(batch));
  batch.decisions[0].repeats = 60;
  ASSERT_TRUE(store->save(batch));
  const auto rows = store->decisions({});
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ(rows->front().repeats, 60u);
}

TEST_F(StoreTest, ListsTheNewestFirstAndPages) {
  const auto store = open();
  Batch batch;
  for (std::uint64_t id = 1; id <= 10; ++id) batch.decisions.push_back(decision(id, WallTime{}));
  ASSERT_TRUE(store->save(batch));
  HistoryQuery query;
  query.group = "web";
  query.rows_max = 3;
  query.before_id = 8;
  const auto rows = store->decisions(query);
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ(rows->front().id, 7u);
  query.acted_only = true;
  EXPECT_EQ(store->decisions(query)->front().id, 6u);
  query.group = "other";
  EXPECT_TRUE(store->decisions(query)->empty());
}

TEST_F(StoreTest, PrunesByAgeAndByRowsButKeepsTheNewestRow) {
  const WallTime now{hours(24 * 365 * 50)};
  const auto store = open();
  Batch batch;
  for (std::uint64_t id = 1; id <= 10; ++id) {
    batch.decisions.push_back(decision(id, now + seconds(id)));
  }
  ASSERT_TRUE(store->save(batch));
  ASSERT_TRUE(store->prune(now + seconds(4), 100));
  EXPECT_EQ(store->decisions({})->size(), 7u);
  ASSERT_TRUE(store->prune(now, 3));
  EXPECT_EQ(store->decisions({})->size(), 3u);
  ASSERT_TRUE(store->prune(now + hours(1), 3));
  ASSERT_EQ(store->decisions({})->size(), 1u);
  EXPECT_EQ(store->decisions({})->front().id, 10u);
}

TEST_F(StoreTest, AFileThatIsNoDatabaseIsRefusedWithItsPath) {
  std::ofstream(path()) << "this is not a database, and long enough to be looked at as one.......";
  const auto opened = SqliteStore::open(path(), 1);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find(path()), std::string::npos) << opened.error().message;
}

TEST_F(StoreTest, TheFileIsReadableOnlyByItsOwner) {
  (void)open();
  EXPECT_EQ(std::filesystem::status(path()).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST(ClientToken, IsShortAsciiAndChangesWithEveryPart) {
  std::set<std::string> tokens;
  for (const char* store : {"s1", "s2"}) {
    for (const char* group : {"web", "app"}) {
      for (std::uint64_t decision : {1u, 2u}) {
        for (const char* zone : {"a", "b"}) {
          for (std::uint32_t attempt : {0u, 1u}) {
            const std::string token = client_token({store, group, decision, zone, attempt});
            EXPECT_LE(token.size(), 64u);
            EXPECT_EQ(token.find_first_not_of("lbd-0123456789abcef"), std::string::npos);
            tokens.insert(token);
          }
        }
      }
    }
  }
  EXPECT_EQ(tokens.size(), 32u);
  EXPECT_EQ(client_token({"s1", "web", 1, "a", 0}), client_token({"s1", "web", 1, "a", 0}));
}

TEST_F(StoreTest, KeepsWhoIsInServicePerGroupAndReplacesTheWholeList) {
  Batch batch;
  batch.served = {{"web", {served("i-1", 80), served("i-2", 0)}}, {"api", {served("i-3", 8080)}}};
  ASSERT_TRUE(open()->save(batch));
  batch = {};
  batch.served = {{"web", {served("i-2", 0), served("i-4", 80)}}};
  ASSERT_TRUE(open()->save(batch));
  const auto store = open();
  const std::vector<ServedInstance> web{served("i-2", 0), served("i-4", 80)};
  EXPECT_EQ(store->load("web")->served, web);
  EXPECT_EQ(store->load("api")->served, std::vector<ServedInstance>{served("i-3", 8080)});
  batch.served = {{"web", {}}};
  ASSERT_TRUE(store->save(batch));
  EXPECT_TRUE(store->load("web")->served.empty());
}

}  // namespace
}  // namespace lbd::scaler
