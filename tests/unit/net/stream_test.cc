#include "lbd/net/stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "lbd/net/acceptor.h"
#include "lbd/net/loop_asio.h"
#include "lbd/net/tcp_stream.h"
#include "tests/support/descriptors.h"

namespace {
// Of other tests' threads too. NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<std::size_t> reads_made = 0;
}  // namespace

// In place of libc's, to count.
extern "C" ssize_t recv(int fd, void* into, size_t size, int flags) {
  ++reads_made;
  return ::syscall(SYS_recvfrom, fd, into, size, flags, nullptr, nullptr);
}

namespace lbd::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// One read after the other into a small buffer, by callback.
struct Reader {
  explicit Reader(Stream& from) : stream(from) {}

  Stream& stream;
  std::vector<char> room = std::vector<char>(16);
  std::string got;
  Fault ended = Fault::none;
  std::size_t reads = 0;
  std::size_t reads_max = SIZE_MAX;
  std::function<void()> on_read;
  IoWait wait;

  void start() {
    wait = {};
    wait.notify = &Reader::done;
    wait.context = this;
    EXPECT_FALSE(stream.begin_read(room, wait));
  }
  static void done(void* context) {
    auto* self = static_cast<Reader*>(context);
    ++self->reads;
    self->got.append(self->room.data(), self->wait.result.bytes);
    self->ended = self->wait.result.fault;
    const bool more = self->ended == Fault::none && self->reads < self->reads_max;
    if (self->on_read) self->on_read();
    if (more) self->start();
  }
};

/// Each on a loop of its own and on one that Asio runs.
class StreamTest : public testing::TestWithParam<bool> {
 protected:
  StreamTest() {
    if (GetParam()) (void)asio_of(loop);
  }
  ~StreamTest() override {
    for (const int fd : open) ::close(fd);
  }

  struct Pair {
    std::unique_ptr<Stream> stream;
    int peer;
  };
  Pair make_pair() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
    open.push_back(fds[1]);
    return {adopt_tcp(loop, fds[0]), fds[1]};
  }
  static void send(int fd, std::string_view text) {
    EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  /// Runs the loop until `holds`; false after ten seconds.
  bool run_until(const std::function<bool()>& holds) {
    const TimePoint end = loop.clock().now() + seconds(10);
    const std::function<void()> look = [&] {
      if (holds() || loop.clock().now() > end) {
        loop.stop();
      } else {
        loop.post(look);
      }
    };
    loop.post(look);
    loop.run();
    return holds();
  }
  /// As many turns as any of these tests needs for what is ready already.
  void run_some() {
    int turns = 0;
    run_until([&] { return ++turns > 20; });
  }
  template <class T>
  T run(Task<T> task) {
    std::optional<T> result;
    TaskGroup group;
    group.spawn(keep(std::move(task), result));
    EXPECT_TRUE(run_until([&] { return result.has_value(); }));
    return std::move(*result);
  }
  template <class T>
  static Task<> keep(Task<T> task, std::optional<T>& result) {
    result = co_await task;
  }

  Loop loop;
  std::vector<int> open;
};

INSTANTIATE_TEST_SUITE_P(Loops, StreamTest, testing::Bool(), [](const auto& each) {
  return each.param ? std::string("RunByAsio") : std::string("OnItsOwn");
});

TEST_P(StreamTest, AReadOfWhatHasNotComeYetCostsNoSystemCall) {
  Pair pair = make_pair();
  Reader reader(*pair.stream);
  reads_made = 0;
  reader.start();
  run_some();
  EXPECT_EQ(reads_made, 0U);
  send(pair.peer, "one");
  EXPECT_TRUE(run_until([&] { return reader.got == "one"; }));
  run_some();
  EXPECT_EQ(reads_made, 1U);  // and the second, which has begun, has cost none
  send(pair.peer, "two");
  EXPECT_TRUE(run_until([&] { return reader.got == "onetwo"; }));
  EXPECT_EQ(reads_made, 2U);
  pair.stream->close();
  EXPECT_TRUE(run_until([&] { return reader.ended == Fault::cancelled; }));
}

TEST_P(StreamTest, MoreThanOneReadTakesIsReadToItsEnd) {
  Pair pair = make_pair();
  Reader reader(*pair.stream);
  const std::string text(1000, 'x');
  send(pair.peer, text);
  run_some();  // readable before anyone reads
  reader.start();
  EXPECT_TRUE(run_until([&] { return reader.got == text; }));
  pair.stream->close();
  EXPECT_TRUE(run_until([&] { return reader.ended == Fault::cancelled; }));
}

