// Checks against real servers on loopback, on the checker's own loop.
#include "health/checker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/descriptors.h"
#include "tests/support/loopback.h"

namespace lbd::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Answers each connection with what it is told to just now, one after the other.
class Site {
 public:
  explicit Site(std::string answer) : answer_(std::move(answer)), thread_([this] { run(); }) {}
  ~Site() {
    stop_ = true;
    thread_.join();
  }
  [[nodiscard]] std::uint16_t port() const { return server_.port(); }
  void answer_with(std::string answer) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  std::atomic<int> checks{0};
  std::atomic<milliseconds> pause{milliseconds(0)};  // before each answer

 private:
  void run() {
    while (!stop_) {
      Peer peer = server_.accept(10);
      if (!peer.open()) continue;
      ++checks;
      std::string answer;
      {
        const std::lock_guard lock(mutex_);
        answer = answer_;
      }
      if (answer == "reset") {
        peer.reset();
      } else if (answer == "silence") {
        held_.push_back(std::move(peer));
      } else {
        peer.read_head();
        std::this_thread::sleep_for(pause.load());
        peer.send(answer);
      }
    }
  }

  Server server_{4096};
  std::mutex mutex_;
  std::string answer_;
  std::vector<Peer> held_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

const std::string kGood =
    "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nhealthy";
const std::string kBad = "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

class CheckerTest : public ::testing::Test {
 protected:
  struct Change {
    std::string target;
    bool up;
    Verdict verdict;
  };
  CheckerTest()
      : checker(loop, Rng(1), [this](const TargetKey& key, const Verdict& verdict) {
          changes.push_back({key.second, verdict.up, verdict});
        }) {}
  ~CheckerTest() override {
    checker.stop();
    run_until([this] { return checker.tasks().running() == 0; });
  }

  static CheckedTarget target(std::string name, std::uint16_t port) {
    config::HealthCheck settings;
    settings.interval = milliseconds(100);
    settings.timeout = milliseconds(1000);
    return {{"web", std::move(name)}, *net::SocketAddress::parse("127.0.0.1", port), settings};
  }
  /// Runs the loop until `holds`, at most twenty seconds.
  bool run_until(const std::function<bool()>& holds) {
    struct Watch {
      net::Loop& loop;
      const std::function<bool()>& holds;
      TimePoint end;
      Timer timer;
      Watch(net::Loop& watched, const std::function<bool()>& condition)
          : loop(watched),
            holds(condition),
            end(watched.clock().now() + seconds(20)),
            timer(watched.clock(), this, &Watch::look) {
        timer.set(loop.clock().now() + milliseconds(5));
      }
      static void look(void* self) {
        auto* watch = static_cast<Watch*>(self);
        if (watch->holds() || watch->loop.clock().now() > watch->end) {
          watch->loop.stop();
        } else {
          watch->timer.set(watch->loop.clock().now() + milliseconds(5));
        }
      }
    } watch(loop, holds);
    loop.run();
    return holds();
  }
  /// The first verdict about one target.
  Verdict first_verdict(const CheckedTarget& checked) {
    checker.apply({checked});
    run_until([&] { return checker.find(checked.key)->checked; });
    return *checker.find(checked.key);
  }

