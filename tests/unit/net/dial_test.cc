// Dialling: Unix sockets, greetings. TCP as such is in stream_test.cc.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lbd/net/acceptor.h"
#include "lbd/net/tcp_stream.h"

namespace lbd::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class DialTest : public testing::Test {
 protected:
  ~DialTest() override {
    for (const int fd : open) ::close(fd);
  }
  void turn() {
    loop.post([this] { loop.stop(); });
    loop.run();
  }
  template <class T>
  T run(Task<T> task) {
    std::optional<T> result;
    TaskGroup group;
    group.spawn(keep(std::move(task), result));
    while (!result) turn();
    return std::move(*result);
  }
  template <class T>
  static Task<> keep(Task<T> task, std::optional<T>& result) {
    result = co_await task;
  }
  IoResult read(Stream& stream, std::span<char> into) { return run(read_some(stream, into)); }
  static Task<IoResult> read_some(Stream& stream, std::span<char> into) {
    co_return co_await stream.read(into);
  }

  Loop loop;
  std::vector<int> open;
};

/// A Unix socket under an abstract name, with a queue of this length.
int listen_unix(const Endpoint& at, int backlog) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::bind(fd, at.data(), at.size()), 0);
  EXPECT_EQ(::listen(fd, backlog), 0);
  return fd;
}

Endpoint unix_name(const char* name) {
  return *Endpoint::of_unix("@lbd-test-" + std::to_string(::getpid()) + name);
}

TEST_F(DialTest, AUnixSocketIsDialledLikeAnyOther) {
  const Endpoint at = unix_name("plain");
  EXPECT_EQ(run(dial_tcp(loop, {at}, loop.clock().now() + seconds(5))).error().error, ECONNREFUSED);
  const int fd = listen_unix(at, 1);
  open.push_back(fd);
  Dialled dialled = run(dial_tcp(loop, {at, nullptr, "hello"}, loop.clock().now() + seconds(5)));
  ASSERT_TRUE(dialled.has_value());
  const int peer = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
  open.push_back(peer);
  EXPECT_EQ(::send(peer, "answer", 6, MSG_NOSIGNAL), 6);
  ::shutdown(peer, SHUT_WR);
  std::array<char, 100> got{};
  EXPECT_EQ(read(**dialled, got).bytes, 6U);
  EXPECT_STREQ(got.data(), "answer");
  EXPECT_EQ(read(**dialled, got).fault, Fault::closed);
  EXPECT_EQ(::recv(peer, got.data(), got.size(), MSG_DONTWAIT), 5);  // the greeting
}

TEST_F(DialTest, AUnixSocketWithAFullQueueIsAskedAgain) {
  const Endpoint at = unix_name("full");
  const int fd = listen_unix(at, 0);
  open.push_back(fd);
  const int filler = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  open.push_back(filler);
  ASSERT_EQ(::connect(filler, at.data(), at.size()), 0);
  const TimePoint began = loop.clock().now();
  const Dialled late = run(dial_tcp(loop, {at}, began + milliseconds(100)));
  EXPECT_EQ(late.error().fault, Fault::connect_timeout);
  EXPECT_GE(loop.clock().now(), began + milliseconds(100));
  std::thread acceptor([fd] {
    std::this_thread::sleep_for(milliseconds(50));
    ::close(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
  });
  const Dialled dialled = run(dial_tcp(loop, {at}, loop.clock().now() + seconds(5)));
  acceptor.join();
  EXPECT_TRUE(dialled.has_value());
}

TEST_F(DialTest, ADialThatWaitsForRoomInAQueueCanBeCalledOff) {
  const Endpoint at = unix_name("off");
  open.push_back(listen_unix(at, 0));
  const int filler = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  open.push_back(filler);
  ASSERT_EQ(::connect(filler, at.data(), at.size()), 0);
  TcpDial dial(loop);
  std::optional<Dialled> dialled;
  TaskGroup group;
  group.spawn(keep(dial.run({at}, loop.clock().now() + seconds(60)), dialled));
  for (int i = 0; i < 20; ++i) turn();
  EXPECT_FALSE(dialled);
  dial.cancel();
  while (!dialled) turn();
  EXPECT_EQ(dialled->error().fault, Fault::cancelled);
}

TEST_F(DialTest, AGreetingIsTheFirstThatThePeerReads) {
  const Outcome<int> fd = listen_tcp(*SocketAddress::parse("127.0.0.1", 0));
  ASSERT_TRUE(fd.has_value());
  open.push_back(*fd);
  TcpDial::To to{SocketAddress::local_of(*fd), nullptr, "hello, "};
  Dialled dialled = run(dial_tcp(loop, std::move(to), loop.clock().now() + seconds(5)));
  ASSERT_TRUE(dialled.has_value());
  std::string text = "and more";
  const iovec piece{text.data(), text.size()};
  IoWait wait;
  EXPECT_TRUE((*dialled)->begin_write({&piece, 1}, wait));
  const int peer = ::accept4(*fd, nullptr, nullptr, SOCK_CLOEXEC);
  open.push_back(peer);
  std::array<char, 100> got{};
  EXPECT_EQ(::recv(peer, got.data(), 15, MSG_WAITALL), 15);
  EXPECT_STREQ(got.data(), "hello, and more");
}

}  // namespace
}  // namespace lbd::net