TEST_P(StreamTest, AnEndThatCameWithTheLastBytesIsSeen) {
  Pair pair = make_pair();
  Reader reader(*pair.stream);
  send(pair.peer, "last");
  ::shutdown(pair.peer, SHUT_WR);
  reader.start();
  EXPECT_TRUE(run_until([&] { return reader.ended != Fault::none; }));
  EXPECT_EQ(reader.ended, Fault::closed);
  EXPECT_EQ(reader.got, "last");
}

TEST_P(StreamTest, AnEndAfterTheLastBytesIsSeen) {
  Pair pair = make_pair();
  Reader reader(*pair.stream);
  send(pair.peer, "last");
  reader.start();
  EXPECT_TRUE(run_until([&] { return reader.got == "last"; }));
  ::shutdown(pair.peer, SHUT_WR);
  EXPECT_TRUE(run_until([&] { return reader.ended == Fault::closed; }));
}

TEST_P(StreamTest, CancelEndsAReadLaterAndLosesNoByte) {
  Pair pair = make_pair();
  Reader reader(*pair.stream);
  reader.start();
  run_some();
  send(pair.peer, "kept");
  pair.stream->cancel();
  EXPECT_FALSE(reader.wait.done);  // never inside the call
  EXPECT_TRUE(run_until([&] { return reader.ended == Fault::cancelled; }));
  EXPECT_EQ(reader.got, "");
  reader.start();
  EXPECT_TRUE(run_until([&] { return reader.got == "kept"; }));
  pair.stream->close();
  EXPECT_TRUE(run_until([&] { return reader.ended == Fault::cancelled; }));
}

TEST_P(StreamTest, AStreamThatAnotherClosesInTheSameTurnIsNotRead) {
  Pair first = make_pair();
  Pair second = make_pair();
  Reader one(*first.stream);
  Reader two(*second.stream);
  one.reads_max = two.reads_max = 1;
  one.on_read = [&] { second.stream->close(); };
  two.on_read = [&] { first.stream->close(); };
  one.start();
  two.start();
  run_some();
  send(first.peer, "a");
  send(second.peer, "b");
  EXPECT_TRUE(run_until([&] { return one.reads + two.reads == 2; }));
  EXPECT_EQ(one.got.size() + two.got.size(), 1U);  // whichever came first
  EXPECT_NE(one.ended == Fault::cancelled, two.ended == Fault::cancelled);
}

TEST_P(StreamTest, AStreamMayDestroyAnotherThatIsReadyInTheSameTurn) {
  Pair first = make_pair();
  Pair second = make_pair();
  Pair third = make_pair();
  Reader one(*first.stream);
  one.reads_max = 1;
  one.on_read = [&] {
    second.stream.reset();
    third.stream.reset();
  };
  one.start();
  run_some();
  send(third.peer, "c");
  send(first.peer, "a");
  send(second.peer, "b");
  EXPECT_TRUE(run_until([&] { return one.got == "a"; }));
  run_some();
}

TEST_P(StreamTest, AStreamMayBeDestroyedByTheEndOfItsOwnRead) {
  Pair pair = make_pair();
  Reader reader(*pair.stream);
  reader.reads_max = 1;
  reader.on_read = [&] { pair.stream.reset(); };
  reader.start();
  send(pair.peer, "x");
  EXPECT_TRUE(run_until([&] { return pair.stream == nullptr; }));
}

TEST_P(StreamTest, AWriteThatDoesNotFitGoesOnAsThePeerReads) {
  Pair pair = make_pair();
  std::string text(4 << 20, 'w');
  text.back() = 'z';
  const std::array<iovec, 3> pieces{iovec{text.data(), 10}, iovec{nullptr, 0},
                                    iovec{text.data() + 10, text.size() - 10}};
  IoWait wait;
  ASSERT_FALSE(pair.stream->begin_write(pieces, wait));
  std::string got;
  std::vector<char> room(1 << 16);
  EXPECT_TRUE(run_until([&] {
    const ssize_t count = ::read(pair.peer, room.data(), room.size());
    if (count > 0) got.append(room.data(), static_cast<std::size_t>(count));
    return got.size() == text.size();
  }));
  EXPECT_TRUE(run_until([&] { return wait.done; }));
  EXPECT_TRUE(wait.result.ok());
  EXPECT_EQ(wait.result.bytes, text.size());
  EXPECT_TRUE(got == text);
}

