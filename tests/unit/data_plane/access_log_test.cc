// The access log's lines, whatever a client sends.
#include "lbd/worker/access_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "tests/support/plant.h"

namespace lbd::worker {
namespace {

config::AccessLog to(const std::string& path, config::LogFormat format = config::LogFormat::json) {
  config::AccessLog settings;
  settings.path = path;
  settings.format = format;
  return settings;
}

/// What one record becomes.
std::string line_of(const proxy::RequestRecord& record,
                    config::LogFormat format = config::LogFormat::json) {
  const std::string path = ::testing::TempDir() + "lbd-access-log-" + std::to_string(::getpid());
  ::unlink(path.c_str());
  {
    auto log = AccessLog::open(to(path, format), 1);
    if (!log) return log.error().message;
    (*log)->sink(0)->write(record);
    EXPECT_TRUE(eventually([&] { return (*log)->lines() == 1; }));
    EXPECT_EQ((*log)->dropped(), 0u);
  }
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  ::unlink(path.c_str());
  return text.str();
}

/// One JSON object and a line feed: strings end, braces match, nothing but printable ASCII.
::testing::AssertionResult is_one_object(const std::string& line) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i + 1 < line.size(); ++i) {
    const char c = line[i];
    if (c < 0x20 || c >= 0x7f) return ::testing::AssertionFailure() << "byte at " << i;
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '{' || c == '[')) {
      ++depth;
    } else if (!in_string && (c == '}' || c == ']')) {
      if (--depth == 0 && i + 2 != line.size()) {
        return ::testing::AssertionFailure() << "more behind the object";
      }
    }
  }
  if (in_string || depth != 0 || !line.ends_with("}\n")) {
    return ::testing::AssertionFailure() << "not closed: " << line;
  }
  return ::testing::AssertionSuccess();
}

proxy::RequestRecord usual() {
  proxy::RequestRecord record;
  record.id = "7f";
  record.method = "GET";
  record.status = 200;
  record.authority = "shop.example";
  record.target = "/a?b=c";
  record.user_agent = "me";
  return record;
}

TEST(AccessLog, LinesThatCannotBeWrittenAreNotCountedAsWritten) {
  auto log = AccessLog::open(to("/dev/full"), 1);
  ASSERT_TRUE(log.has_value());
  for (int i = 0; i < 5; ++i) (*log)->sink(0)->write(usual());
  EXPECT_TRUE(eventually([&] { return (*log)->failures() >= 2; }));  // it keeps trying
  EXPECT_EQ((*log)->lines(), 0u);
  EXPECT_EQ((*log)->dropped(), 0u);
}

TEST(AccessLog, AShortValueIsWhole) {
  const std::string line = line_of(usual());
  EXPECT_TRUE(is_one_object(line));
  EXPECT_NE(line.find("\"uri\":\"/a?b=c\","), std::string::npos) << line;
  EXPECT_EQ(line.find("u2026"), std::string::npos);
}

TEST(AccessLog, ALongValueIsCutWithAMarkAndTheRestOfTheLineStays) {
  for (const char filler : {'a', '"', '\x01', '\xff'}) {
    const std::string target = "/start" + std::string(60 * 1024, filler);
    const std::string agent(60 * 1024, filler);
    const std::string host(300, filler);
    proxy::RequestRecord record = usual();
    record.target = target;
    record.user_agent = agent;
    record.authority = host;
    const std::string line = line_of(record);
    EXPECT_TRUE(is_one_object(line));
    EXPECT_NE(line.find("\"uri\":\"/start"), std::string::npos);
    EXPECT_NE(line.find("\\u2026\",\"user_agent\":\""), std::string::npos);
    EXPECT_NE(line.find("\\u2026\",\"status\":200,"), std::string::npos);
    EXPECT_NE(line.find("\"attempts\":[]}"), std::string::npos);
  }
}

TEST(AccessLog, AValueOfExactlyTheLimitIsNotMarked) {
  const std::string agent(2048, 'a');
  proxy::RequestRecord record = usual();
  record.user_agent = agent;
  EXPECT_EQ(line_of(record).find("u2026"), std::string::npos);
  const std::string longer(2049, 'a');
  record.user_agent = longer;
  EXPECT_NE(line_of(record).find("a\\u2026\""), std::string::npos);
}

TEST(AccessLog, TheLongestRecordThereCanBeIsOneWholeLine) {
  const std::string endless(100'000, '\xff');
  proxy::RequestRecord record;
  for (std::string_view* each :
       {&record.id, &record.client_ip, &record.listener, &record.rule, &record.group, &record.zone,
        &record.method, &record.authority, &record.target, &record.user_agent, &record.referer,
        &record.tls_version, &record.tls_cipher, &record.server_name, &record.trace_id,
        &record.redirect_url}) {
    *each = endless;
  }
  record.started = WallTime(std::chrono::hours(24 * 365 * 200));
  record.client_port = UINT16_MAX;
  record.status = INT32_MAX;
  record.cut = true;
  record.reason = Fault::no_healthy_target;
  record.generation = record.request_bytes = record.response_bytes = UINT64_MAX;
  record.duration_us = record.ttfb_us = UINT64_MAX;
  record.attempt_count = UINT32_MAX;
  for (proxy::AttemptRecord& attempt : record.attempts) {
    attempt = {endless, {}, Fault::no_healthy_target, INT32_MAX, UINT32_MAX, UINT32_MAX};
  }
  EXPECT_TRUE(is_one_object(line_of(record)));
  using config::LogFormat;
  for (const LogFormat format : {LogFormat::clf, LogFormat::combined, LogFormat::alb}) {
    const std::string line = line_of(record, format);
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
    EXPECT_EQ(std::count(line.begin(), line.end(), '"') % 2, 0);
    EXPECT_TRUE(line.ends_with('\n'));
  }
}

TEST(AccessLog, AHalfFullRingIsWrittenAtOnce) {
  const std::string path =
      ::testing::TempDir() + "lbd-access-log-burst-" + std::to_string(::getpid());
  ::unlink(path.c_str());
  constexpr std::chrono::seconds kFlush{5};
  auto log = AccessLog::open(to(path), 1, kFlush);
  ASSERT_TRUE(log);
  const std::string agent(1500, 'a');
  proxy::RequestRecord record = usual();
  record.user_agent = agent;
  const std::size_t line = line_of(record).size();
  constexpr std::uint64_t kHalf = 512 * 1024;
  std::uint64_t made = 0;
  const auto waiting = [&] { return (made - (*log)->lines()) * line; };  // bytes in the ring
  int by_the_clock = 0;  // a notice that meets the writer on its way to sleep may be missed
  for (int burst = 0; burst < 80 && by_the_clock < 3; ++burst) {  // 14 MiB
    for (int i = 0; i < 100; ++i) (*log)->sink(0)->write(record);
    made += 100;
    const auto since = std::chrono::steady_clock::now();
    while (waiting() >= kHalf && std::chrono::steady_clock::now() - since < 4 * kFlush) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_LT(waiting(), kHalf) << burst;
    if (std::chrono::steady_clock::now() - since >= kFlush * 9 / 10) ++by_the_clock;
  }
  EXPECT_LT(by_the_clock, 3);
  EXPECT_EQ((*log)->dropped(), 0u);
  log->reset();
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace lbd::worker
