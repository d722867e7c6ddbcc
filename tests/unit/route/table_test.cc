#include "lbd/route/table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

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

std::size_t find(const Table& table, std::string_view host, std::string_view path) {
  return table.find({.authority = host, .path = path});
}

TEST(Table, TheFirstRuleThatMatchesWins) {
  const Table table({rule("host", {"a.test"}, {}), rule("path", {}, {"/img/*"}),
                     rule("both", {"b.test"}, {"/x"}), rule("all", {}, {})});
  EXPECT_EQ(find(table, "a.test", "/img/1"), 0u);
  EXPECT_EQ(find(table, "b.test", "/img/1"), 1u);
  EXPECT_EQ(find(table, "b.test", "/x"), 2u);
  EXPECT_EQ(find(table, "b.test", "/y"), 3u);
}

TEST(Table, NoRuleMeansNone) {
  EXPECT_EQ(find(Table({}), "a", "/"), Table::kNone);
  EXPECT_EQ(find(Table({rule("h", {"a.test"}, {})}), "b.test", "/"), Table::kNone);
}

TEST(Table, AHostIsComparedWithoutCasePortOrTrailingDot) {
  const Table table({rule("h", {"shop.test"}, {})});
  for (const std::string_view host :
       {"shop.test", "SHOP.Test", "shop.test:8080", "shop.test.", "Shop.Test.:80"}) {
    EXPECT_EQ(find(table, host, "/"), 0u) << host;
  }
  for (const std::string_view host :
       {"", "shop.tes", "xshop.test", "shop.test.evil", "shop.test..", ":80"}) {
    EXPECT_EQ(find(table, host, "/"), Table::kNone) << host;
  }
}

TEST(Table, IPv6HostsKeepTheirColons) {
  const Table table({rule("h", {"[2001:db8::1]"}, {})});
  EXPECT_EQ(find(table, "[2001:DB8::1]:443", "/"), 0u);
  EXPECT_EQ(find(table, "[2001:db8::1]", "/"), 0u);
  EXPECT_EQ(find(table, "[2001:db8::2]", "/"), Table::kNone);
}

TEST(Table, WildcardHostsMatchSubdomainsOnly) {
  const Table table({rule("h", {"*.test", "www.*"}, {})});
  EXPECT_EQ(find(table, "a.b.test", "/"), 0u);
  EXPECT_EQ(find(table, "www.example", "/"), 0u);
  EXPECT_EQ(find(table, "test", "/"), Table::kNone);
}

TEST(Table, AHostLongerThanANameCanBeMatchesNoName) {
  const Table table({rule("h", {"*a"}, {})});
  EXPECT_EQ(find(table, std::string(300, 'a'), "/"), Table::kNone);
}

TEST(Table, ExplainSaysWhyEachEarlierRuleLost) {
  const Table table({rule("h", {"a.test"}, {}), rule("p", {}, {"/x"}), rule("all", {}, {}),
                     rule("never", {}, {})});
  const auto verdicts = table.explain({.authority = "b.test:80", .path = "/y"});
  ASSERT_EQ(verdicts.size(), 3u);
  EXPECT_EQ(verdicts[0].reason, "host 'b.test' matches none of: a.test");
  EXPECT_EQ(verdicts[1].reason, "path '/y' matches none of: /x");
  EXPECT_EQ(verdicts[2].fate, Table::Fate::matched);
}

}  // namespace
}  // namespace lbd::route
