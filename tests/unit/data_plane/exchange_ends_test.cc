// Exchanges that are ended from outside: the client leaves, the total deadline, lbd's own end; in
// whatever they are waiting for.
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/support/descriptors.h"
#include "tests/support/exchange_rig.h"

namespace lbd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Its targets take no connection and refuse none: a full backlog.
class Unreachable : public Exchange {
 protected:
  void SetUp() override {
    plant.targets.clear();
    plant.target(full_.port());
    plant.target(full_too_.port());
    plant.group.timeouts.connect = kConnect;
    plant.group.retries.attempts = 3;
  }
  [[nodiscard]] std::uint64_t failures(Fault fault) {
    return plant.live.group("web")->loads[0].failures[static_cast<std::size_t>(fault)].get();
  }
  [[nodiscard]] bool connecting() {
    return eventually([this] { return !plant.idle(); });
  }
  [[nodiscard]] std::uint64_t blamed() {
    std::uint64_t sum = 0;
    for (const auto& [key, each] : plant.live.targets()) {
      sum += each->loads()[0].connect_failures.get() + each->loads()[0].broken.get();
    }
    return sum;
  }
  static constexpr milliseconds kConnect{3000};

 private:
  Server full_{0};
  Server full_too_{0};
  Peer first_ = Peer::connect(full_.port());
  Peer second_ = Peer::connect(full_too_.port());
};

TEST_F(Unreachable, AClientThatLeavesWhileATargetIsBeingConnectedEndsTheRequestAtOnce) {
  plant.publish_and_wait();
  const std::string requests[] = {
      std::string(kGet),
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na",
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na",
  };
  std::size_t count = 0;
  for (const std::string& request : requests) {
    for (const bool reset : {false, true}) {
      SCOPED_TRACE(request + (reset ? "reset" : "closed"));
      Peer user = client();
      user.send(request);
      ASSERT_TRUE(connecting());
      const auto left = steady_clock::now();
      reset ? user.reset() : user.close();
      const auto record = last_record(++count);
      EXPECT_LT(steady_clock::now() - left, kConnect / 3);
      EXPECT_EQ(record.reason, Fault::client_gone);
      EXPECT_EQ(record.status, 499);
      EXPECT_EQ(record.attempts, 1u);
      EXPECT_EQ(failures(Fault::client_gone), count);
      EXPECT_TRUE(eventually([this] { return plant.idle(); }));
    }
  }
  EXPECT_EQ(blamed(), 0u);
}

TEST_F(Unreachable, AClientThatLeavesAfterMoreOfItsBodyCameIsNoticedToo) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\na");
  ASSERT_TRUE(connecting());
  for (int i = 0; i < 3; ++i) {
    user.send("more");
    std::this_thread::sleep_for(milliseconds(30));
  }
  const auto left = steady_clock::now();
  user.close();
  EXPECT_EQ(last_record(1).reason, Fault::client_gone);
  EXPECT_LT(steady_clock::now() - left, kConnect / 3);
}

TEST_F(Unreachable, TheTotalDeadlineBoundsAConnect) {
  plant.listener.timeouts.total = milliseconds(150);
  plant.publish_and_wait();
  Peer user = client();
  const auto asked = steady_clock::now();
  user.send(kGet);
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 504 "));
  EXPECT_LT(steady_clock::now() - asked, kConnect / 3);
  EXPECT_EQ(last_record(1).reason, Fault::target_timeout);
  EXPECT_EQ(failures(Fault::target_timeout), 1u);
  EXPECT_EQ(blamed(), 1u);  // all the time was this target's
}

TEST_F(Unreachable, TheTotalDeadlineBoundsRetriesAndBlamesNobodyForTheLast) {
  plant.listener.timeouts.total = milliseconds(1800);
  plant.group.timeouts.connect = milliseconds(1500);
  plant.publish_and_wait();
  Peer user = client();
  const auto asked = steady_clock::now();
  user.send(kGet);
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 504 "));
  const auto took = steady_clock::now() - asked;
  EXPECT_GE(took, milliseconds(1800));
  EXPECT_LT(took, milliseconds(2700));  // two whole connects would be 3000
  EXPECT_EQ(last_record(1).reason, Fault::target_timeout);
  EXPECT_EQ(last_record(1).attempts, 2u);
  EXPECT_EQ(blamed(), 1u);
}

TEST_F(Unreachable, ARequestThatIsCutAtTheStopWhileConnectingIsNotCalledGone) {
  plant.group.timeouts.connect = milliseconds(500);
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  ASSERT_TRUE(connecting());
  plant.workers[0]->stop();
  EXPECT_EQ(last_record(1).reason, Fault::drain_deadline);
  EXPECT_TRUE(user.sees_end());
}

TEST_F(Unreachable, AStopDoesNotWaitForAConnectionThatIsBeingMade) {
  plant.group.timeouts.connect = std::chrono::seconds(60);
  plant.publish_and_wait();
  Peer left = client();
  left.send(kGet);
  ASSERT_TRUE(connecting());
  left.reset();  // its dial must not live on by itself
  EXPECT_EQ(last_record(1).reason, Fault::client_gone);
  Peer user = client();
  user.send(kGet);
  ASSERT_TRUE(connecting());
  const auto began = steady_clock::now();
  plant.workers[0]->stop();
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(5));
}

