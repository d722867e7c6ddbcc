#include "lbd/net/curl_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "lbd/net/loop.h"

namespace lbd::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A server of one thread per connection that answers each request with what `answer` returns for
/// its bytes; "" closes, "RST" resets, "WAIT" stays silent until the server ends.
class Server {
 public:
  using Answer = std::function<std::string(const std::string&)>;
  explicit Server(Answer answer) : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::listen(listener_, 64);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~Server() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [socket, open] : open_) {
        if (open) ::shutdown(socket, SHUT_RDWR);
      }
    }
    for (std::thread& each : threads_) each.join();
    ::close(listener_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] std::string url(const std::string& path = "/") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  [[nodiscard]] std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void accept_all() {
    while (!stopping_) {
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0) continue;
      ++connections_;
      const std::lock_guard lock(mutex_);
      open_[socket] = true;
      threads_.emplace_back([this, socket] { serve(socket); });
    }
  }

  static bool complete(const std::string& text) {
    const std::size_t end = text.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    const std::size_t at = text.find("Content-Length: ");
    const std::size_t body = at < end ? std::stoul(text.substr(at + 16)) : 0;
    return text.size() >= end + 4 + body;
  }

  void serve(int socket) {
    std::string request;
    char buffer[65536];
    for (;;) {
      const ssize_t count = ::recv(socket, buffer, sizeof buffer, 0);
      if (count <= 0) break;
      request.append(buffer, static_cast<std::size_t>(count));
      if (!complete(request)) continue;
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      const std::string answer = answer_(request);
      request.clear();
      if (answer.empty()) break;
      if (answer == "WAIT") continue;
      if (answer == "RST") {
        const linger now{1, 0};
        ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        break;
      }
      ::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL);
    }
    const std::lock_guard lock(mutex_);
    open_[socket] = false;
    ::close(socket);
  }

  Answer answer_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::thread acceptor_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::map<int, bool> open_;
  std::vector<std::string> requests_;
  std::atomic<int> connections_{0};
  std::atomic<bool> stopping_{false};
};

std::string ok(const std::string& body, const std::string& headers = "") {
  return "HTTP/1.1 200 OK\r\n" + headers + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

Task<> store_reply(CurlClient& client, HttpRequest request, HttpReply& into) {
  into = co_await client.send(std::move(request));
}

class CurlClientTest : public ::testing::Test {
 protected:
  /// Runs the exchanges side by side until all are over.
  std::vector<HttpReply> send_all(const std::vector<HttpRequest>& requests) {
    std::vector<HttpReply> replies(requests.size());
    struct Run {
      static Task<> all(CurlClient& client, const std::vector<HttpRequest>& list,
                        std::vector<HttpReply>& into, Loop& loop) {
        TaskGroup group;
        for (std::size_t i = 0; i < list.size(); ++i) {
          group.spawn(store_reply(client, list[i], into[i]));
        }
        co_await group.join();
        loop.stop();
      }
    };
    TaskGroup outer;
    loop->post([&] { outer.spawn(Run::all(*client, requests, replies, *loop)); });
    loop->run();
    return replies;
  }
  HttpReply send(HttpRequest request) { return send_all({std::move(request)}).front(); }
  /// A stopped loop does not run again: each batch of a test that needs two gets them from here.
  void renew() {
    client.reset();
    loop = std::make_unique<Loop>();
    client = std::make_unique<CurlClient>(*loop);
  }
  static HttpRequest get(const std::string& url) {
    HttpRequest request;
    request.url = url;
    return request;
  }

  std::unique_ptr<Loop> loop = std::make_unique<Loop>();
  std::unique_ptr<CurlClient> client = std::make_unique<CurlClient>(*loop);
};

TEST_F(CurlClientTest, SendsTheHeadersGivenAndNoOthers) {
  Server server([](const std::string&) { return ok("hello", "X-Reply:  a b \r\n"); });
  HttpRequest request = get(server.url("/a/../b?x=%20"));
  request.method = "POST";
  request.body = std::string(5000, 'x');  // enough for curl to want Expect: 100-continue
  request.headers = {{"Host", "ec2.example.com"}, {"X-Empty", ""}};
  const HttpReply reply = send(request);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "hello");
  EXPECT_EQ(reply.header("x-reply"), "a b");
  EXPECT_EQ(reply.header("absent"), "");
  EXPECT_TRUE(reply.sent);
  ASSERT_EQ(server.requests().size(), 1U);
  const std::string sent = server.requests().front();
  EXPECT_EQ(sent.substr(0, sent.find("\r\n\r\n")),
            "POST /a/../b?x=%20 HTTP/1.1\r\nHost: ec2.example.com\r\nX-Empty:\r\n"
            "Content-Length: 5000");
}