TEST_P(StreamTest, AReadAndAWriteThatBothWaitAreBothEndedByClose) {
  Pair pair = make_pair();
  std::string text(4 << 20, 'w');
  const iovec piece{text.data(), text.size()};
  IoWait wait;
  ASSERT_FALSE(pair.stream->begin_write({&piece, 1}, wait));
  Reader reader(*pair.stream);
  reader.start();
  run_some();
  pair.stream->close();
  EXPECT_FALSE(wait.done || reader.wait.done);
  EXPECT_TRUE(run_until([&] { return wait.done && reader.ended != Fault::none; }));
  EXPECT_EQ(wait.result.fault, Fault::cancelled);
  EXPECT_EQ(reader.ended, Fault::cancelled);
  EXPECT_TRUE(pair.stream->begin_read(reader.room, wait = {}));  // closed: over at once
  EXPECT_EQ(wait.result.fault, Fault::cancelled);
}

TEST_P(StreamTest, RoomForAReadIsMadeWhenSomethingHasComeAndOnce) {
  Pair pair = make_pair();
  struct Maker {
    std::array<char, 8> room{};
    int made = 0;
    static std::span<char> make(void* self) {
      ++static_cast<Maker*>(self)->made;
      return static_cast<Maker*>(self)->room;
    }
  } maker;
  IoWait wait;
  ASSERT_FALSE(pair.stream->begin_read({&Maker::make, &maker}, wait));
  run_some();
  EXPECT_EQ(maker.made, 0);
  send(pair.peer, "abc");
  EXPECT_TRUE(run_until([&] { return wait.done; }));
  EXPECT_EQ(maker.made, 1);
  EXPECT_EQ(std::string_view(maker.room.data(), wait.result.bytes), "abc");
  ASSERT_FALSE(pair.stream->begin_read({&Maker::make, &maker}, wait = {}));
  pair.stream->cancel();
  EXPECT_TRUE(run_until([&] { return wait.done; }));
  EXPECT_EQ(wait.result.fault, Fault::cancelled);
  EXPECT_EQ(maker.made, 1);
}

TEST_P(StreamTest, AWriteToAPeerThatHasGoneFails) {
  Pair pair = make_pair();
  ::shutdown(pair.peer, SHUT_RD);
  const iovec piece{const_cast<char*>("x"), 1};
  IoWait wait;
  EXPECT_TRUE(pair.stream->begin_write({&piece, 1}, wait));
  EXPECT_EQ(wait.result.fault, Fault::io_error);
  EXPECT_EQ(wait.result.error, EPIPE);
}

