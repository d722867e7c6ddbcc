// What load() makes of right configurations, includes, references and hostile input.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "config/parse.h"
#include "config/tree.h"
#include "tests/support/memory_reader.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;

const std::string kListener =
    "version: 1\nlisteners: { a: { listen: '0.0.0.0:80', default: { forward: web } } }\n";
const std::string kTargets = "target_groups: { web: { targets: [{ address: '10.0.0.1:80' }] } }\n";

LoadResult load_text(const std::string& text) {
  return load("lbd.yaml", MemoryReader({{"lbd.yaml", text}}));
}

ScalingGroup scaling_group(const std::string& policies) {
  const auto result = load_text(kListener +
                                "target_groups: { web: { port: 80, scaling_group: g } }\n"
                                "scaling_groups:\n  g:\n    provider: process\n    min: 1\n"
                                "    max: 9\n    process: { command: [/bin/app] }\n"
                                "    policies:\n" +
                                policies);
  EXPECT_EQ(render(result), "");
  return result.config ? result.config->scaling_groups.at("g") : ScalingGroup{};
}

TEST(Load, DefaultsAreThoseOfTheStructs) {
  const auto result = load_text(kListener + kTargets);
  ASSERT_TRUE(result.config) << render(result);
  EXPECT_EQ(result.config->node.connections_max, Node{}.connections_max);
  const auto& group = result.config->target_groups.at("web");
  EXPECT_EQ(group.health_check.interval, HealthCheck{}.interval);
  EXPECT_EQ(group.targets.at(0).address.text(), "10.0.0.1:80");
  EXPECT_EQ(group.origin.line, 3);
  EXPECT_EQ(group.origin.column, 18);
  EXPECT_EQ(result.config->files, std::vector<std::string>{"lbd.yaml"});
}

TEST(Load, TargetsTakeTheGroupsPortWhereverItStands) {
  const auto result = load_text(
      kListener + "target_groups: { web: { targets: [{ address: 10.0.0.1 }], port: 81 } }\n");
  ASSERT_TRUE(result.config) << render(result);
  EXPECT_EQ(result.config->target_groups.at("web").targets.at(0).address.port, 81);
}

TEST(Load, OffTurnsThingsOff) {
  const auto result = load_text(
      kListener + "node: { access_log: off, admin: { metrics: off } }\n" +
      "target_groups: { web: { health_check: off, passive: off, zones: { prefer: off }, targets: "
      "[{ address: '10.0.0.1:80' }] } }\n");
  ASSERT_TRUE(result.config) << render(result);
  EXPECT_FALSE(result.config->node.access_log.enabled);
  EXPECT_FALSE(result.config->node.admin.metrics);
  const auto& group = result.config->target_groups.at("web");
  EXPECT_FALSE(group.health_check.enabled);
  EXPECT_FALSE(group.passive.enabled);
  EXPECT_EQ(group.zones, ZonePreference::off);
}

TEST(Load, AShortIntervalShortensTheDefaultTimeoutOfHealthChecks) {
  const auto timeout_with = [](const std::string& check) {
    const auto result = load_text(kListener + "target_groups: { web: { health_check: { " + check +
                                  " }, targets: [{ address: '10.0.0.1:80' }] } }\n");
    EXPECT_TRUE(result.config) << render(result);
    return result.config ? result.config->target_groups.at("web").health_check.timeout : 0ms;
  };
  EXPECT_EQ(timeout_with("interval: 500ms"), 500ms);
  EXPECT_EQ(timeout_with("interval: 2s"), 2s);
  EXPECT_EQ(timeout_with("interval: 10s"), 2s);
  EXPECT_EQ(timeout_with("timeout: 300ms, interval: 500ms"), 300ms);
  EXPECT_EQ(timeout_with("timeout: 8s, interval: 10s"), 8s);
}