  net::Loop loop;
  std::vector<Change> changes;
  Checker checker;
};

TEST_F(CheckerTest, ANewTargetIsUpAfterItsFirstPass) {
  Site site(kGood);
  const Verdict verdict = first_verdict(target("a", site.port()));
  EXPECT_TRUE(verdict.up);
  EXPECT_EQ(verdict.checks, 1u);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_TRUE(changes[0].up);
}

TEST_F(CheckerTest, ATargetThatWasDownNeedsItsPassesInARow) {
  Site site(kGood);
  CheckedTarget a = target("a", site.port());
  a.settings.unhealthy = 2;
  a.settings.healthy = 3;
  first_verdict(a);
  site.answer_with(kBad);
  ASSERT_TRUE(run_until([&] { return !checker.find(a.key)->up; }));
  EXPECT_GE(checker.find(a.key)->failures, 2u);
  const std::uint64_t before = checker.find(a.key)->checks;
  site.answer_with(kGood);
  ASSERT_TRUE(run_until([&] { return checker.find(a.key)->up; }));
  EXPECT_GE(checker.find(a.key)->checks - before, 3u);
  const Verdict& verdict = *checker.find(a.key);
  const CheckCounts& counts = checker.counts().at(a.key.first);
  EXPECT_EQ(counts.failed, verdict.failures);
  EXPECT_EQ(counts.passed + counts.failed, verdict.checks);
}

TEST_F(CheckerTest, OneFailureIsNoVerdict) {
  Site site(kGood);
  CheckedTarget a = target("a", site.port());
  a.settings.unhealthy = 3;
  first_verdict(a);
  site.answer_with(kBad);
  ASSERT_TRUE(run_until([&] { return checker.find(a.key)->failures >= 1; }));
  EXPECT_TRUE(checker.find(a.key)->up);
  site.answer_with(kGood);
  ASSERT_TRUE(run_until([&] { return checker.find(a.key)->against == 0; }));
}

TEST_F(CheckerTest, EveryWayToFailHasItsReason) {
  Site site(kBad);
  CheckedTarget a = target("code", site.port());
  Verdict verdict = first_verdict(a);
  EXPECT_EQ(check_failure_name(verdict.last.failure), "code_mismatch");
  EXPECT_EQ(verdict.last.detail, "got 503, want 200-299");
  EXPECT_EQ(verdict.last.status, 503);

  site.answer_with("reset");
  EXPECT_EQ(check_failure_name(first_verdict(target("reset", site.port())).last.failure), "reset");

  site.answer_with("SSH-2.0-x\r\n\r\n");
  EXPECT_EQ(check_failure_name(first_verdict(target("ssh", site.port())).last.failure),
            "bad_response");

  site.answer_with("silence");
  a = target("silence", site.port());
  a.settings.timeout = milliseconds(100);
  EXPECT_EQ(check_failure_name(first_verdict(a).last.failure), "timeout");

  site.answer_with(kGood);
  a = target("body", site.port());
  a.settings.body = "ready";
  EXPECT_EQ(check_failure_name(first_verdict(a).last.failure), "body_mismatch");
  a = target("body2", site.port());
  a.settings.body = "health";
  EXPECT_TRUE(first_verdict(a).up);

  Server gone;
  const std::uint16_t port = gone.port();
  gone.close();
  EXPECT_EQ(check_failure_name(first_verdict(target("gone", port)).last.failure), "refused");
}

TEST_F(CheckerTest, ACheckThatLbdHasNoDescriptorForSaysNothingAboutTheTarget) {
  Site site(kGood);
  CheckedTarget a = target("a", site.port());
  a.settings.interval = milliseconds(10);
  a.settings.timeout = seconds(20);  // the site has no descriptor either: one under way waits
  a.settings.unhealthy = 1;
  first_verdict(a);
  {
    const NoDescriptors none;
    ASSERT_TRUE(run_until([&] { return checker.shortages() >= 3; }));
    EXPECT_TRUE(checker.find(a.key)->up);
    EXPECT_EQ(checker.find(a.key)->failures, 0u);
  }
  const int before = site.checks;
  EXPECT_TRUE(run_until([&] { return site.checks > before; }));
  EXPECT_EQ(changes.size(), 1u);
}

TEST_F(CheckerTest, ATcpCheckAsksForAConnectionOnly) {
  Site site("silence");
  CheckedTarget a = target("a", site.port());
  a.settings.protocol = config::CheckProtocol::tcp;
  EXPECT_TRUE(first_verdict(a).up);
}

TEST_F(CheckerTest, AfterAFailureTheNextCheckComesSooner) {
  Site site(kGood);
  CheckedTarget a = target("a", site.port());
  a.settings.interval = milliseconds(3000);
  a.settings.jitter = 0;
  a.settings.unhealthy = 3;
  first_verdict(a);
  site.answer_with(kBad);
  checker.check_now(a.key);
  const TimePoint began = loop.clock().now();
  ASSERT_TRUE(run_until([&] { return !checker.find(a.key)->up; }));
  // At the plain interval the third failure would come after six seconds.
  EXPECT_LT(loop.clock().now() - began, seconds(4));
}

TEST_F(CheckerTest, ATargetThatStaysKeepsItsVerdictAndOneThatLeavesIsForgotten) {
  Site site(kGood);
  const CheckedTarget a = target("a", site.port());
  const CheckedTarget b = target("b", site.port());
  checker.apply({a, b});
  ASSERT_TRUE(run_until([&] { return checker.first_round_done(); }));
  const std::uint64_t checks = checker.find(a.key)->checks;
  checker.apply({a});
  EXPECT_TRUE(checker.find(a.key)->up);
  EXPECT_GE(checker.find(a.key)->checks, checks);
  EXPECT_EQ(checker.find(b.key), nullptr);
  const int before = site.checks;
  ASSERT_TRUE(run_until([&] { return site.checks > before; }));
}

TEST_F(CheckerTest, AShorterIntervalHoldsFromNowOn) {
  Site site(kGood);
  CheckedTarget a = target("a", site.port());
  a.settings.interval = seconds(3600);
  first_verdict(a);
  a.settings.interval = milliseconds(50);
  checker.apply({a});
  EXPECT_TRUE(run_until([&] { return checker.find(a.key)->checks >= 3; }));
}

TEST_F(CheckerTest, TwoGroupsWithOneAddressHaveAVerdictEach) {
  Site site(kGood);
  CheckedTarget a = target("same", site.port());
  CheckedTarget b = a;
  b.key.first = "other";
  b.settings.codes = {{204, 204}};
  checker.apply({a, b});
  ASSERT_TRUE(run_until([&] { return checker.first_round_done(); }));
  EXPECT_TRUE(checker.find(a.key)->up);
  EXPECT_FALSE(checker.find(b.key)->up);
}

TEST_F(CheckerTest, ATargetThatIsDoubtedIsOutWithinSecondsThoughItsIntervalIsLong) {
  Site site(kGood);
  CheckedTarget a = target("a", site.port());
  a.settings.interval = seconds(60);
  a.settings.timeout = seconds(10);
  first_verdict(a);
  site.answer_with("silence");
  const TimePoint began = loop.clock().now();
  checker.doubt(a.key);
  ASSERT_TRUE(run_until([&] { return !checker.find(a.key)->up; }));
  EXPECT_LT(loop.clock().now() - began, seconds(4));  // two checks of 10 s and a pause, else
}

TEST_F(CheckerTest, DoubtIsNotHeardMoreThanOnceASecond) {
  Site site(kGood);
  CheckedTarget a = target("a", site.port());
  a.settings.interval = seconds(60);
  first_verdict(a);
  const TimePoint end = loop.clock().now() + milliseconds(500);
  run_until([&] {
    checker.doubt(a.key);
    return loop.clock().now() > end;
  });
  EXPECT_EQ(checker.find(a.key)->checks, 2u);
}

TEST_F(CheckerTest, ATargetWhoseChecksUsuallyTakeLongIsNotHurried) {
  Site site(kGood);
  site.pause = milliseconds(500);
  CheckedTarget a = target("a", site.port());
  a.settings.interval = seconds(60);
  a.settings.timeout = seconds(10);
  a.settings.unhealthy = 5;  // quick checks of a fast target: a quarter of a second
  first_verdict(a);
  site.pause = milliseconds(800);
  checker.doubt(a.key);
  ASSERT_TRUE(run_until([&] { return checker.find(a.key)->checks == 2; }));
  EXPECT_EQ(checker.find(a.key)->failures, 0u);
}

TEST_F(CheckerTest, ThousandsOfTargetsThatSwallowTheirChecksHoldUpNobodyElse) {
  // A full queue of connections that nobody accepts: the kernel drops what comes.
  Server full(0);
  const Peer filler = Peer::connect(full.port());
  Site site(kGood);
  std::vector<CheckedTarget> targets;
  for (int i = 0; i < 3300; ++i) {
    targets.push_back(target("hole" + std::to_string(i), full.port()));
    targets.back().settings.interval = seconds(1);
    targets.back().settings.timeout = seconds(1);
  }
  CheckedTarget good = target("good", site.port());
  good.settings.interval = milliseconds(250);
  checker.apply({good});
  ASSERT_TRUE(run_until([&] { return checker.find(good.key)->checked; }));
  targets.push_back(good);
  checker.apply(targets);
  const std::uint64_t before = checker.find(good.key)->checks;
  const TimePoint began = loop.clock().now();
  run_until([&] { return loop.clock().now() - began > seconds(5); });
  EXPECT_GE(checker.find(good.key)->checks - before, 10u);  // 20 when the machine is quick
  EXPECT_TRUE(checker.find(good.key)->up);
}

TEST_F(CheckerTest, AStopCallsOffTheChecksUnderWay) {
  Server full(0);
  const Peer filler = Peer::connect(full.port());
  Site site("silence");
  CheckedTarget connecting = target("connecting", full.port());
  CheckedTarget asking = target("asking", site.port());
  connecting.settings.timeout = asking.settings.timeout = seconds(60);
  checker.apply({connecting, asking});
  ASSERT_TRUE(run_until([&] { return site.checks == 1 && checker.tasks().running() == 2; }));
  const TimePoint began = loop.clock().now();
  checker.stop();
  EXPECT_TRUE(run_until([&] { return checker.tasks().running() == 0; }));
  EXPECT_LT(loop.clock().now() - began, seconds(5));
}

TEST_F(CheckerTest, TenThousandTargetsAreCheckedWithinTheirIntervalAndTheLoopStaysQuick) {
  Server server(4096);
  std::atomic<bool> stop{false};
  std::thread accepting([&] {
    while (!stop) server.accept(10);  // accepted and closed: a TCP check passes
  });
  std::vector<CheckedTarget> targets;
  for (int i = 0; i < 10'000; ++i) {
    targets.push_back(target("t" + std::to_string(i), server.port()));
    targets.back().settings.protocol = config::CheckProtocol::tcp;
    targets.back().settings.interval = seconds(5);
    targets.back().settings.timeout = seconds(2);
  }
  // A timer every 10 ms stands for the other work of the loop.
  struct Pulse {
    net::Loop& loop;
    Duration worst{};
    TimePoint due{};
    Timer timer;
    explicit Pulse(net::Loop& on) : loop(on), timer(on.clock(), this, &Pulse::beat) { next(); }
    void next() {
      due = loop.clock().now() + milliseconds(10);
      timer.set(due);
    }
    static void beat(void* self) {
      auto* pulse = static_cast<Pulse*>(self);
      pulse->worst = std::max(pulse->worst, pulse->loop.clock().now() - pulse->due);
      pulse->next();
    }
  } pulse(loop);
  const TimePoint began = loop.clock().now();
  checker.apply(targets);
  EXPECT_TRUE(run_until([&] { return checker.first_round_done(); }));
  EXPECT_LT(loop.clock().now() - began, seconds(7));
  EXPECT_LT(pulse.worst, seconds(1));
  EXPECT_TRUE(std::all_of(targets.begin(), targets.end(),
                          [&](const CheckedTarget& each) { return checker.find(each.key)->up; }));
  stop = true;
  accepting.join();
}

}  // namespace
}  // namespace lbd::health