TEST_P(StreamTest, APeerThatSendsWithoutEndStarvesNobody) {
  Pair loud = make_pair();
  Pair quiet = make_pair();
  const int room = 1 << 20;
  ::setsockopt(loud.peer, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  const std::string text(100'000, 'x');
  send(loud.peer, text);
  Reader flood(*loud.stream);
  Reader other(*quiet.stream);
  other.reads_max = 1;
  flood.room.resize(1);  // each read leaves something behind
  std::size_t before = 0;
  other.on_read = [&] { before = flood.reads; };
  other.start();
  flood.on_read = [&] {
    if (flood.reads == 1) send(quiet.peer, "!");
  };
  flood.start();
  EXPECT_TRUE(run_until([&] { return other.got == "!"; }));
  EXPECT_LE(before, 10U);  // a turn of the loop has a handful of rounds
  loud.stream->close();
  EXPECT_TRUE(run_until([&] { return flood.ended == Fault::cancelled; }));
}

TEST_P(StreamTest, AConnectThatIsRefusedSaysSo) {
  const Outcome<int> fd = listen_tcp(*SocketAddress::parse("127.0.0.1", 0));
  ASSERT_TRUE(fd.has_value());
  const SocketAddress address = SocketAddress::local_of(*fd);
  ::close(*fd);
  const Dialled dialled = run(dial_tcp(loop, {address}, loop.clock().now() + seconds(5)));
  ASSERT_FALSE(dialled.has_value());
  EXPECT_EQ(dialled.error().fault, Fault::connect_failed);
  EXPECT_EQ(dialled.error().error, ECONNREFUSED);
}

TEST_P(StreamTest, AConnectThatNobodyAnswersEndsAtItsDeadline) {
  // A queue of one that is full: the kernel drops further SYNs.
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  open.push_back(fd);
  const SocketAddress any = *SocketAddress::parse("127.0.0.1", 0);
  ASSERT_EQ(::bind(fd, any.data(), any.size()), 0);
  ASSERT_EQ(::listen(fd, 0), 0);
  const SocketAddress address = SocketAddress::local_of(fd);
  for (int i = 0; i < 4; ++i) {
    const int filler = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    open.push_back(filler);
    static_cast<void>(::connect(filler, address.data(), address.size()));
  }
  const TimePoint began = loop.clock().now();
  const Dialled dialled = run(dial_tcp(loop, {address}, began + milliseconds(200)));
  ASSERT_FALSE(dialled.has_value());
  EXPECT_EQ(dialled.error().fault, Fault::connect_timeout);
  EXPECT_GE(loop.clock().now(), began + milliseconds(200));
}

TEST_P(StreamTest, AConnectionThatIsResetFailsItsRead) {
  const Outcome<int> fd = listen_tcp(*SocketAddress::parse("127.0.0.1", 0));
  ASSERT_TRUE(fd.has_value());
  open.push_back(*fd);
  Dialled dialled =
      run(dial_tcp(loop, {SocketAddress::local_of(*fd)}, loop.clock().now() + seconds(5)));
  ASSERT_TRUE(dialled.has_value());
  Reader reader(**dialled);
  reader.start();
  run_some();
  const int peer = ::accept4(*fd, nullptr, nullptr, SOCK_CLOEXEC);
  const linger now{1, 0};
  ::setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  ::close(peer);
  EXPECT_TRUE(run_until([&] { return reader.ended != Fault::none; }));
  EXPECT_EQ(reader.ended, Fault::io_error);
  EXPECT_EQ(reader.wait.result.error, ECONNRESET);
}

TEST_P(StreamTest, AnAcceptorTakesWhatIsQueuedBeforeItCloses) {
  const Outcome<int> fd = listen_tcp(*SocketAddress::parse("127.0.0.1", 0));
  ASSERT_TRUE(fd.has_value());
  const SocketAddress address = SocketAddress::local_of(*fd);
  std::size_t accepted = 0;
  Acceptor acceptor(loop, *fd, [&](int client) {
    ++accepted;
    open.push_back(client);
  });
  open.push_back(*fd);
  for (int i = 0; i < 100; ++i) {
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    open.push_back(client);
    ASSERT_EQ(::connect(client, address.data(), address.size()), 0);
    if (i == 69) {
      EXPECT_TRUE(run_until([&] { return accepted == 70; }));
    }
  }
  acceptor.close();
  EXPECT_EQ(accepted, 100U);
}

TEST_P(StreamTest, AnAcceptorThatRanOutOfDescriptorsGoesOnWhenThereAreSome) {
  if (!kRunsWithoutDescriptors) GTEST_SKIP() << "the sanitizer needs descriptors itself";
  const Outcome<int> fd = listen_tcp(*SocketAddress::parse("127.0.0.1", 0));
  ASSERT_TRUE(fd.has_value());
  open.push_back(*fd);
  const SocketAddress address = SocketAddress::local_of(*fd);
  std::size_t accepted = 0;
  Acceptor acceptor(loop, *fd, [&](int client) {
    ++accepted;
    open.push_back(client);
  });
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  open.push_back(client);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{3, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  ASSERT_EQ(::connect(client, address.data(), address.size()), 0);
  run_some();
  EXPECT_EQ(accepted, 0U);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(run_until([&] { return accepted == 1; }));
}

TEST_P(StreamTest, PostsOfManyThreadsAllRun) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 2000;
  int ran = 0;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int post = 0; post < kPosts; ++post) {
        loop.post([&] {
          if (++ran == kThreads * kPosts) loop.stop();
        });
      }
    });
  }
  loop.run();  // sleeps between them: a lost wake-up would hang here
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(ran, kThreads * kPosts);
}

TEST(LoopOfAsio, WhatItsHandlersStartOnTheLoopIsNotLeftLying) {
  Loop loop;
  boost::asio::io_context& io = asio_of(loop);
  std::array<int, 2> fds{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
  const std::unique_ptr<Stream> stream = adopt_tcp(loop, fds[0]);
  Reader reader(*stream);
  reader.start();
  struct Fired {
    Loop& loop;
    Stream& stream;
    static void fire(void* context) {
      auto* self = static_cast<Fired*>(context);
      boost::asio::post(asio_of(self->loop), [self] { self->stream.cancel(); });
    }
  } fired{loop, *stream};
  Timer timer(loop.clock(), &fired, &Fired::fire);
  boost::asio::steady_timer asio_timer(io, milliseconds(20));
  asio_timer.async_wait(
      [&](const boost::system::error_code&) { timer.set(loop.clock().now() + milliseconds(20)); });
  reader.on_read = [&] { loop.stop(); };
  loop.run();
  EXPECT_EQ(reader.ended, Fault::cancelled);
  ::close(fds[1]);
}

}  // namespace
}  // namespace lbd::net
