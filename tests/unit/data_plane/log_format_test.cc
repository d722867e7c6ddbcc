// What each format makes of a record.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "lbd/worker/access_log.h"
#include "lbd/worker/log_line.h"
#include "tests/support/plant.h"

namespace lbd::worker {
namespace {

using config::LogFormat;
using proxy::RequestRecord;

std::string written(LogFormat format, const RequestRecord& record) {
  LineStorage storage{};
  Line line(storage);
  line_format(format)(record, line);
  return std::string(line.view());
}

/// A GET over HTTP/1.1 that the second target answered.
RequestRecord answered() {
  RequestRecord record;
  record.started = WallTime(std::chrono::seconds(1'795'284'000) + std::chrono::microseconds(250));
  record.id = "0af7651916cd43dd8448eb211c80319c";
  record.client_ip = "192.0.2.7";
  record.client_port = 50'000;
  record.local_port = 8080;
  record.listener = "public";
  record.rule = "static";
  record.rule_number = 2;
  record.group = "web";
  record.action = RequestRecord::Action::forward;
  record.method = "GET";
  record.authority = "shop.example";
  record.target = "/a?b=c";
  record.referer = "http://from/";
  record.user_agent = "curl/8";
  record.status = 200;
  record.by_target = true;
  record.request_bytes = 3;
  record.response_bytes = 1234;
  record.duration_us = 30'500;
  record.ttfb_us = 20'000;
  record.attempt_count = 2;
  record.attempts[0] = {"10.0.0.1:80", "a", Fault::connect_failed, 0, 0, 0};
  record.attempts[1] = {"10.0.0.2:80", "a", Fault::none, 200, 1000, 14'000};
  return record;
}

TEST(LogFormat, ClfIsApaches) {
  EXPECT_EQ(written(LogFormat::clf, answered()),
            "192.0.2.7 - - [21/Nov/2026:18:00:00 +0000] \"GET /a?b=c HTTP/1.1\" 200 1234\n");
  RequestRecord empty = answered();
  empty.response_bytes = 0;
  EXPECT_TRUE(written(LogFormat::clf, empty).ends_with(" 200 -\n"));
}

TEST(LogFormat, CombinedAddsRefererAndUserAgent) {
  EXPECT_TRUE(written(LogFormat::combined, answered())
                  .ends_with("\" 200 1234 \"http://from/\" \"curl/8\"\n"));
  RequestRecord silent = answered();
  silent.referer = silent.user_agent = {};
  EXPECT_TRUE(written(LogFormat::combined, silent).ends_with(" \"-\" \"-\"\n"));
}

TEST(LogFormat, AlbHasItsFieldsInItsOrder) {
  EXPECT_EQ(written(LogFormat::alb, answered()),
            "http 2026-11-21T18:00:00.030750Z public 192.0.2.7:50000 10.0.0.2:80 0.005 0.015 0.010 "
            "200 200 3 1234 \"GET http://shop.example:8080/a?b=c HTTP/1.1\" \"curl/8\" - - web "
            "\"-\" \"-\" \"-\" 2 2026-11-21T18:00:00.000250Z \"forward\" \"-\" \"-\" "
            "\"10.0.0.1:80 10.0.0.2:80\" \"- 200\" \"-\" \"-\"\n");
}

TEST(LogFormat, AlbOfWhatReachedNoTarget) {
  RequestRecord refused;
  refused.started = answered().started;
  refused.listener = "public";
  refused.client_ip = "2001:db8::1";
  refused.client_port = 1;
  refused.version = http::Version::http_2;
  refused.tls_version = "TLSv1.3";
  refused.tls_cipher = "TLS_AES_128_GCM_SHA256";
  refused.server_name = "shop.example";
  refused.method = "GET";
  refused.authority = "[::1]:443";
  refused.target = "/";
  refused.status = 400;
  refused.reason = Fault::client_protocol;
  refused.desync = http::DesyncReason::bad_header;
  EXPECT_EQ(written(LogFormat::alb, refused),
            "h2 2026-11-21T18:00:00.000250Z public 2001:db8::1:1 - -1 -1 -1 400 - 0 0 "
            "\"GET https://[::1]:443/ HTTP/2.0\" \"-\" TLS_AES_128_GCM_SHA256 TLSv1.3 - \"-\" "
            "\"shop.example\" \"-\" -1 2026-11-21T18:00:00.000250Z \"-\" \"-\" "
            "\"client_protocol\" \"-\" \"-\" \"Severe\" \"bad_header\"\n");
}

TEST(LogFormat, NothingThatAClientSendsEndsAFieldOrALine) {
  RequestRecord hostile = answered();
  hostile.user_agent = "a\" 200 \n\\x\xff";
  hostile.target = "/a b\r\"";
  EXPECT_NE(written(LogFormat::combined, hostile).find("\"GET /a\\x20b\\x0d\\x22 HTTP/1.1\""),
            std::string::npos);
  EXPECT_NE(written(LogFormat::combined, hostile).find("\"a\\x22 200 \\x0a\\x5cx\\xff\"\n"),
            std::string::npos);
}

TEST(LogFormat, JsonHasTheTrace) {
  RequestRecord traced = answered();
  EXPECT_EQ(written(LogFormat::json, traced).find("trace_id"), std::string::npos);
  traced.amzn_trace_id = "Root=1-2-3";
  EXPECT_NE(written(LogFormat::json, traced).find("\"trace_id\":\"Root=1-2-3\""),
            std::string::npos);
  traced.trace_id = "4bf9";
  EXPECT_NE(written(LogFormat::json, traced).find("\"trace_id\":\"4bf9\""), std::string::npos);
}

/// How many of 4000 such records are kept at 10 %.
std::uint64_t kept(const RequestRecord& like) {
  config::AccessLog settings;
  settings.path = "/dev/null";
  settings.format = LogFormat::clf;  // short: all lines fit into the ring
  settings.sample = 0.1;
  auto log = AccessLog::open(settings, 1);
  EXPECT_TRUE(log);
  Rng rng(7);
  for (int i = 0; i < 4000; ++i) {
    const std::string id = std::to_string(rng.next());
    RequestRecord record = like;
    record.id = id;
    (*log)->sink(0)->write(record);
  }
  EXPECT_TRUE(eventually([&] { return (*log)->lines() + (*log)->left_out() == 4000; }));
  return (*log)->lines();
}

TEST(LogSampling, KeepsAShareAndAllThatFailedOrWasSlow) {
  RequestRecord usual = answered();
  EXPECT_NEAR(static_cast<double>(kept(usual)), 400, 80);
  usual.status = 404;
  EXPECT_NEAR(static_cast<double>(kept(usual)), 400, 80);
  usual.status = 502;
  EXPECT_EQ(kept(usual), 4000u);
  usual = answered();
  usual.duration_us = 1'000'000;
  EXPECT_EQ(kept(usual), 4000u);
  usual = answered();
  usual.cut = true;
  EXPECT_EQ(kept(usual), 4000u);
}

/// Listens on a path and reads what comes.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    ::unlink(path.c_str());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    listener_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::listen(listener_, 1);
  }
  ~Reader() {
    if (fd_ >= 0) ::close(fd_);
    ::close(listener_);
    ::unlink(path_.c_str());
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// From now on what comes on the next connection.
  void next() {
    const int before = std::exchange(fd_, ::accept(listener_, nullptr, nullptr));
    if (before >= 0) ::close(before);
  }
  std::string line() {
    if (fd_ < 0) fd_ = ::accept(listener_, nullptr, nullptr);
    std::string text;
    for (char c = 0; c != '\n' && ::read(fd_, &c, 1) == 1;) text += c;
    return text;
  }

 private:
  std::string path_;
  int listener_ = -1;
  int fd_ = -1;
};

TEST(LogSocket, LinesWaitForAReaderAndANewOneGetsWholeLines) {
  const std::string path = ::testing::TempDir() + "lbd-log-" + std::to_string(::getpid());
  config::AccessLog settings;
  settings.path = "unix:" + path;
  settings.format = LogFormat::clf;
  auto log = AccessLog::open(settings, 1, std::chrono::milliseconds(10));
  ASSERT_TRUE(log);
  (*log)->sink(0)->write(answered());
  EXPECT_TRUE(eventually([&] { return (*log)->failures() > 0; }));
  const std::string line = written(LogFormat::clf, answered());
  {
    Reader reader(path);
    EXPECT_EQ(reader.line(), line);
  }
  Reader reader(path);
  // What went into the socket of a reader that left is lost; the rest comes, line by line.
  for (int i = 0; i < 50; ++i) (*log)->sink(0)->write(answered());
  EXPECT_EQ(reader.line(), line);
  EXPECT_EQ((*log)->dropped(), 0u);
}

TEST(LogSocket, LinesOfSeveralWorkersAreNeverMixedHoweverSlowlyTheyAreTaken) {
  const std::string path = ::testing::TempDir() + "lbd-log-two-" + std::to_string(::getpid());
  config::AccessLog settings;
  settings.path = "unix:" + path;
  settings.format = LogFormat::combined;
  Reader reader(path);
  auto log = AccessLog::open(settings, 2, std::chrono::milliseconds(2));
  ASSERT_TRUE(log);
  const std::string agents[] = {std::string(1500, 'a'), std::string(1501, 'b')};
  RequestRecord record = answered();
  const auto write = [&](std::size_t worker, int lines) {
    record.user_agent = agents[worker];
    for (int i = 0; i < lines; ++i) (*log)->sink(worker)->write(record);
  };
  // The socket takes all of the first and stops within a line of the second; then the first has
  // more.
  write(0, 20);
  EXPECT_TRUE(eventually([&] { return (*log)->lines() == 20; }));
  write(1, 400);
  EXPECT_TRUE(eventually([&] { return (*log)->failures() > 0; }));
  write(0, 20);
  std::array<int, 2> seen{};
  for (int i = 0; i < 440; ++i) {
    const std::string line = reader.line();
    const std::size_t who = line.find("\"b") != std::string::npos ? 1 : 0;
    record.user_agent = agents[who];
    ASSERT_EQ(line, written(LogFormat::combined, record)) << i;
    ++seen.at(who);
  }
  EXPECT_EQ(seen, (std::array<int, 2>{40, 400}));
  EXPECT_EQ((*log)->dropped(), 0u);
}

TEST(LogSocket, AConnectionThatIsMadeAnewBeginsWithAWholeLine) {
  const std::string path = ::testing::TempDir() + "lbd-log-anew-" + std::to_string(::getpid());
  config::AccessLog settings;
  settings.path = "unix:" + path;
  settings.format = LogFormat::combined;
  Reader reader(path);
  auto log = AccessLog::open(settings, 1, std::chrono::milliseconds(2));
  ASSERT_TRUE(log);
  const std::string agent(1500, 'a');
  RequestRecord record = answered();
  record.user_agent = agent;
  for (int i = 0; i < 400; ++i)
    (*log)->sink(0)->write(record);  // more than a socket's buffers hold
  EXPECT_TRUE(eventually([&] { return (*log)->failures() > 0; }));
  reader.next();
  (*log)->reopen();
  reader.next();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(reader.line(), written(LogFormat::combined, record)) << i;
  EXPECT_EQ((*log)->dropped(), 1u);  // the one that the first reader got half of
}

}  // namespace
}  // namespace lbd::worker