TEST(Load, ChecksGoTheWayOfTheRequestsUnlessTheySayOtherwise) {
  const auto check = [](const std::string& group) {
    const auto result = load_text(kListener +
                                  "target_groups: { web: { targets: [{ address: "
                                  "'10.0.0.1:443' }], " +
                                  group + " } }\n");
    EXPECT_TRUE(result.config) << render(result);
    return result.config ? result.config->target_groups.at("web").health_check : HealthCheck{};
  };
  EXPECT_EQ(check("protocol: http").protocol, CheckProtocol::http);
  EXPECT_EQ(check("protocol: https").protocol, CheckProtocol::https);
  EXPECT_EQ(check("health_check: { path: /up }, protocol: https").protocol, CheckProtocol::https);
  EXPECT_EQ(check("protocol: https, health_check: { protocol: http }").protocol,
            CheckProtocol::http);
  EXPECT_EQ(check("protocol: https, health_check: { protocol: tcp }").protocol, CheckProtocol::tcp);
  const std::string named = "protocol: https, tls: { server_name: app.test }";
  EXPECT_EQ(check(named).host, "app.test");
  EXPECT_EQ(check(named + ", health_check: { host: other }").host, "other");
  EXPECT_EQ(check(named + ", health_check: { protocol: http }").host, "");
}

TEST(Load, ChecksOfATcpGroupConnectUnlessTheySayOtherwise) {
  const auto check = [](const std::string& more) {
    const auto result = load_text(
        "version: 1\nlisteners: { db: { listen: '0.0.0.0:5432', protocol: tcp, default: { forward: "
        "db } } }\ntarget_groups: { db: { protocol: tcp, targets: [{ address: '10.0.0.1:5432' }]" +
        more + " } }\n");
    EXPECT_TRUE(result.config) << render(result);
    return result.config ? result.config->target_groups.at("db").health_check : HealthCheck{};
  };
  EXPECT_EQ(check("").protocol, CheckProtocol::tcp);
  EXPECT_EQ(check(", health_check: { interval: 1s }").protocol, CheckProtocol::tcp);
  EXPECT_EQ(check(", health_check: { protocol: http, port: 8008 }").protocol, CheckProtocol::http);
}

TEST(Load, AListenerAtLayer4TakesWhatMakesSenseThere) {
  const auto result = load_text(
      "version: 1\nlisteners:\n  sites:\n    listen: '0.0.0.0:443'\n    protocol: tls\n"
      "    proxy_protocol: { trusted: [10.0.0.0/8] }\n    access: { deny: [192.0.2.0/24] }\n"
      "    rate_limits: [{ by: source_ip, requests: 5 }, { by: all, requests: 50 }]\n"
      "    timeouts: { request_head: 3s, tunnel_idle: off, tunnel_total: 1h }\n    rules:\n"
      "      - when: { sni: '*.a.test', not: { any: [{ source_ip: 10.0.0.0/8 }, { percentage: 5% "
      "}, { sni_regex: b }] } }\n        then: { forward: { a: 1, b: 2 } }\n"
      "        retries: { attempts: 1 }\n        access: { allow: [10.0.0.0/8] }\n"
      "  inside: { listen: '0.0.0.0:444', protocol: tcp, default: { forward: a }, tls: { "
      "certificates: [{ chain: /a, key: /b }] } }\n"
      "target_groups:\n  a: { protocol: tcp, targets: [{ address: '10.0.0.1:1' }] }\n"
      "  b: { protocol: tcp, proxy_protocol: v2, targets: [{ address: 'unix:/b.sock' }] }\n");
  EXPECT_TRUE(result.config) << render(result);
}

TEST(Load, RuleWithoutNameIsCalledByItsPosition) {
  const auto result = load_text(
      "version: 1\nlisteners: { a: { listen: '0.0.0.0:80', rules: [{ when: { host: SHOP.Example }, "
      "then: { forward: web } }] } }\n" +
      kTargets);
  ASSERT_TRUE(result.config) << render(result);
  const auto& rule = result.config->listeners.at("a").rules.at(0);
  EXPECT_EQ(rule.name, "rule-1");
  EXPECT_EQ(rule.when.hosts.at(0), "shop.example");
}

