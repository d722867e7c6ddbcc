#include "config/diff.h"

#include <gtest/gtest.h>

#include "config/parse.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;
using Sentences = std::vector<std::string>;

Config example() {
  const DiskReader reader;
  auto result = load(std::string(LBD_SOURCE_DIR) + "/config/example.yaml", reader);
  EXPECT_TRUE(result.config) << render(result);
  return result.config.value_or(Config{});
}

TEST(Diff, SameMeaningIsNoChangeWhereverItIsWritten) {
  auto moved = example();
  moved.files.push_back("other.yaml");
  moved.listeners.at("public").origin.line += 7;
  EXPECT_EQ(diff(example(), moved), Sentences{});
}

TEST(Diff, TargetsAreAddedRemovedAndWeighed) {
  auto after = example();
  auto& targets = after.target_groups.at("static").targets;
  targets.at(0).address.ip = "10.0.9.9";
  targets.at(1).weight = 5;
  EXPECT_EQ(diff(example(), after),
            (Sentences{"target group 'static': removed target 10.0.1.10:8080",
                       "target group 'static': target [2001:db8::10]:8080 weight 2 → 5",
                       "target group 'static': added target 10.0.9.9:8080"}));
}

TEST(Diff, RulesPoliciesAndBoundsAreNamed) {
  auto after = example();
  auto& rules = after.listeners.at("public").rules;
  std::swap(rules.at(0), rules.at(1));
  std::get<FixedResponse>(rules.at(2).then).body = "other";
  auto& group = after.scaling_groups.at("web");
  group.max = 9;
  group.policies.at(0).threshold = 0.8;
  group.policies.pop_back();
  EXPECT_EQ(diff(example(), after), (Sentences{"listener 'public': rule 'robots' changed",
                                               "listener 'public': order of rules changed",
                                               "scaling group 'web': max 5 → 9",
                                               "scaling group 'web': policy 'busy' changed",
                                               "scaling group 'web': removed policy 'steady'"}));
}

TEST(Diff, HowTargetsAreTrustedIsNamed) {
  auto after = example();
  after.target_groups.at("partner").tls.server_name = "other.example";
  after.target_groups.at("static").protocol = TargetProtocol::https;
  EXPECT_EQ(diff(example(), after), (Sentences{"target group 'partner': tls changed",
                                               "target group 'static': protocol changed"}));
}

TEST(Diff, WholeThingsComeAndGo) {
  auto after = example();
  after.listeners.erase("jobs");
  after.target_groups["new"].name = "new";
  after.node.drain_deadline = 90s;
  EXPECT_EQ(diff(example(), after),
            (Sentences{"node: drain_deadline 1m → 90s", "removed listener 'jobs'",
                       "added target group 'new'"}));
}

}  // namespace
}  // namespace lbd::config