TEST_F(Exchange, ARequestThatIsCutAtTheStopIsNotCalledGone) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  Peer sender = client();
  sender.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
  Peer other = origin.accept();
  other.read_head();
  plant.workers[0]->stop();
  EXPECT_EQ(last_record(1).reason, Fault::drain_deadline);
  EXPECT_EQ(last_record(2).reason, Fault::drain_deadline);
}

TEST_F(Exchange, TheTotalDeadlineEndsARequestWhoseTargetIsSilentAndKeepsTheClient) {
  plant.listener.timeouts.total = milliseconds(500);
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  const std::string answer = user.read_message();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 504 "));
  EXPECT_EQ(answer.find("Connection: close"), std::string::npos);
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).reason, Fault::target_timeout);
  user.send(kGet);
  Peer fresh = origin.accept();
  fresh.read_head();
  fresh.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_EQ(last_record(2).reason, Fault::none);
}

TEST_F(Exchange, TheTotalDeadlineInAResponseCutsItAndIsNotTheClientsDoing) {
  plant.listener.timeouts.total = milliseconds(200);
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  EXPECT_TRUE(user.read_all().ends_with("half"));
  const auto record = last_record(1);
  EXPECT_EQ(record.reason, Fault::target_timeout);
  EXPECT_TRUE(record.cut);
  EXPECT_TRUE(target.sees_end());
}

TEST_F(Exchange, TheTotalDeadlineInAnUploadIsAnsweredAndNotTheTargetsFault) {
  plant.listener.timeouts.total = milliseconds(200);
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
  Peer target = origin.accept();
  EXPECT_TRUE(target.read_until("abc").ends_with("abc"));
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 504 "));
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).reason, Fault::target_timeout);
  EXPECT_EQ(plant.live_target(origin.port())->loads()[0].broken.get(), 0u);
}

TEST_F(Exchange, RunningOutOfDescriptorsIsNoTargetsFault) {
  if (!kRunsWithoutDescriptors) GTEST_SKIP() << "the sanitizer needs descriptors itself";
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  target.close();
  {
    const NoDescriptors none;
    user.send(kGet);
    const std::string answer = user.read_message();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 ")) << answer;
  }
  EXPECT_EQ(last_record(2).reason, Fault::overload_shed);
  EXPECT_EQ(last_record(2).attempts, 1u);  // another try would find no descriptor either
  EXPECT_EQ(plant.live_target(origin.port())->load(0).connect_failures.get(), 0u);
  EXPECT_EQ(plant.live.group("web")->loads[0].trouble.get(), 0u);
  user.send(kGet);
  target = origin.accept();
  target.read_head();
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
}

TEST_F(Exchange, ATargetIsGivenItsTimeAfterTheClientHasSentAll) {
  // The client takes longer over its body than a target may take to answer.
  plant.group.timeouts.response_head = milliseconds(400);
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nab");
  Peer target = origin.accept();
  EXPECT_TRUE(target.read_until("ab").ends_with("ab"));
  for (const std::string_view piece : {"cd", "ef"}) {
    std::this_thread::sleep_for(milliseconds(600));
    user.send(piece);
    EXPECT_EQ(target.read_bytes(2), piece);
  }
  std::this_thread::sleep_for(milliseconds(100));
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_EQ(last_record(1).reason, Fault::none);
}

TEST_F(Exchange, ATargetThatDoesNotAnswerAWholeUploadIsStillGivenUp) {
  plant.group.timeouts.response_head = milliseconds(150);
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
  Peer target = origin.accept();
  target.read_head();
  user.send("def");
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 504 "));
  EXPECT_EQ(last_record(1).reason, Fault::target_timeout);
  EXPECT_EQ(plant.live_target(origin.port())->loads()[0].broken.get(), 1u);
}

TEST_F(Exchange, AClientThatDoesNotTakeItsResponseTimesOutAndIsNotCalledGone) {
  plant.listener.timeouts.write_idle = milliseconds(200);
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
  const std::string piece(1 << 20, 'x');
  while (target.send(piece)) {
  }
  const auto record = last_record(1);
  EXPECT_EQ(record.reason, Fault::client_timeout);
  EXPECT_TRUE(record.cut);
}

TEST_F(Exchange, AClientThatPausesLongerThanATargetMayIsNotTheTargetsFault) {
  plant.group.timeouts.body_idle = milliseconds(400);
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  constexpr std::size_t kSize = 64 << 20;
  const std::string response = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kSize) +
                               "\r\n\r\n" + std::string(kSize, 'x');
  std::thread sending([&] { target.send(response); });
  EXPECT_FALSE(user.read_head().empty());
  std::this_thread::sleep_for(milliseconds(1200));
  EXPECT_EQ(user.read_bytes(kSize).size(), kSize);
  sending.join();
  EXPECT_EQ(last_record(1).reason, Fault::none);
}

TEST_F(Exchange, OfManyAttemptsTheLastStandsInTheRecord) {
  plant.targets.clear();
  for (int i = 0; i < 5; ++i) {
    Server dead;
    plant.target(dead.port());
  }
  plant.group.retries.attempts = 6;
  plant.target(origin.port());
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  const auto record = last_record(1);
  EXPECT_EQ(record.last_target, "127.0.0.1:" + std::to_string(origin.port()));
}

}  // namespace
}  // namespace lbd