TEST(Policies, ShortFormIsAStepPolicyWithOneStep) {
  const auto policies = scaling_group(
                            "      - { signal: cpu, above: 90%, for: 30s, add: 1 }\n"
                            "      - { signal: cpu, below: 60%, for: 15m, remove: 20% }\n"
                            "      - { signal: in_flight_per_target, above: 8, set: 4 }\n")
                            .policies;
  ASSERT_EQ(policies.size(), 3U);
  EXPECT_EQ(policies[0].name, "cpu-above-1");
  EXPECT_DOUBLE_EQ(policies[0].threshold, 0.9);
  EXPECT_EQ(policies[0].period, 10s);
  EXPECT_EQ(policies[0].datapoints, 3U);
  EXPECT_EQ(policies[0].datapoints_to_alarm, 3U);
  EXPECT_EQ(policies[0].steps.at(0).lower, 0.0);
  EXPECT_FALSE(policies[0].steps.at(0).upper);
  EXPECT_DOUBLE_EQ(policies[0].steps.at(0).adjustment, 1);
  EXPECT_FALSE(policies[1].above);
  EXPECT_EQ(policies[1].adjustment_type, AdjustmentType::percent);
  EXPECT_DOUBLE_EQ(policies[1].steps.at(0).adjustment, -20);
  EXPECT_EQ(policies[1].steps.at(0).upper, 0.0);
  EXPECT_EQ(policies[2].adjustment_type, AdjustmentType::exact);
  EXPECT_EQ(policies[2].datapoints, 1U);
  EXPECT_EQ(policies[2].period, 10s);
}

// A datapoint is a mean of seconds, so that noise does not decide; but a short alarm stays short.
TEST(Policies, ThePeriodSuitsTheTimeWhenNoneIsWritten) {
  const struct {
    const char* window;
    std::chrono::seconds period;
    std::uint32_t datapoints;
  } rows[] = {{"1s", 1s, 1},    {"3s", 1s, 3},    {"5s", 1s, 5},     {"10s", 2s, 5},
              {"15s", 5s, 3},   {"20s", 5s, 4},   {"30s", 10s, 3},   {"1m", 10s, 6},
              {"97s", 10s, 10}, {"5m", 10s, 30},  {"15m", 60s, 15},  {"1h", 60s, 60},
              {"2m", 10s, 12},  {"16m", 60s, 16}, {"24h", 60s, 1440}};
  for (const auto& row : rows) {
    const std::string text = row.window;
    const auto alarm =
        scaling_group("      - { signal: cpu, above: 90%, add: 1, for: " + text + " }\n").policies;
    EXPECT_EQ(alarm.at(0).period, row.period) << text;
    EXPECT_EQ(alarm.at(0).datapoints, row.datapoints) << text;
    const auto tracking =
        scaling_group("      - { signal: cpu, target: 60%, scale_out_for: " + text + " }\n");
    EXPECT_EQ(tracking.policies.at(0).period, row.period) << text;
    EXPECT_EQ(tracking.policies.at(0).scale_in_period, 60s) << text;
  }
}

TEST(Policies, AnAlarmMayLookAtTheLowestOrTheHighest) {
  const auto policies = scaling_group(
                            "      - { signal: cpu, above: 90%, add: 1 }\n"
                            "      - { signal: cpu, above: 90%, add: 1, statistic: maximum }\n"
                            "      - { signal: cpu, below: 9%, remove: 1, statistic: minimum }\n")
                            .policies;
  EXPECT_EQ(policies.at(0).statistic, Statistic::average);
  EXPECT_EQ(policies.at(1).statistic, Statistic::maximum);
  EXPECT_EQ(policies.at(2).statistic, Statistic::minimum);
}

TEST(Policies, TargetTrackingTakesAPeriodForBothOfItsTimes) {
  const auto policy =
      scaling_group("      - { signal: cpu, target: 60%, period: 30s, scale_in_for: 10m }\n")
          .policies.at(0);
  EXPECT_EQ(policy.period, 30s);
  EXPECT_EQ(policy.scale_in_period, 30s);
}

