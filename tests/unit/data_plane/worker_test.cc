// Workers under change: what TSan is for, and what an adoption promises.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/loopback.h"
#include "tests/support/plant.h"

namespace lbd {
namespace {

/// Answers everything with its name; counts what came after it was told that nothing should.
class NamedOrigin {
 public:
  explicit NamedOrigin(std::string name) : name_(std::move(name)), thread_([this] { run(); }) {}
  ~NamedOrigin() {
    stop_ = true;
    thread_.join();
    for (std::thread& each : serving_) each.join();
  }
  [[nodiscard]] std::uint16_t port() const { return server_.port(); }
  std::atomic<bool> closed{false};
  std::atomic<int> late{0};
  std::atomic<int> served{0};

 private:
  void run() {
    while (!stop_) {
      Peer peer = server_.accept(20);
      if (peer.open()) serving_.emplace_back(&NamedOrigin::serve, this, std::move(peer));
    }
  }
  void serve(Peer peer) {
    for (;;) {
      const std::string request = peer.read_message();
      if (request.empty()) return;
      if (closed) ++late;
      ++served;
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(name_.size()) + "\r\n\r\n" +
                name_);
    }
  }

  std::string name_;
  Server server_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> serving_;
  std::thread thread_;
};

/// Sends requests one after the other until told to stop; reconnects when the balancer closes.
void send_requests(std::uint16_t port, const std::atomic<bool>& stop, std::atomic<int>& answered,
                   std::atomic<int>& failed) {
  Peer user = Peer::connect(port);
  for (int i = 0; !stop; ++i) {
    if (i % 50 == 49) user = Peer::connect(port);
    const bool post = i % 3 == 0;
    user.send(post ? "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
                   : "GET /g HTTP/1.1\r\nHost: a\r\n\r\n");
    const std::string answer = user.read_message();
    ++(answer.starts_with("HTTP/1.1 200 ") ? answered : failed);
  }
}

TEST(Worker, TwoHundredSnapshotsUnderLoadLoseNoRequest) {
  NamedOrigin a("a");
  NamedOrigin b("b");
  NamedOrigin c("c");
  Plant plant(2);
  for (const NamedOrigin* each : {&a, &b, &c}) plant.target(each->port());
  plant.publish_and_wait();
  std::atomic<bool> stop{false};
  std::atomic<int> answered{0};
  std::atomic<int> failed{0};
  std::vector<std::thread> clients;
  clients.reserve(4);
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back(send_requests, plant.port(), std::cref(stop), std::ref(answered),
                         std::ref(failed));
  }
  for (std::size_t i = 0; i < 200; ++i) {
    // One target at a time is drained, then comes back; its live state stays the same.
    for (std::size_t t = 0; t < 3; ++t) {
      plant.targets[t].state =
          i % 4 == t ? upstream::TargetState::draining : upstream::TargetState::healthy;
    }
    plant.publish();
    plant.live.collect_garbage();
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    // What the control plane does all the time. A client has its answer before the request is taken
    // off, and may have asked again by then; sums over targets are of no one moment.
    for (const auto& [key, target] : plant.live.targets()) EXPECT_LE(target->in_flight(), 2 * 4u);
  }
  EXPECT_TRUE(eventually([&] { return plant.adopted() == 201; }));
  stop = true;
  for (std::thread& each : clients) each.join();
  for (auto& worker : plant.workers) worker->drain(Duration::zero());
  EXPECT_TRUE(
      eventually([&] { return plant.workers[0]->drained() && plant.workers[1]->drained(); }));
  EXPECT_TRUE(plant.idle());
  EXPECT_EQ(failed, 0);
  EXPECT_GT(answered, 200);
}

TEST(Worker, OnceEveryWorkerHasAdoptedADrainAndInFlightIsZeroTheTargetIsDone) {
  NamedOrigin a("a");
  NamedOrigin b("b");
  Plant plant(2);
  plant.target(a.port());
  plant.target(b.port());
  plant.publish_and_wait();
  std::atomic<bool> stop{false};
  std::atomic<int> answered{0};
  std::atomic<int> failed{0};
  std::vector<std::thread> clients;
  clients.reserve(4);
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back(send_requests, plant.port(), std::cref(stop), std::ref(answered),
                         std::ref(failed));
  }
  EXPECT_TRUE(eventually([&] { return a.served > 50; }));
  plant.targets[0].state = upstream::TargetState::draining;
  plant.publish_and_wait();
  EXPECT_TRUE(eventually([&] { return plant.live_target(a.port())->in_flight() == 0; }));
  a.closed = true;  // from here on it could be terminated
  const int before = answered;
  EXPECT_TRUE(eventually([&] { return answered > before + 200; }));
  stop = true;
  for (std::thread& each : clients) each.join();
  EXPECT_EQ(a.late, 0);
  EXPECT_EQ(failed, 0);
}

TEST(Worker, ConnectionsAboveTheMostAreShed) {
  NamedOrigin a("a");
  Plant plant(1);
  plant.workers[0] = std::make_unique<worker::Worker>(
      worker::WorkerSettings{.index = 0, .seed = 1, .connections_max = 2, .records = nullptr});
  plant.target(a.port());
  plant.publish_and_wait();
  Peer one = Peer::connect(plant.port());
  Peer two = Peer::connect(plant.port());
  one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  two.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(one.read_message().ends_with("a"));
  EXPECT_TRUE(two.read_message().ends_with("a"));
  EXPECT_TRUE(Peer::connect(plant.port()).sees_end());
  EXPECT_EQ(plant.live.listener("public")->loads[0].shed.get(), 1u);
  one.close();
  EXPECT_TRUE(eventually([&] { return plant.workers[0]->connections() == 1; }));
  Peer next = Peer::connect(plant.port());
  next.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(next.read_message().ends_with("a"));
}

TEST(Worker, StoppingMidRequestEndsEverything) {
  Server origin;
  Plant plant;
  plant.target(origin.port());
  plant.publish_and_wait();
  Peer user = Peer::connect(plant.port());
  user.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  Peer target = origin.accept();
  target.read_head();
  plant.workers[0]->stop();
  EXPECT_TRUE(user.sees_end());
  EXPECT_TRUE(target.sees_end());
  EXPECT_TRUE(plant.idle());
}

TEST(Worker, AListenerThatIsGoneStillAnswersARequestThatCrossedItsEnd) {
  NamedOrigin a("a");
  Plant plant;
  plant.target(a.port());
  plant.publish_and_wait();
  Peer user = Peer::connect(plant.port());
  user.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(user.read_message().ends_with("a"));
  auto empty = std::make_shared<upstream::Snapshot>();
  empty->serial = 99;
  plant.workers[0]->adopt(empty, {});
  ASSERT_TRUE(eventually([&] { return plant.workers[0]->adopted() == 99; }));
  user.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string answer = user.read_message();
  EXPECT_TRUE(answer.ends_with("a"));
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(user.sees_end());
}

TEST(Worker, AListenerThatIsGoneEndsItsIdleConnections) {
  NamedOrigin a("a");
  Plant plant;
  plant.target(a.port());
  plant.publish_and_wait();
  Peer user = Peer::connect(plant.port());
  user.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(user.read_message().ends_with("a"));
  auto empty = std::make_shared<upstream::Snapshot>();
  empty->serial = 99;
  plant.workers[0]->adopt(empty, {});
  EXPECT_TRUE(user.sees_end());
  EXPECT_EQ(plant.workers[0]->adopted(), 99u);
}

}  // namespace
}  // namespace lbd
