// Zero heap allocations per request in steady state: malloc and its kin are replaced in this binary
// by counting ones, and a worker serves ten thousand requests without the count moving.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "lbd/http/h1_head.h"
#include "lbd/proxy/headers.h"
#include "lbd/worker/access_log.h"
#include "lbd/worker/recent.h"
#include "tests/support/h2_peer.h"
#include "tests/support/loopback.h"
#include "tests/support/plant.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LBD_COUNTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LBD_COUNTS 0
#endif
#endif
#ifndef LBD_COUNTS
#define LBD_COUNTS 1
#endif

namespace {

thread_local bool counted_thread = false;
std::atomic<std::uint64_t> allocations{0};
std::atomic<bool> abort_on_allocation{false};

[[maybe_unused]] void count_one() noexcept {
  if (!counted_thread) return;
  allocations.fetch_add(1, std::memory_order_relaxed);
  // A debugger or a core shows who it was: run the test with LBD_ABORT_ON_ALLOCATION=1.
  if (abort_on_allocation.load(std::memory_order_relaxed)) ::abort();
}

}  // namespace

#if LBD_COUNTS
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  count_one();
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  count_one();
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) {
  count_one();
  return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  count_one();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  count_one();
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? ENOMEM : 0;
}
}
#endif

namespace lbd {
namespace {

/// Passes records on, and marks the thread it is called on as the one whose allocations count.
class MarkingSink final : public proxy::RecordSink {
 public:
  explicit MarkingSink(proxy::RecordSink* next) : next_(next) {}
  void write(const proxy::RequestRecord& record) noexcept override {
    counted_thread = true;
    if (next_ != nullptr) next_->write(record);
  }

 private:
  proxy::RecordSink* next_;
};

/// Answers any number of requests on any number of connections, a thread each.
class BusyOrigin {
 public:
  BusyOrigin() : big_(64 * 1024, 'b'), thread_([this] { accept_all(); }) {}
  ~BusyOrigin() {
    stop_ = true;
    thread_.join();
    for (std::thread& each : serving_) each.join();
  }
  [[nodiscard]] std::uint16_t port() const { return server_.port(); }
  /// Until the next call, every response stops in its middle until `count` of them are there.
  void gather(int count) {
    gathered_ = 0;
    wanted_ = count;
  }