TEST(Policies, StepsAreSortedAndInTheUnitOfTheSignal) {
  const auto policy = scaling_group(
                          "      - signal: latency\n        above: 500ms\n        period: 10s\n"
                          "        datapoints: 6\n        datapoints_to_alarm: 4\n"
                          "        steps:\n          - { from: 250ms, add: 2 }\n"
                          "          - { from: 0, to: 250ms, add: 1 }\n")
                          .policies.at(0);
  EXPECT_DOUBLE_EQ(policy.threshold, 0.5);
  EXPECT_EQ(policy.period, 10s);
  EXPECT_EQ(policy.datapoints, 6U);
  EXPECT_EQ(policy.datapoints_to_alarm, 4U);
  ASSERT_EQ(policy.steps.size(), 2U);
  EXPECT_EQ(policy.steps[0].upper, 0.25);
  EXPECT_DOUBLE_EQ(policy.steps[1].adjustment, 2);
}

TEST(Policies, TargetTrackingOfCpuScalesInAtSeventyPercentOfItsTarget) {
  const auto policies = scaling_group(
                            "      - { signal: cpu, target: 60% }\n"
                            "      - { signal: requests_per_target, target: 100 }\n"
                            "      - { signal: cpu, target: 60%, scale_in_ratio: 0.8 }\n")
                            .policies;
  EXPECT_EQ(policies.at(0).kind, PolicyKind::target_tracking);
  EXPECT_DOUBLE_EQ(policies.at(0).scale_in_ratio, 0.7);
  EXPECT_DOUBLE_EQ(policies.at(1).scale_in_ratio, 0.9);
  EXPECT_DOUBLE_EQ(policies.at(2).scale_in_ratio, 0.8);
}

TEST(References, GiveNumbersTextsAndLiterals) {
  MemoryReader reader({{"lbd.yaml", kListener +
                                        "node: { workers: '${env:N}', zone: 'x-${file:z}', "
                                        "state_dir: '/a/$${b}' }\n" +
                                        kTargets},
                       {"z", "zone\r\n"}});
  reader.variables["N"] = "4";
  const auto result = load("lbd.yaml", reader);
  ASSERT_TRUE(result.config) << render(result);
  EXPECT_EQ(result.config->node.workers, 4U);
  EXPECT_EQ(result.config->node.zone, "x-zone");
  EXPECT_EQ(result.config->node.state_dir, "/a/${b}");
}

TEST(References, AreNeverShownByAnyCrossCheck) {
  const std::string text =
      "version: 1\n"
      "listeners:\n"
      "  a: { listen: ['${env:A}', '${env:A}'], rules: [{ name: '${env:S}', then: { forward: "
      "'${env:S}' } }, { name: '${env:S}', then: { redirect: { path: '${env:S}' } } }] }\n"
      "target_groups: { web: { targets: [{ address: '${env:A}' }, { address: '${env:A}' }], "
      "scaling_group: '${env:S}' } }\n";
  MemoryReader reader({{"lbd.yaml", text}});
  reader.variables["S"] = "hunter2-hunter2";
  reader.variables["A"] = "10.11.12.13:4567";
  const auto result = load("lbd.yaml", reader);
  const auto shown = render(result) + render_json(result);
  EXPECT_GE(result.problems.size(), 6U);
  EXPECT_EQ(shown.find("hunter2"), std::string::npos) << shown;
  EXPECT_EQ(shown.find("10.11.12.13"), std::string::npos) << shown;
}

TEST(Limits, LargeFileIsRefusedBeforeItIsParsed) {
  const auto result = load_text(kListener + std::string(kFileBytesMax, '#'));
  ASSERT_EQ(result.problems.size(), 1U);
  EXPECT_EQ(result.problems[0].code, "E1002");
}