TEST_F(CurlClientTest, AnEmptyPutHasALengthAndAHeadHasNoBody) {
  Server server([](const std::string& request) {
    return request.starts_with("HEAD") ? "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" : ok("t");
  });
  HttpRequest put = get(server.url());
  put.method = "PUT";
  EXPECT_EQ(send(put).status, 200);
  EXPECT_TRUE(server.requests().front().starts_with("PUT / HTTP/1.1\r\n"));
  EXPECT_NE(server.requests().front().find("Content-Length: 0\r\n"), std::string::npos);
  renew();
  HttpRequest head = get(server.url());
  head.method = "HEAD";
  EXPECT_EQ(send(head).status, 200);
}

Task<> send_twice(CurlClient& client, HttpRequest request, Loop& loop) {
  for (int i = 0; i < 3; ++i) {
    HttpRequest copy = request;
    const HttpReply reply = co_await client.send(std::move(copy));
    EXPECT_EQ(reply.status, 200);
  }
  loop.stop();
}

TEST_F(CurlClientTest, AConnectionIsUsedAgain) {
  Server server([](const std::string&) { return ok("x"); });
  TaskGroup group;
  loop->post([&] { group.spawn(send_twice(*client, get(server.url()), *loop)); });
  loop->run();
  EXPECT_EQ(server.requests().size(), 3U);
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(CurlClientTest, ManyExchangesRunSideBySide) {
  Server server([](const std::string&) {
    std::this_thread::sleep_for(milliseconds(100));
    return ok("x");
  });
  const auto before = std::chrono::steady_clock::now();
  for (const HttpReply& each : send_all(std::vector<HttpRequest>(20, get(server.url())))) {
    EXPECT_EQ(each.status, 200) << each.error;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(1));
}

TEST_F(CurlClientTest, ARefusedConnectionSentNothing) {
  std::string url;
  {
    Server gone([](const std::string&) { return ok(""); });
    url = gone.url();
  }
  const HttpReply reply = send(get(url));
  EXPECT_EQ(reply.status, 0);
  EXPECT_EQ(reply.error, "connection refused");
  EXPECT_FALSE(reply.sent);
}

TEST_F(CurlClientTest, AResetOrCloseAfterTheRequestMayHaveBeenReceived) {
  Server reset([](const std::string&) { return "RST"; });
  Server closed([](const std::string&) { return ""; });
  Server cut([](const std::string&) {
    return "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc";
  });
  HttpRequest to_cut = get(cut.url());
  to_cut.timeout = milliseconds(300);
  const std::vector<HttpReply> replies = send_all({get(reset.url()), get(closed.url()), to_cut});
  EXPECT_EQ(replies[0].error, "connection reset by peer");
  EXPECT_EQ(replies[1].error, "connection closed without a reply");
  EXPECT_EQ(replies[2].error, "timed out after 0.3 s");
  for (const HttpReply& each : replies) {
    EXPECT_EQ(each.status, 0);
    EXPECT_TRUE(each.sent);
    EXPECT_TRUE(each.body.empty());
  }
}

TEST_F(CurlClientTest, ASilentServerTimesOut) {
  Server server([](const std::string&) { return "WAIT"; });
  HttpRequest request = get(server.url());
  request.timeout = milliseconds(200);
  const auto before = std::chrono::steady_clock::now();
  const HttpReply reply = send(request);
  EXPECT_EQ(reply.error, "timed out after 0.2 s");
  EXPECT_TRUE(reply.sent);
  const auto took = std::chrono::steady_clock::now() - before;
  EXPECT_GE(took, milliseconds(200));
  EXPECT_LT(took, seconds(2));
}

// The listen queue is full, so that the handshake never ends.
TEST_F(CurlClientTest, AConnectThatNeverEndsTimesOutByItsOwnDeadline) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::listen(listener, 0);
  socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  std::vector<int> fillers;
  for (int i = 0; i < 4; ++i) {
    fillers.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    static_cast<void>(
        ::connect(fillers.back(), reinterpret_cast<sockaddr*>(&address), sizeof address));
  }
  HttpRequest request = get("http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
  request.connect_timeout = milliseconds(300);
  request.timeout = seconds(5);
  const HttpReply reply = send(request);
  EXPECT_EQ(reply.error, "connect timed out after 0.3 s");
  EXPECT_FALSE(reply.sent);
  for (const int each : fillers) ::close(each);
  ::close(listener);
}

TEST_F(CurlClientTest, AReplyAboveItsLimitIsCutOff) {
  Server server([](const std::string&) { return ok(std::string(100'000, 'x')); });
  HttpRequest request = get(server.url());
  request.reply_bytes_max = 99'999;
  const HttpReply reply = send(request);
  EXPECT_EQ(reply.status, 0);
  EXPECT_EQ(reply.error, "reply larger than 99999 bytes");
  renew();
  request.reply_bytes_max = 100'000;
  EXPECT_EQ(send(request).body.size(), 100'000U);
}

TEST_F(CurlClientTest, RedirectsAreNotFollowedAndInterimHeadersNotKept) {
  Server server([](const std::string&) {
    return std::string("HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n") +
           "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
  });
  const HttpReply reply = send(get(server.url()));
  EXPECT_EQ(reply.status, 302);
  EXPECT_EQ(reply.header("x-early"), "");
  EXPECT_EQ(reply.header("location"), "http://127.0.0.1:1/");
}

TEST_F(CurlClientTest, ProxyVariablesAreIgnored) {
  Server server([](const std::string&) { return ok("direct"); });
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);
  const HttpReply reply = send(get(server.url()));
  ::unsetenv("http_proxy");
  EXPECT_EQ(reply.body, "direct") << reply.error;
}

TEST_F(CurlClientTest, WhatIsNotHttpIsAnErrorWithWords) {
  Server server([](const std::string&) { return "SSH-2.0-OpenSSH\r\n"; });
  const std::vector<HttpReply> replies =
      send_all({get(server.url()), get("ftp://127.0.0.1/"), get("")});
  for (const HttpReply& each : replies) {
    EXPECT_EQ(each.status, 0);
    EXPECT_FALSE(each.error.empty());
  }
  EXPECT_FALSE(replies[1].sent);
}

TEST_F(CurlClientTest, AHeaderWithALineBreakIsRefused) {
  Server server([](const std::string&) { return ok(""); });
  HttpRequest request = get(server.url());
  request.headers = {{"x", "a\r\nX-Evil: 1"}};
  EXPECT_EQ(send(request).error, "a header holds a line break");
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(CurlClientTest, DestructionEndsWhatIsUnderWay) {
  Server server([](const std::string&) { return "WAIT"; });
  std::vector<HttpReply> replies(3);
  TaskGroup group;
  loop->post([&] {
    for (HttpReply& each : replies) group.spawn(store_reply(*client, get(server.url()), each));
  });
  std::thread stopper([this] {
    std::this_thread::sleep_for(milliseconds(100));
    loop->post([this] { loop->stop(); });
  });
  loop->run();
  stopper.join();
  EXPECT_EQ(group.running(), 3U);
  client.reset();
  EXPECT_EQ(group.running(), 0U);
  for (const HttpReply& each : replies) {
    EXPECT_EQ(each.error, "cancelled");
    EXPECT_TRUE(each.sent);
  }
}

TEST_F(CurlClientTest, AfterCloseNothingIsSent) {
  Server server([](const std::string&) { return ok(""); });
  client->close();
  EXPECT_EQ(send(get(server.url())).error, "cancelled");
  EXPECT_EQ(server.connections(), 0);
}

}  // namespace
}  // namespace lbd::net
