#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lbd/route/table.h"

namespace lbd::route {
namespace {

config::Rule rule(std::string name, std::vector<std::string> hosts,
                  std::vector<std::string> paths) {
  config::Rule made;
  made.name = std::move(name);
  made.when.hosts = std::move(hosts);
  made.when.paths = std::move(paths);
  made.then = config::Forward{"web"};
  return made;
}

TEST(Glob, StarsAndQuestionMarksMatchAsInAShell) {
  EXPECT_TRUE(matches_glob("*", ""));
  EXPECT_TRUE(matches_glob("", ""));
  EXPECT_FALSE(matches_glob("", "a"));
  EXPECT_TRUE(matches_glob("a?c", "abc"));
  EXPECT_FALSE(matches_glob("a?c", "ac"));
  EXPECT_TRUE(matches_glob("*.a.*", "x.a.y"));
  EXPECT_TRUE(matches_glob("*ab*ab*", "xababy"));
  EXPECT_FALSE(matches_glob("*ab*ab", "xabay"));
  EXPECT_TRUE(matches_glob("a**b", "ab"));
}

TEST(Glob, AHostilePatternTakesNoExponentialTime) {
  std::string pattern;
  for (int i = 0; i < 50; ++i) pattern += "a*";
  pattern += "b";
  EXPECT_FALSE(matches_glob(pattern, std::string(20'000, 'a')));  // hangs when it backtracks
}

TEST(Pattern, EveryKindMatchesWhatItSays) {
  EXPECT_TRUE(Pattern("*").matches("anything"));
  EXPECT_TRUE(Pattern("/a").matches("/a"));
  EXPECT_FALSE(Pattern("/a").matches("/a/"));
  EXPECT_TRUE(Pattern("/a/*").matches("/a/"));
  EXPECT_TRUE(Pattern("/a/*").matches("/a/b/c"));
  EXPECT_FALSE(Pattern("/a/*").matches("/a"));
  EXPECT_FALSE(Pattern("/a/*").matches("/ab"));
  EXPECT_TRUE(Pattern("*.jpg").matches("/x/y.jpg"));
  EXPECT_FALSE(Pattern("*.jpg").matches("/x/y.jpgx"));
  EXPECT_TRUE(Pattern("/v?/x").matches("/v1/x"));
  EXPECT_TRUE(Pattern("/*/x").matches("/a/b/x"));
  EXPECT_FALSE(Pattern("?").matches(""));
}

TEST(Table, TheFirstRuleThatMatchesWins) {
  const Table table({rule("host", {"a.test"}, {}), rule("path", {}, {"/img/*"}),
                     rule("both", {"b.test"}, {"/x"}), rule("all", {}, {})});
  EXPECT_EQ(table.find("a.test", "/img/1"), 0u);
  EXPECT_EQ(table.find("b.test", "/img/1"), 1u);
  EXPECT_EQ(table.find("b.test", "/x"), 2u);
  EXPECT_EQ(table.find("b.test", "/y"), 3u);
}

TEST(Table, NoRuleMeansNone) {
  EXPECT_EQ(Table({}).find("a", "/"), Table::kNone);
  EXPECT_EQ(Table({rule("h", {"a.test"}, {})}).find("b.test", "/"), Table::kNone);
}

TEST(Table, AHostIsComparedWithoutCasePortOrTrailingDot) {
  const Table table({rule("h", {"shop.test"}, {})});
  for (const std::string_view host :
       {"shop.test", "SHOP.Test", "shop.test:8080", "shop.test.", "Shop.Test.:80"}) {
    EXPECT_EQ(table.find(host, "/"), 0u) << host;
  }
  for (const std::string_view host :
       {"", "shop.tes", "xshop.test", "shop.test.evil", "shop.test..", ":80"}) {
    EXPECT_EQ(table.find(host, "/"), Table::kNone) << host;
  }
}

TEST(Table, IPv6HostsKeepTheirColons) {
  const Table table({rule("h", {"[2001:db8::1]"}, {})});
  EXPECT_EQ(table.find("[2001:DB8::1]:443", "/"), 0u);
  EXPECT_EQ(table.find("[2001:db8::1]", "/"), 0u);
  EXPECT_EQ(table.find("[2001:db8::2]", "/"), Table::kNone);
}

TEST(Table, WildcardHostsMatchSubdomainsOnly) {
  const Table table({rule("h", {"*.test", "www.*"}, {})});
  EXPECT_EQ(table.find("a.b.test", "/"), 0u);
  EXPECT_EQ(table.find("www.example", "/"), 0u);
  EXPECT_EQ(table.find("test", "/"), Table::kNone);
}

TEST(Table, AHostLongerThanANameCanBeMatchesNoName) {
  const Table table({rule("h", {"*a"}, {})});
  EXPECT_EQ(table.find(std::string(300, 'a'), "/"), Table::kNone);
}

TEST(Table, ExplainSaysWhyEachEarlierRuleLost) {
  const Table table({rule("h", {"a.test"}, {}), rule("p", {}, {"/x"}), rule("all", {}, {}),
                     rule("never", {}, {})});
  const auto verdicts = table.explain("b.test:80", "/y");
  ASSERT_EQ(verdicts.size(), 3u);
  EXPECT_EQ(verdicts[0].reason, "host 'b.test' matches none of: a.test");
  EXPECT_EQ(verdicts[1].reason, "path '/y' matches none of: /x");
  EXPECT_TRUE(verdicts[2].matched);
}

}  // namespace
}  // namespace lbd::route
