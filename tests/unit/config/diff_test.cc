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

TEST(Diff, WhatIsToldOfClientCertificatesIsNamed) {
  auto after = example();
  after.listeners.at("secure").tls->client_certificates.headers = false;
  EXPECT_EQ(diff(example(), after), (Sentences{"listener 'secure': tls changed"}));
}

TEST(Diff, HowTargetsAreTrustedIsNamed) {
  auto after = example();
  after.target_groups.at("partner").tls.server_name = "other.example";
  after.target_groups.at("static").protocol = TargetProtocol::https;
  EXPECT_EQ(diff(example(), after), (Sentences{"target group 'partner': tls changed",
                                               "target group 'static': protocol changed"}));
}

TEST(Diff, EveryConditionOfARuleCounts) {
  const std::vector<When> changes{{.hosts = {"x"}},
                                  {.paths = {"/x"}},
                                  {.hosts_regex = {"x"}},
                                  {.paths_regex = {"x"}},
                                  {.methods = {"X"}},
                                  {.headers = {{"x", {"y"}}}},
                                  {.headers_regex = {{"x", {"y"}}}},
                                  {.query = {{"x", {"y"}}}},
                                  {.query_regex = {{"x", {"y"}}}},
                                  {.cookies = {{"x", {"y"}}}},
                                  {.cookies_regex = {{"x", {"y"}}}},
                                  {.source_ips = {{"10.0.0.0", 8}}},
                                  {.scheme = "http"},
                                  {.server_names = {"x"}},
                                  {.server_names_regex = {"x"}},
                                  {.share = 0.5},
                                  {.any = {{.hosts = {"x"}}}},
                                  {.all = {{.hosts = {"x"}}}},
                                  {.none = {{.hosts = {"x"}}}}};
  for (std::size_t i = 0; i < changes.size(); ++i) {
    auto before = example();
    auto after = example();
    before.listeners.at("public").rules.at(0).when = changes[(i + 1) % changes.size()];
    after.listeners.at("public").rules.at(0).when = changes[i];
    EXPECT_EQ(diff(before, after), Sentences{"listener 'public': rule 'assets' changed"}) << i;
  }
}

TEST(Diff, EverythingThatARuleChangesCounts) {
  std::vector<Rule> changes(16);
  changes[0].then = Forward{"static"};
  changes[1].then = Forward{"", {{"web", 1}}};
  changes[2].then = Forward{"", {{"web", 2}}};
  changes[3].rewrite.host = "x";
  changes[4].rewrite.path_prefix_from = "/x";
  changes[5].rewrite.path_prefix_to = "/x";
  changes[6].rewrite.path_regex = "x";
  changes[7].rewrite.path_to = "/x";
  changes[8].rewrite.query_remove = {"x"};
  changes[9].rewrite.query_set = {{"x", "y"}};
  changes[10].rewrite.query_add = {{"x", "y"}};
  changes[11].request_headers.remove = {"x"};
  changes[12].response_headers.set = {{"x", "y"}};
  changes[13].total_timeout = 1s;
  changes[14].response_head_timeout = 1s;
  changes[15].attempts = 1;
  changes.emplace_back().body_bytes_max = 1;
  changes.emplace_back().access.allow = {{"10.0.0.0", 8}};
  changes.emplace_back().access.deny = {{"10.0.0.0", 8}};
  changes.emplace_back().in_flight_limits = {{.requests = 1}};
  changes.emplace_back().in_flight_limits = {{.requests = 2}};
  changes.emplace_back().rate_limits = {{.requests = 1}};
  changes.emplace_back().rate_limits = {{.requests = 1, .burst = 2}};
  for (std::size_t i = 0; i < changes.size(); ++i) {
    auto before = example();
    auto after = example();
    before.listeners.at("public").rules = {changes[(i + 1) % changes.size()]};
    after.listeners.at("public").rules = {changes[i]};
    for (auto* side : {&before, &after}) side->listeners.at("public").rules[0].name = "it";
    EXPECT_EQ(diff(before, after), Sentences{"listener 'public': rule 'it' changed"}) << i;
  }
  auto pages = example();
  pages.listeners.at("public").error_pages.at("503").body = "other";
  EXPECT_EQ(diff(example(), pages), Sentences{"listener 'public': error_pages changed"});
}

TEST(Diff, TheProxyProtocolOfBothSidesCounts) {
  auto after = example();
  after.listeners.at("public").proxy_protocol.trusted.push_back({"192.0.2.0", 24});
  after.target_groups.at("web").proxy_protocol = ProxyVersion::v2;
  EXPECT_EQ(diff(example(), after), (Sentences{"listener 'public': proxy_protocol changed",
                                               "target group 'web': proxy_protocol changed"}));
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
