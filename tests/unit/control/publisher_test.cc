#include "lbd/control/publisher.h"

#include <gtest/gtest.h>

#include "tests/support/loopback.h"
#include "tests/support/plant.h"

namespace lbd::control {
namespace {

std::shared_ptr<config::Config> config_with(const std::map<std::string, std::uint16_t>& listeners) {
  auto made = std::make_shared<config::Config>();
  for (const auto& [name, port] : listeners) {
    config::Listener listener;
    listener.name = name;
    listener.listen = {{"127.0.0.1", port}};
    listener.otherwise = config::FixedResponse{.status = 200, .content_type = "", .body = name};
    made->listeners.emplace(name, std::move(listener));
  }
  return made;
}

struct Rig {
  explicit Rig(std::size_t count) : live(count) {
    for (std::size_t i = 0; i < count; ++i) {
      workers.push_back(std::make_unique<worker::Worker>(
          worker::WorkerSettings{.index = i, .seed = i, .connections_max = 100}));
      workers.back()->start();
    }
    publisher = std::make_unique<Publisher>(live, workers, certificates);
  }
  ~Rig() {
    for (auto& worker : workers) worker->stop();
  }
  Outcome<void> take(const std::shared_ptr<config::Config>& config) {
    Outcome<void> prepared = publisher->prepare(*config);
    if (!prepared) return prepared;
    targets.configure(config);
    publisher->commit(config, ++generation, "");
    publisher->publish(targets, {});
    EXPECT_TRUE(eventually([this] { return publisher->adopted() == publisher->serial(); }));
    return prepared;
  }
  /// The port a listener is bound to; 0 when it is not.
  [[nodiscard]] std::uint16_t port_of(const std::string& name) const {
    for (const std::string& line : publisher->bound()) {
      if (!line.starts_with(name + " ")) continue;
      return static_cast<std::uint16_t>(std::stoi(line.substr(line.rfind(':') + 1)));
    }
    return 0;
  }
  static std::string ask(std::uint16_t port) {
    Peer user = Peer::connect(port);
    if (!user.open()) return "refused";
    user.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const std::string answer = user.read_all();
    return answer.substr(answer.find("\r\n\r\n") + 4);
  }

  net::Loop loop;
  NullLog log;
  upstream::LiveState live;
  std::vector<std::unique_ptr<worker::Worker>> workers;
  Certificates certificates{log};
  Targets targets{loop, log, Rng(1), live};
  std::unique_ptr<Publisher> publisher;
  std::uint64_t generation = 0;
};

TEST(Publisher, EveryWorkerListensOnTheSamePortZero) {
  Rig rig(3);
  ASSERT_TRUE(rig.take(config_with({{"public", 0}})));
  ASSERT_NE(rig.port_of("public"), 0);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Rig::ask(rig.port_of("public")), "public");
}

TEST(Publisher, AReloadKeepsSocketsThatStayAndClosesThoseThatGo) {
  Rig rig(2);
  ASSERT_TRUE(rig.take(config_with({{"stays", 0}})));
  const std::uint16_t stays = rig.port_of("stays");
  Server free;
  const std::uint16_t other = free.port();
  free.close();
  auto both = config_with({{"stays", 0}, {"goes", other}});
  ASSERT_TRUE(rig.take(both));
  EXPECT_EQ(rig.port_of("stays"), stays);
  EXPECT_EQ(Rig::ask(other), "goes");
  ASSERT_TRUE(rig.take(config_with({{"stays", 0}})));
  EXPECT_EQ(rig.port_of("goes"), 0);
  EXPECT_TRUE(eventually([&] { return Rig::ask(other) == "refused"; }));
  EXPECT_EQ(Rig::ask(stays), "stays");
}

TEST(Publisher, APortThatIsTakenFailsTheWholeAndChangesNothing) {
  Rig rig(2);
  ASSERT_TRUE(rig.take(config_with({{"public", 0}})));
  Server taken;
  const auto failed = rig.take(config_with({{"public", 0}, {"second", taken.port()}}));
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("second"), std::string::npos);
  EXPECT_NE(failed.error().message.find("Address already in use"), std::string::npos);
  EXPECT_EQ(rig.publisher->bound().size(), 1u);
  EXPECT_EQ(Rig::ask(rig.port_of("public")), "public");
}

TEST(Publisher, WhenAdoptionWasAwaitedEveryWorkerUsesWhatWasPublished) {
  Rig rig(3);
  ASSERT_TRUE(rig.take(config_with({{"public", 0}})));
  for (int i = 0; i < 100; ++i) {
    rig.publisher->publish(rig.targets, {});
    ASSERT_TRUE(rig.publisher->await_adoption(rig.loop.clock().now() + std::chrono::seconds(10)));
    ASSERT_EQ(rig.publisher->adopted(), rig.publisher->serial());
  }
}

TEST(Publisher, AdoptionIsNotAwaitedForLongerThanSaid) {
  Rig rig(2);
  ASSERT_TRUE(rig.take(config_with({{"public", 0}})));
  rig.workers[1]->stop();
  rig.publisher->publish(rig.targets, {});
  EXPECT_FALSE(
      rig.publisher->await_adoption(rig.loop.clock().now() + std::chrono::milliseconds(20)));
}

TEST(Publisher, AnUnchangedGroupIsSharedWithTheSnapshotBefore) {
  Rig rig(1);
  auto config = config_with({{"public", 0}});
  config::TargetGroup group;
  group.name = "web";
  group.health_check.enabled = false;
  group.targets.push_back({{"127.0.0.1", 9}, "", 1, {}});
  config->target_groups.emplace("web", group);
  ASSERT_TRUE(rig.take(config));
  const auto live = rig.live.group("web");
  const auto holders = live.use_count();
  rig.publisher->publish(rig.targets, {});
  EXPECT_TRUE(eventually([&] { return rig.publisher->adopted() == rig.publisher->serial(); }));
  EXPECT_EQ(live.use_count(), holders);  // one compiled group, in both snapshots
}

}  // namespace
}  // namespace lbd::control
