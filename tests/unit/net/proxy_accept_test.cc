#include "lbd/net/proxy_accept.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>

namespace lbd::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Heard = Result<std::optional<ProxyEndpoints>, ProxyFault>;

constexpr std::string_view kLine = "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n";

class ProxyAcceptTest : public testing::Test {
 protected:
  ProxyAcceptTest() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
    peer = fds[1];
    accept.emplace(loop, fds[0]);
  }
  ~ProxyAcceptTest() override { ::close(peer); }

  void send(std::string_view text) const {
    EXPECT_EQ(::send(peer, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  void start(Duration patience = seconds(10)) {
    group.spawn(keep(*accept, loop, loop.clock().now() + patience, heard));
  }
  void finish() {
    while (!heard) turn();
  }
  void turn() {
    loop.post([this] { loop.stop(); });
    loop.run();
  }
  static Task<> keep(ProxyAccept& accept, Loop& loop, TimePoint due, std::optional<Heard>& heard) {
    (void)loop;
    heard = co_await accept.run(due);
  }

  Loop loop;
  int peer = -1;
  std::optional<ProxyAccept> accept;
  std::optional<Heard> heard;
  TaskGroup group;
};

TEST_F(ProxyAcceptTest, LeavesEveryByteAfterTheHeaderInTheSocket) {
  send(std::string(kLine) + "GET / HTTP/1.1\r\n\r\n");
  start();
  finish();
  ASSERT_TRUE(heard->has_value());
  EXPECT_EQ((**heard)->source.text(), "192.0.2.1:1234");
  const int fd = accept->release();
  std::array<char, 100> rest{};
  const ssize_t got = ::recv(fd, rest.data(), rest.size(), MSG_DONTWAIT);
  EXPECT_EQ(std::string(rest.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))),
            "GET / HTTP/1.1\r\n\r\n");
  ::close(fd);
}

TEST_F(ProxyAcceptTest, WaitsForAHeaderThatComesByteByByte) {
  start();
  for (const char c : kLine) {
    EXPECT_FALSE(heard);
    send({&c, 1});
    for (int i = 0; i < 3; ++i) turn();
  }
  finish();
  EXPECT_TRUE(heard->has_value());
}

TEST_F(ProxyAcceptTest, AHeaderLongerThanOneReadIsReadToItsEnd) {
  std::string header("\r\n\r\n\0\r\nQUIT\n\x20\0\x0f\xff", 16);
  header += std::string(0xfff, 'x') + "next";
  send(header);
  start();
  finish();
  ASSERT_TRUE(heard->has_value());
  const int fd = accept->release();
  std::array<char, 100> rest{};
  EXPECT_EQ(::recv(fd, rest.data(), rest.size(), MSG_DONTWAIT), 4);
  ::close(fd);
}

TEST_F(ProxyAcceptTest, EndsAtItsDeadlineWhateverTrickles) {
  start(milliseconds(50));
  send(kLine.substr(0, 10));
  finish();
  EXPECT_EQ(heard->error(), ProxyFault::timeout);
}

TEST_F(ProxyAcceptTest, APeerThatLeavesInTheMiddleIsGone) {
  send(kLine.substr(0, 10));
  ::shutdown(peer, SHUT_WR);
  start();
  finish();
  EXPECT_EQ(heard->error(), ProxyFault::closed);
}

TEST_F(ProxyAcceptTest, WhatIsNoHeaderIsRefusedAtOnceAndTheSocketClosed) {
  send("GET / HTTP/1.1\r\n");
  start();
  finish();
  EXPECT_EQ(heard->error(), ProxyFault::malformed);
  accept.reset();
  std::array<char, 1> byte{};
  EXPECT_LE(::recv(peer, byte.data(), 1, MSG_DONTWAIT), 0);
}

TEST_F(ProxyAcceptTest, CancelEndsItLater) {
  start();
  accept->cancel();
  EXPECT_FALSE(heard);
  finish();
  EXPECT_EQ(heard->error(), ProxyFault::closed);
}

}  // namespace
}  // namespace lbd::net
