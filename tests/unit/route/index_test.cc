// The index finds what trying each rule finds: over many thousands of seeded random rule sets and
// requests, and for the shapes that it treats in a way of their own.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "lbd/base/rng.h"
#include "lbd/route/table.h"

namespace lbd::route {
namespace {

template <class T, std::size_t N>
const T& one_of(Rng& rng, const T (&choices)[N]) {
  return choices[rng.below(N)];
}

// Few words, so that rules and requests meet often.
constexpr const char* kHosts[] = {"a.test",     "b.test",  "x.a.test", "y.x.a.test", "*.test",
                                  "*.a.test",   "*a.test", "a.*",      "*",          "?.test",
                                  "*.x.a.test", "test",    ".test",    "*x*"};
constexpr const char* kAskedHosts[] = {"a.test", "A.TEST:80", "b.test",   "x.a.test", "y.x.a.test",
                                       "test",   "",          ".test",    "a.test.",  "q.test",
                                       "z.b",    "a.",        "x.a.test."};
constexpr const char* kServerNames[] = {"a.test", "x.a.test", "*.test", "*.a.test", "*", "a.*"};
constexpr const char* kAskedServerNames[] = {"", "a.test", "x.a.test", "b.test", "y.x.a.test"};
constexpr const char* kPaths[] = {
    "/",  "/*",  "*",     "/a",     "/a/*",    "/a*",    "/ab*",        "/a/b",          "/a/b*",
    "/?", "/*b", "*.jpg", "/a/?/c", "/a/*/c*", "/abc/*", "/abcdefgh/*", "/abcdefghijkl*"};
constexpr const char* kAskedPaths[] = {
    "/",      "/a", "/a/", "/a/b", "/a/b/c",      "/a/b/c.jpg",     "/ab",
    "/abc/d", "/q", "*",   "/b",   "/abcdefgh/i", "/abcdefghijklm", "/x.jpg"};
constexpr const char* kMethods[] = {"GET", "POST"};

config::When random_when(Rng& rng, int depth) {
  config::When when;
  if (rng.below(3) > 0) {
    for (std::uint32_t i = 0; i <= rng.below(3); ++i) when.hosts.emplace_back(one_of(rng, kHosts));
  }
  if (rng.below(3) > 0) {
    for (std::uint32_t i = 0; i <= rng.below(3); ++i) when.paths.emplace_back(one_of(rng, kPaths));
  }
  if (rng.below(4) == 0) {
    for (std::uint32_t i = 0; i <= rng.below(3); ++i) {
      when.server_names.emplace_back(one_of(rng, kServerNames));
    }
  }
  if (rng.below(4) == 0) when.methods = {one_of(rng, kMethods)};
  if (rng.below(12) == 0) when.paths_regex = {"b"};
  if (rng.below(12) == 0) when.share = 0.5;
  if (depth == 0) return when;
  if (rng.below(5) == 0) when.any = {random_when(rng, depth - 1), random_when(rng, depth - 1)};
  if (rng.below(8) == 0) when.all = {random_when(rng, depth - 1)};
  if (rng.below(8) == 0) when.none = {random_when(rng, depth - 1)};
  return when;
}

std::vector<config::Rule> random_rules(Rng& rng) {
  // Mostly few, sometimes enough that each bucket has an index of its own.
  std::vector<config::Rule> rules(1 + rng.below(rng.below(4) == 0 ? 80 : 12));
  for (config::Rule& rule : rules) rule.when = random_when(rng, 2);
  return rules;
}

Request random_request(Rng& rng) {
  return {.authority = one_of(rng, kAskedHosts),
          .path = one_of(rng, kAskedPaths),
          .method = one_of(rng, kMethods),
          .server_name = one_of(rng, kAskedServerNames),
          .draw = rng.next()};
}

void expect_no_difference(std::uint64_t seed) {
  Rng rng(seed);
  const Table table(random_rules(rng));
  for (int i = 0; i < 60; ++i) {
    const Request request = random_request(rng);
    ASSERT_EQ(table.find(request), table.find_one_by_one(request))
        << "LBD_SEED=" << seed << ": " << request.method << " " << request.authority << " "
        << request.path << " " << request.server_name;
  }
}

TEST(Index, FindsWhatTryingEachRuleFinds) {
  if (const char* seed = std::getenv("LBD_SEED")) return expect_no_difference(std::stoull(seed));
  for (std::uint64_t seed = 1; seed <= 20'000; ++seed) {
    expect_no_difference(seed);
    if (HasFatalFailure()) return;
  }
}

std::vector<config::Rule> rules_of(const std::vector<config::When>& conditions) {
  std::vector<config::Rule> rules(conditions.size());
  for (std::size_t i = 0; i < rules.size(); ++i) rules[i].when = conditions[i];
  return rules;
}

TEST(Index, AnEarlierRuleForAnyHostGoesBeforeALaterOneForThisHost) {
  const Table table(rules_of({{.paths = {"/x*"}}, {.hosts = {"a.test"}}}));
  EXPECT_EQ(table.find({.authority = "a.test", .path = "/xy"}), 0u);
  EXPECT_EQ(table.find({.authority = "a.test", .path = "/y"}), 1u);
}

TEST(Index, AShorterPrefixThatComesFirstWinsOverALongerOne) {
  std::vector<config::When> conditions(20);
  for (std::size_t i = 0; i < 20; ++i) conditions[i].paths = {"/other" + std::to_string(i)};
  conditions.push_back({.paths = {"/a/*"}});
  conditions.push_back({.paths = {"/a/b/*"}});
  conditions.push_back({.paths = {"/a/b/c"}});
  const Table table(rules_of(conditions));
  EXPECT_EQ(table.find({.path = "/a/b/c"}), 20u);
  EXPECT_EQ(table.find({.path = "/a/b/d"}), 20u);
  EXPECT_EQ(table.find({.path = "/other7"}), 7u);
}

TEST(Index, TenThousandRulesOfEachShapeAreAllFound) {
  constexpr std::size_t kRules = 10'000;
  std::vector<config::When> conditions(kRules);
  for (std::size_t i = 0; i < kRules; ++i) {
    const std::string number = std::to_string(i);
    if (i % 6 == 0) conditions[i].hosts = {"h" + number + ".test"};
    if (i % 6 == 1) conditions[i].hosts = {"*.h" + number + ".test"};
    if (i % 6 == 2) conditions[i].paths = {"/p" + number + "/*"};
    if (i % 6 == 3) conditions[i].paths = {"/p" + number};
    if (i % 6 == 4) conditions[i].server_names = {"h" + number + ".test"};
    if (i % 6 == 5) conditions[i].server_names = {"*.h" + number + ".test"};
  }
  const Table table(rules_of(conditions));
  for (std::size_t i = 0; i < kRules; ++i) {
    const std::string number = std::to_string(i);
    const std::string name = (i % 6 == 1 || i % 6 == 5 ? "x.h" : "h") + number + ".test";
    const std::string path = "/p" + number + (i % 6 == 2 ? "/x" : "");
    Request request{.authority = "q", .path = "/"};
    if (i % 6 < 2) request.authority = name;
    if (i % 6 == 2 || i % 6 == 3) request.path = path;
    if (i % 6 > 3) request.server_name = name;
    ASSERT_EQ(table.find(request), i);
  }
  EXPECT_EQ(table.find({.authority = "q", .path = "/p"}), Table::kNone);
}

TEST(Index, ARuleWithMoreHostsTimesPathsThanAreListedIsFoundByItsHost) {
  config::When when;
  for (int i = 0; i < 150; ++i) {
    when.hosts.push_back("h" + std::to_string(i));
    when.paths.push_back("/p" + std::to_string(i));
  }
  const Table table(rules_of({when}));
  EXPECT_EQ(table.find({.authority = "h149", .path = "/p0"}), 0u);
  EXPECT_EQ(table.find({.authority = "h149", .path = "/p150"}), Table::kNone);
}

TEST(Index, AHostOfManyLabelsIsLookedUpByItsEnding) {
  const Table table(rules_of({{.hosts = {"*.test"}}}));
  std::string host;
  while (host.size() < 240) host += "a.";
  EXPECT_EQ(table.find({.authority = host + "test"}), 0u);
}

}  // namespace
}  // namespace lbd::route