TEST(Limits, OfManyProblemsTheFirstAreShownAndAllAreCounted) {
  std::string text = kListener + kTargets + "include: nowhere.yaml\n";
  for (int i = 0; i < 45'000; ++i) text += fmt::format("wrong{}: 1\n", i);
  const auto result = load_text(text);
  EXPECT_FALSE(result.config);
  EXPECT_EQ(result.problems.size(), kProblemsMax);
  EXPECT_EQ(result.unkept.errors, 45'001 - kProblemsMax);
  const auto shown = render(result);
  EXPECT_LT(shown.size(), 30'000U);
  EXPECT_TRUE(shown.ends_with("… and 44901 more.\n45001 errors.\n")) << shown.substr(29'000);
  EXPECT_NE(render_json(result).find("\"errors\":45001"), std::string::npos);
  EXPECT_EQ(summarize(result),
            "lbd.yaml:4:10: error[E1001]: cannot read 'nowhere.yaml': No such file or directory "
            "(and 45000 more errors)");
}

TEST(Limits, ErrorsAreShownBeforeWarningsWhenThereIsNoRoomForAll) {
  std::string text =
      kListener + "target_groups:\n  web: { targets: [{ address: '10.0.0.1:80' }] }\n";
  for (int i = 0; i < 2000; ++i) {
    text += fmt::format(
        "  u{}: {{ health_check: {{ protocol: tcp, path: /x }}, targets: "
        "[{{ address: '10.0.0.1:80' }}] }}\n",
        i);
  }
  text += "  bad: { nothing: 1 }\n";
  const auto result = load_text(text);
  EXPECT_FALSE(result.config);
  EXPECT_GE(result.unkept.warnings, 1000U);
  EXPECT_EQ(result.unkept.errors, 0U);
  const auto shown = render(result);
  EXPECT_NE(shown.find("unknown key 'nothing'"), std::string::npos) << shown;
}

TEST(Limits, DepthCountsThroughAliases) {
  const std::string open(20, '[');
  const std::string close(20, ']');
  const auto result = load_text("version: 1\nnode: { zone: &a " + open + close + ", k: " + open +
                                "*a" + close + " }\n");
  ASSERT_FALSE(result.problems.empty());
  EXPECT_EQ(result.problems[0].code, "E1008");
}

TEST(Limits, TenThousandTargetsLoad) {
  std::string text = kListener + "target_groups:\n  web:\n    port: 80\n    targets:\n";
  for (int i = 0; i < 10'000; ++i) {
    text += "      - { address: 10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250) +
            ", zone: a, weight: 1 }\n";
  }
  const auto result = load_text(text);
  ASSERT_TRUE(result.config) << render(result);
  EXPECT_EQ(result.config->target_groups.at("web").targets.size(), 10'000U);
}

TEST(Limits, AliasIsSharedAndMayBeUsedAgain) {
  const auto result = load_text(kListener +
                                "target_groups:\n"
                                "  web: { health_check: &h { interval: 7s }, targets: &t [{ "
                                "address: '10.0.0.1:80' }] }\n"
                                "  app: { health_check: *h, targets: *t }\n");
  ASSERT_TRUE(result.config) << render(result);
  EXPECT_EQ(result.config->target_groups.at("app").health_check.interval, 7s);
}

TEST(Render, JsonHoldsEveryProblem) {
  const auto result = load_text("version: 1\nnode: { zon: a }\n");
  EXPECT_EQ(
      render_json(result),
      R"({"valid":false,"errors":1,"warnings":0,"problems":[{"file":"lbd.yaml","line":2,)"
      R"("column":9,"width":3,"severity":"error","code":"E2003","message":"unknown key 'zon' )"
      R"(in node","hint":"did you mean 'zone'?"}]})");
}

TEST(Render, MissingMainFileIsOneSentence) {
  const auto result = load("nowhere.yaml", MemoryReader());
  EXPECT_EQ(render(result),
            "nowhere.yaml: error[E1001]: cannot read 'nowhere.yaml': No such file or directory\n"
            "1 error.\n");
}

TEST(Render, LongLinesAreCutAroundThePlace) {
  const auto result =
      load_text("version: 1\n# \nnode: { zone: " + std::string(5000, 'z') + ", zon: a }\n");
  const auto text = render(result);
  EXPECT_LT(text.size(), 600U);
  EXPECT_NE(text.find("zon: a"), std::string::npos);
}

TEST(Load, ByteOrderMarkAndCrlfAreAccepted) {
  std::string text = "\xEF\xBB\xBFversion: 1\r\n" + kListener.substr(11) + kTargets;
  const auto result = load_text(text);
  EXPECT_TRUE(result.config) << render(result);
}

}  // namespace
}  // namespace lbd::config
