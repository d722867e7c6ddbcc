#include "lbd/control/targets.h"

#include <gtest/gtest.h>

namespace lbd::control {
namespace {

using upstream::TargetState;

struct Rig {
  Rig() {
    config::TargetGroup group;
    group.name = "web";
    group.port = 8080;
    group.scaling_group = "fleet";
    group.health_check.enabled = false;
    group.targets = {{{"10.0.0.1", 80}, "z1", 1, {}}, {{"10.0.0.2", 80}, "z2", 3, {}}};
    config->target_groups.emplace("web", group);
  }
  void configure() {
    targets.configure(config);
    targets.sweep();
  }
  [[nodiscard]] const TargetRow& row(std::size_t index) const {
    return targets.rows().at("web").at(index);
  }
  static scaler::InstanceTarget instance(std::string id, std::string address) {
    scaler::InstanceTarget made;
    made.id = std::move(id);
    made.address = std::move(address);
    made.zone = "z1";
    return made;
  }

  net::Loop loop;
  NullLog log;
  upstream::LiveState live{1};
  std::shared_ptr<config::Config> config = std::make_shared<config::Config>();
  Targets targets{loop, log, Rng(1), live};
};

TEST(Targets, WithoutChecksStaticTargetsServeAtOnce) {
  Rig rig;
  rig.configure();
  ASSERT_EQ(rig.targets.inputs("web").size(), 2u);
  EXPECT_EQ(rig.targets.inputs("web")[0].state, TargetState::healthy);
  EXPECT_EQ(rig.targets.inputs("web")[1].weight, 3u);
  EXPECT_TRUE(rig.targets.inputs("nobody").empty());
}

TEST(Targets, WithChecksATargetWaitsForItsFirst) {
  Rig rig;
  rig.config->target_groups.at("web").health_check.enabled = true;
  rig.configure();
  EXPECT_EQ(rig.row(0).state, TargetState::initial);
  EXPECT_EQ(rig.row(0).reason, "waiting for its first check");
  rig.targets.checker().stop();
}

TEST(Targets, InstancesComeWithTheGroupsPortAndDrainWhenTheScalerSays) {
  Rig rig;
  rig.configure();
  rig.targets.set_instances("fleet", {Rig::instance("i-1", "10.0.1.1")});
  rig.targets.sweep();
  EXPECT_EQ(rig.row(2).address.text(), "10.0.1.1:8080");
  EXPECT_EQ(rig.row(2).state, TargetState::healthy);
  auto draining = Rig::instance("i-1", "10.0.1.1");
  draining.state = scaler::TargetState::draining;
  rig.targets.set_instances("fleet", {draining});
  EXPECT_TRUE(rig.targets.sweep());
  EXPECT_EQ(rig.row(2).state, TargetState::draining);
  EXPECT_EQ(rig.row(2).reason, "drained by the scaler");
}

TEST(Targets, AnAdminsDrainSurvivesAReloadUntilItIsTakenBack) {
  Rig rig;
  rig.configure();
  EXPECT_TRUE(rig.targets.set_drain("", "10.0.0.1:80", true));
  rig.targets.sweep();
  EXPECT_EQ(rig.row(0).state, TargetState::draining);
  rig.configure();
  EXPECT_EQ(rig.row(0).state, TargetState::draining);
  EXPECT_TRUE(rig.targets.set_drain("web", "10.0.0.1:80", false));
  rig.targets.sweep();
  EXPECT_EQ(rig.row(0).state, TargetState::healthy);
  EXPECT_FALSE(rig.targets.set_drain("", "10.9.9.9:80", true));
}

TEST(Targets, OnlyWhatChangedIsCompiledAgain) {
  Rig rig;
  rig.configure();
  EXPECT_EQ(rig.targets.take_changes(), (std::set<std::string>{"web"}));
  EXPECT_FALSE(rig.targets.sweep());
  rig.targets.set_instances("fleet", {});
  EXPECT_FALSE(rig.targets.sweep());
  rig.targets.set_instances("fleet", {Rig::instance("i-1", "10.0.1.1")});
  EXPECT_TRUE(rig.targets.sweep());
}

TEST(Targets, FailuresInARowEjectWithinOneSweep) {
  Rig rig;
  rig.configure();
  EXPECT_FALSE(rig.targets.take_changes().empty());
  const auto target = rig.live.target("web", "10.0.0.1:80", "z1");
  const auto group = rig.live.group("web");
  target->load(0).errors.add(5);
  EXPECT_FALSE(rig.targets.sweep());  // nobody looks while no attempt is known to have failed
  group->loads[0].trouble.add(5);
  EXPECT_TRUE(rig.targets.sweep());
  EXPECT_EQ(rig.row(0).state, TargetState::ejected);
  EXPECT_EQ(rig.row(0).reason, "5 failed responses in a row");
  EXPECT_EQ(rig.row(1).state, TargetState::healthy);
  EXPECT_EQ(rig.targets.ejections(), (Targets::Ejections{{"web", {0, 1}}}));
}

NamedTarget named(std::string ip, std::uint16_t port = 80) {
  return {{std::move(ip), port}, "z1", 1, "app.internal:80", "app.internal"};
}

TEST(Targets, OfANameComeAfterTheOthersAndEachAddressOnce) {
  Rig rig;
  rig.configure();
  rig.targets.set_named({{"web", {named("10.0.0.1"), named("10.0.0.3"), named("10.0.0.3")}}});
  rig.targets.sweep();
  ASSERT_EQ(rig.targets.rows().at("web").size(), 3U);
  EXPECT_EQ(rig.row(0).name, "");  // as it was configured
  EXPECT_EQ(rig.row(2).address.text(), "10.0.0.3:80");
  EXPECT_EQ(rig.row(2).name, "app.internal:80");
  EXPECT_EQ(rig.targets.inputs("web")[2].host, "app.internal");
}

TEST(Targets, ANameThatStandsForTheSameChangesNothing) {
  Rig rig;
  rig.configure();
  rig.targets.set_named({{"web", {named("10.0.0.3"), named("10.0.0.4")}}});
  rig.targets.sweep();
  EXPECT_FALSE(rig.targets.take_changes().empty());
  rig.targets.set_named({{"web", {named("10.0.0.3"), named("10.0.0.4")}}});
  EXPECT_FALSE(rig.targets.sweep());
  rig.targets.set_named({{"web", {named("10.0.0.4")}}});
  EXPECT_TRUE(rig.targets.sweep());
  EXPECT_EQ(rig.targets.rows().at("web").size(), 3U);
}

TEST(Targets, AnAddressThatANameHasNoMoreDrainsUntilItsRequestsAreOver) {
  Rig rig;
  rig.configure();
  rig.targets.set_named({{"web", {named("10.0.0.3"), named("10.0.0.4")}}});
  rig.targets.sweep();
  const auto live = rig.live.target("web", "10.0.0.3:80", "z1", "app.internal");
  live->load(0).in_flight.add(1);
  rig.targets.set_named({{"web", {named("10.0.0.4")}}});
  EXPECT_TRUE(rig.targets.sweep());
  EXPECT_EQ(rig.row(3).address.text(), "10.0.0.3:80");
  EXPECT_EQ(rig.row(3).state, TargetState::draining);
  EXPECT_EQ(rig.row(3).reason, "app.internal:80 has this address no more");
  EXPECT_FALSE(rig.targets.take_changes().empty());
  rig.targets.set_named({{"web", {named("10.0.0.3"), named("10.0.0.4")}}});
  EXPECT_TRUE(rig.targets.sweep());
  EXPECT_EQ(rig.row(2).state, TargetState::healthy);  // it is back
  rig.targets.set_named({{"web", {named("10.0.0.4")}}});
  rig.targets.sweep();
  live->load(0).in_flight.sub(1);
  EXPECT_TRUE(rig.targets.sweep());
  EXPECT_EQ(rig.targets.rows().at("web").size(), 3U);
}

}  // namespace
}  // namespace lbd::control
