#include "lbd/worker/recent.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <string>

#include "tests/support/exchange_rig.h"

namespace lbd {
namespace {

using proxy::RequestRecord;
using worker::KeptRecord;
using worker::Recent;

RequestRecord failed(std::string_view id, Fault reason = Fault::connect_failed) {
  RequestRecord record;
  record.id = id;
  record.listener = "public";
  record.reason = reason;
  record.status = fault_status(reason);
  record.attempts[0] = {.target = "10.0.0.1:80", .zone = "a", .fault = reason};
  record.attempt_count = 1;
  return record;
}

std::string ids(const std::vector<KeptRecord>& found) {
  std::string out;
  for (const KeptRecord& each : found) out += std::string(each.record().id) + " ";
  return out;
}

TEST(Recent, TheNewestComeFirstAndTheOldestGiveWay) {
  Recent recent;
  for (std::size_t i = 0; i < Recent::kOthersMax + 3; ++i) {
    recent.write(failed("r" + std::to_string(i)));
  }
  EXPECT_EQ(ids(recent.find("", 3)), "r1026 r1025 r1024 ");
  EXPECT_EQ(recent.find("", 5000).size(), Recent::kOthersMax);
  EXPECT_EQ(ids(recent.find("r3", 10)), "r3 ");
  EXPECT_EQ(ids(recent.find("r2", 10)), "") << "it has given way";
}

TEST(Recent, AFloodOfRefusedRequestsLeavesTheOthers) {
  Recent recent;
  recent.write(failed("mine"));
  for (int i = 0; i < 5000; ++i) recent.write(failed("flood", Fault::rate_limited));
  EXPECT_EQ(ids(recent.find("mine", 10)), "mine ");
  EXPECT_EQ(recent.find("flood", 5000).size(), Recent::kOfClientsMax);
}

TEST(Recent, SeveralRequestsOfOneIdAreAllFound) {
  Recent recent;
  for (int i = 0; i < 3; ++i) {
    RequestRecord record = failed("same");
    record.duration_us = static_cast<std::uint64_t>(i);
    recent.write(record);
    recent.write(failed("other"));
  }
  const auto found = recent.find("same", 10);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].record().duration_us, 2u);
  EXPECT_EQ(found[2].record().duration_us, 0u);
}

TEST(Recent, TextsAreItsOwnAndLongOnesAreCutButNeverTheId) {
  Recent recent;
  {
    const std::string id(128, 'i');
    const std::string uri = "/" + std::string(20'000, 'u');
    const std::string host(5'000, 'h');
    RequestRecord record = failed(id);
    record.target = uri;
    record.authority = host;
    record.user_agent = host;
    recent.write(record);
  }
  recent.write(failed("next"));
  const auto copies = recent.find(std::string(128, 'i'), 1);
  ASSERT_EQ(copies.size(), 1u);
  const RequestRecord& kept = copies[0].record();
  EXPECT_EQ(kept.id, std::string(128, 'i'));
  EXPECT_TRUE(kept.target.starts_with("/uuuu") && kept.target.ends_with("u...")) << kept.target;
  EXPECT_LT(kept.target.size(), 400u);
  EXPECT_TRUE(kept.authority.ends_with("h..."));
  EXPECT_EQ(kept.user_agent, "");
  EXPECT_EQ(kept.attempts[0].target, "10.0.0.1:80");
  EXPECT_EQ(kept.attempts[0].zone, "a");
}

// Every text as long as it may be, at once: what does not fit is cut, from the end.
TEST(Recent, NothingIsWrittenBeyondItsRoom) {
  const std::string_view text = "0123456789012345678901234567890123456789";
  const std::string longest(1000, 'x');
  RequestRecord record = failed("id");
  record.client_ip = record.listener = record.rule = record.group = record.zone = record.authority =
      record.target = record.server_name = record.trace_id = record.method = longest;
  for (proxy::AttemptRecord& each : record.attempts) each.target = each.zone = longest;
  record.tls_version = text;
  const KeptRecord kept(record);
  std::size_t all = kept.record().target.size();
  for (const proxy::AttemptRecord& each : kept.record().attempts) all += each.target.size();
  EXPECT_LE(all, 1024u);
  EXPECT_EQ(kept.record().id, "id");
  EXPECT_TRUE(kept.record().method.ends_with("x..."));
}

TEST(Notable, IsWhatFailedWasCutRetriedSlowOrAnswered5xx) {
  RequestRecord usual;
  usual.status = 404;
  usual.attempt_count = 1;
  usual.duration_us = 999;
  EXPECT_FALSE(is_notable(usual, 1000));
  const auto with = [&usual](auto change) {
    RequestRecord record = usual;
    change(record);
    return is_notable(record, 1000);
  };
  EXPECT_TRUE(with([](RequestRecord& r) { r.reason = Fault::client_gone; }));
  EXPECT_TRUE(with([](RequestRecord& r) { r.status = 500; }));
  EXPECT_TRUE(with([](RequestRecord& r) { r.cut = true; }));
  EXPECT_TRUE(with([](RequestRecord& r) { r.attempt_count = 2; }));
  EXPECT_TRUE(with([](RequestRecord& r) { r.duration_us = 1000; }));
  EXPECT_FALSE(with([](RequestRecord& r) {
    r.duration_us = 5000;
    r.tunnel = true;
  })) << "tunnels last";
}

TEST_F(Exchange, TheWorkerTellsWhatItRemembersWithOrWithoutALog) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  user.read_message();
  user.send("GET /bad HTTP/1.1\nHost: a\r\n\r\n");
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 400 "));
  const std::string id = last_record(2).id;
  std::mutex mutex;
  std::condition_variable came;
  std::vector<std::string> found;
  bool told = false;
  plant.workers[0]->recall("", 10, [&](std::vector<KeptRecord> records) {
    const std::lock_guard lock(mutex);
    for (const KeptRecord& each : records) found.emplace_back(each.record().id);
    told = true;
    came.notify_one();
  });
  std::unique_lock lock(mutex);
  ASSERT_TRUE(came.wait_for(lock, std::chrono::seconds(10), [&] { return told; }));
  EXPECT_EQ(found, std::vector<std::string>{id}) << "and not what went well";
}

}  // namespace
}  // namespace lbd