 private:
  void halfway() {
    if (wanted_ == 0) return;
    ++gathered_;
    while (gathered_ < wanted_ && !stop_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // lbd reads what there is
  }
  void accept_all() {
    while (!stop_) {
      Peer peer = server_.accept(20);
      if (peer.open()) serving_.emplace_back(&BusyOrigin::serve, this, std::move(peer));
    }
  }
  void serve(Peer peer) {
    const std::string big = "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + big_;
    for (;;) {
      const std::string request = peer.read_message();
      if (request.empty()) return;
      if (request.starts_with("GET /big")) {
        peer.send(big.substr(0, 30'000));
        halfway();
        peer.send(big.substr(30'000));
      } else if (request.starts_with("GET /chunked")) {
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        halfway();
        peer.send("5\r\nworld\r\n0\r\n\r\n");
      } else {
        halfway();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      }
    }
  }

  std::string big_;
  Server server_;
  std::atomic<bool> stop_{false};
  std::atomic<int> wanted_{0};
  std::atomic<int> gathered_{0};
  std::vector<std::thread> serving_;
  std::thread thread_;
};

/// Answers any number of HTTP/2 requests, a thread a connection: "ok" when one is whole.
class BusyHttp2 {
 public:
  BusyHttp2() : thread_([this] { accept_all(); }) {}
  ~BusyHttp2() {
    stop_ = true;
    thread_.join();
    for (std::thread& each : serving_) each.join();
  }
  [[nodiscard]] std::uint16_t port() const { return server_.port(); }

 private:
  void accept_all() {
    while (!stop_) {
      Peer peer = server_.accept(20);
      if (peer.open()) serving_.emplace_back(&BusyHttp2::serve, std::move(peer));
    }
  }
  static void serve(Peer peer) {
    namespace h2 = http::h2;
    (void)peer.read_bytes(h2::kPreface.size());
    peer.send(h2::frame(h2::kSettings, 0, 0));
    for (;;) {
      const std::string head = peer.read_bytes(9);
      if (head.size() < 9) return;
      const std::uint32_t size = h2::number(std::string_view(head).substr(0, 3));
      const std::uint32_t stream = h2::number(std::string_view(head).substr(5, 4));
      (void)peer.read_bytes(size);
      const auto flags = static_cast<std::uint8_t>(head[4]);
      std::string answer;
      if (head[3] == h2::kSettings && (flags & h2::kAck) == 0) {
        answer = h2::frame(h2::kSettings, h2::kAck, 0);
      } else if (head[3] == h2::kData && size > 0) {
        answer = h2::frame(h2::kWindowUpdate, 0, 0, h2::big_endian(size, 4));
      }
      if (head[3] <= h2::kHeaders && (flags & h2::kEndStream) != 0) {
        answer += h2::headers(stream, {{":status", "200"}, {"content-length", "2"}}, false) +
                  h2::frame(h2::kData, h2::kEndStream, stream, "ok");
      }
      if (!answer.empty()) peer.send(answer);
    }
  }

  Server server_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> serving_;
  std::thread thread_;
};

const std::string& request_of(std::size_t kind) {
  static const std::string upload(5000, 'u');
  static const std::string requests[] = {
      "GET /small HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nCookie: a=b; c=d\r\n"
      "X-Amzn-Mtls-Clientcert-Subject: CN=me\r\n\r\n",
      "GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + upload,
      "GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n",
  };
  return requests[kind % 4];
}

std::string response_of(Peer& client, std::size_t kind) {
  return kind % 4 == 3 ? client.read_until("0\r\n\r\n") : client.read_message();
}

/// The most that can be under way at once, of each kind and in each stage: what the pools hold from
/// then on is enough, whatever the timing.
void all_at_once(std::vector<Peer>& clients, BusyOrigin& origin) {
  for (std::size_t round = 0; round < 12; ++round) {
    origin.gather(static_cast<int>(clients.size()));
    const std::string& request = request_of(round);
    for (Peer& client : clients) ASSERT_TRUE(client.send(request.substr(0, request.size() / 2)));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    for (Peer& client : clients) ASSERT_TRUE(client.send(request.substr(request.size() / 2)));
    for (Peer& client : clients) {
      ASSERT_TRUE(response_of(client, round).starts_with("HTTP/1.1 200"));
    }
  }
  origin.gather(0);
}

void one_round(std::vector<Peer>& clients, std::size_t turn) {
  for (std::size_t i = 0; i < clients.size(); ++i) {
    ASSERT_TRUE(clients[i].send(request_of(turn + i)));
  }
  for (std::size_t i = 0; i < clients.size(); ++i) {
    const std::string got = response_of(clients[i], turn + i);
    ASSERT_TRUE(got.starts_with("HTTP/1.1 200")) << got.substr(0, 200);
  }
}

/// Conditions of every kind that do not match; then a rule that changes all it can.
std::vector<config::Rule> rules_that_are_tried() {
  std::vector<config::Rule> rules(8);
  rules[0].when = {.hosts = {"a"}, .headers = {{"User-Agent", {"x*y"}}}};
  rules[1].when = {.paths = {"/small"}, .cookies = {{"a", {"c"}}, {"c", {"*"}}}};
  rules[2].when = {.methods = {"GET"}, .query = {{"q", {"1"}}}};
  rules[3].when = {.source_ips = {{"10.0.0.0", 8}}};
  rules[4].when = {.headers_regex = {{"Host", {"^b+$"}}}};
  rules[5].when = {.paths_regex = {"^/(x|y)+$"}};
  rules[6].when = {.share = 0.0};
  rules[7].when.any = {{.hosts = {"*.a"}}, {.scheme = "https"}};
  for (config::Rule& rule : rules) rule.then = config::Forward{"web"};
  config::Rule& busy = rules.emplace_back();
  busy.when.paths = {"/small"};
  busy.then = config::Forward{"", {{"web", 1}}};
  busy.rewrite = {.host = "b.#{host}", .path_prefix_from = "/", .path_prefix_to = "/x"};
  busy.rewrite.query_add = {{"from", "#{client_ip}"}};
  busy.request_headers.set = {{"X-Id", "#{request_id}"}, {"User-Agent", "lbd"}};
  busy.response_headers = {.remove = {"Server"}, .add = {{"X-Path", "#{path}"}}};
  busy.access.deny = {{"192.0.2.0", 24}};
  busy.in_flight_limits = {{.by = config::RateKey::cookie, .name = "c", .requests = 1000}};
  busy.rate_limits = {{.by = config::RateKey::source_ip, .requests = 100'000, .burst = 1'000'000}};
  return rules;
}

void expect_no_allocation(proxy::RecordSink* log) {
  MarkingSink sink(log);
  BusyOrigin origin;
  {
    Plant plant(1, &sink);
    plant.target(origin.port());
    plant.listener.rules = rules_that_are_tried();
    plant.publish_and_wait();
    std::vector<Peer> clients;
    for (int i = 0; i < 8; ++i) clients.push_back(Peer::connect(plant.port()));
    all_at_once(clients, origin);
    for (std::size_t turn = 0; turn < 128; ++turn) one_round(clients, turn);  // 1,024 requests
    ASSERT_FALSE(::testing::Test::HasFatalFailure());
    abort_on_allocation = std::getenv("LBD_ABORT_ON_ALLOCATION") != nullptr;
    const std::uint64_t before = allocations.load();
    for (std::size_t turn = 0; turn < 1250; ++turn) one_round(clients, turn);  // 10,000 requests
    const std::uint64_t made = allocations.load() - before;
    abort_on_allocation = false;
    EXPECT_EQ(made, 0u);
    // The instrument works: what is not steady state does allocate on that thread.
    Peer fresh = Peer::connect(plant.port());
    fresh.send("GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(fresh.read_all().ends_with("ok"));
    EXPECT_GT(allocations.load(), before);
  }
}

TEST(Allocations, TellingOfACertificateMakesNone) {
  if (!LBD_COUNTS) GTEST_SKIP() << "a sanitizer owns malloc";
  auto tls = std::make_shared<net::TlsInfo>();
  const std::string text(3000, 'x');
  tls->client_certificate = std::make_unique<const net::ClientCertificate>(
      net::ClientCertificate{text, text, text, text, text});
  proxy::ClientInfo client;
  client.tls = tls;
  const std::string_view bytes = "GET / HTTP/1.1\r\nHost: a\r\nX-Amzn-Mtls-Clientcert: b\r\n\r\n";
  BufferPool pool;
  Buffer scratch(pool);
  http::RequestHead head;
  std::vector<http::Header> out;
  std::uint64_t before = 0;
  for (int i = 0; i < 1000; ++i) {
    if (i == 1) before = allocations.load();  // the room is there
    counted_thread = true;
    ASSERT_EQ(http::parse_request_head(bytes, head), Fault::none);
    proxy::vouch_for_certificate(client, head);
    proxy::request_headers({head, client, {}, "id", "1.1 lbd"}, scratch, out);
    counted_thread = false;
  }
  EXPECT_GE(out.size(), 5u);
  EXPECT_EQ(allocations.load(), before);
}

TEST(Allocations, RememberingRequestsMakesNoneOnceThereIsRoom) {
  if (!LBD_COUNTS) GTEST_SKIP() << "a sanitizer owns malloc";
  worker::Recent recent;
  const std::string long_text(5000, 'x');
  proxy::RequestRecord record;
  record.id = "id";
  record.target = record.authority = long_text;
  const std::uint64_t before = allocations.load();
  counted_thread = true;
  for (const Fault reason : {Fault::connect_failed, Fault::rate_limited}) {
    record.reason = reason;
    for (std::size_t i = 0; i < 3 * worker::Recent::kOthersMax; ++i) recent.write(record);
  }
  counted_thread = false;
  EXPECT_EQ(allocations.load(), before);
}

TEST(Allocations, TenThousandRequestsToAnHttp2TargetMakeNone) {
  if (!LBD_COUNTS) GTEST_SKIP() << "a sanitizer owns malloc";
  MarkingSink sink(nullptr);
  BusyHttp2 origin;
  Plant plant(1, &sink);
  plant.group.http_version = config::HttpVersion::http_2;
  plant.target(origin.port());
  plant.publish_and_wait();
  std::vector<Peer> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(Peer::connect(plant.port()));
  const auto round = [&clients](std::size_t turn) {
    for (std::size_t i = 0; i < clients.size(); ++i) {
      ASSERT_TRUE(clients[i].send(request_of((turn + i) % 2 * 2)));
    }
    for (Peer& client : clients) ASSERT_TRUE(client.read_message().ends_with("ok"));
  };
  for (std::size_t turn = 0; turn < 256; ++turn) round(turn);
  ASSERT_FALSE(::testing::Test::HasFatalFailure());
  abort_on_allocation = std::getenv("LBD_ABORT_ON_ALLOCATION") != nullptr;
  const std::uint64_t before = allocations.load();
  for (std::size_t turn = 0; turn < 1250; ++turn) round(turn);
  const std::uint64_t made = allocations.load() - before;
  abort_on_allocation = false;
  EXPECT_EQ(made, 0u);
}

TEST(Allocations, TenThousandRequestsMakeNone) {
  if (!LBD_COUNTS) GTEST_SKIP() << "a sanitizer owns malloc";
  expect_no_allocation(nullptr);
}

TEST(Allocations, TenThousandRequestsMakeNoneWithTheAccessLogOn) {
  if (!LBD_COUNTS) GTEST_SKIP() << "a sanitizer owns malloc";
  const std::string path = ::testing::TempDir() + "lbd-alloc-access-" + std::to_string(::getpid());
  config::AccessLog settings;
  settings.path = path;
  auto log = worker::AccessLog::open(settings, 1);
  ASSERT_TRUE(log);
  expect_no_allocation((*log)->sink(0));
  EXPECT_TRUE(eventually([&] { return (*log)->lines() > 11'000; }));
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace lbd
