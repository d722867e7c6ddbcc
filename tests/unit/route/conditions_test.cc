#include "lbd/route/conditions.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "lbd/route/table.h"

namespace lbd::route {
namespace {

using Headers = std::vector<http::Header>;

std::string why(const config::When& when, const Request& request) {
  config::Rule rule;
  rule.when = when;
  const auto verdicts = Table({rule}).explain(request);
  return verdicts.front().fate == Table::Fate::matched ? "matches" : verdicts.front().reason;
}

bool matches(const config::When& when, const Request& request) {
  config::Rule rule;
  rule.when = when;
  return Table({rule}).find(request) == 0;
}

TEST(Conditions, MethodsAreComparedExactly) {
  const config::When when{.methods = {"GET", "HEAD"}};
  EXPECT_TRUE(matches(when, {.method = "HEAD"}));
  EXPECT_FALSE(matches(when, {.method = "get"}));
  EXPECT_EQ(why(when, {.method = "POST"}), "method 'POST' matches none of: GET, HEAD");
}

TEST(Conditions, EveryHeaderThatIsNamedMustMatchAndAnyFieldOfItMay) {
  const config::When when{.headers = {{"X-Version", {"1", "2*"}}, {"x-beta", {"*"}}}};
  const Headers both{{"x-version", "0"}, {"X-Version", "2.5"}, {"X-Beta", ""}};
  EXPECT_TRUE(matches(when, {.headers = &both}));
  const Headers one{{"X-Version", "1"}};
  EXPECT_EQ(why(when, {.headers = &one}), "there is no header 'x-beta'");
  const Headers wrong{{"X-Version", "3"}, {"X-Version", "4"}, {"X-Beta", "1"}};
  EXPECT_EQ(why(when, {.headers = &wrong}), "header 'X-Version' ('3', '4') matches none of: 1, 2*");
  EXPECT_FALSE(matches(when, {})) << "no headers at all";
}

TEST(Conditions, HeaderValuesMatchInEitherCase) {
  const Headers headers{{"User-Agent", "Mozilla/5.0 (IPHONE)"}};
  EXPECT_TRUE(matches({.headers = {{"User-Agent", {"*iphone*"}}}}, {.headers = &headers}));
}

TEST(Conditions, QueryParametersAreFoundByNameOrByValueAlone) {
  const Request request{.query = "a=1&version=V2&flag&empty="};
  EXPECT_TRUE(matches({.query = {{"version", {"v1", "v2"}}}}, request));
  EXPECT_TRUE(matches({.query = {{"*", {"v2"}}}}, request));
  EXPECT_TRUE(matches({.query = {{"flag", {"*"}}, {"empty", {"*"}}}}, request));
  EXPECT_FALSE(matches({.query = {{"*", {"v3"}}}}, request));
  EXPECT_FALSE(matches({.query = {{"ersion", {"*"}}}}, request));
  EXPECT_FALSE(matches({.query = {{"Version", {"*"}}}}, request)) << "names are exact";
  EXPECT_EQ(why({.query = {{"x", {"1"}}}}, request), "there is no query parameter 'x'");
}

TEST(Conditions, CookiesAreFoundAmongOthersAndOverSeveralFields) {
  const Headers headers{{"Cookie", "a=1; beta=yes;c=3"}, {"cookie", "d=x=y"}};
  const Request request{.headers = &headers};
  EXPECT_TRUE(matches({.cookies = {{"beta", {"yes"}}, {"c", {"3"}}, {"d", {"x=y"}}}}, request));
  EXPECT_FALSE(matches({.cookies = {{"beta", {"YES"}}}}, request)) << "values are exact";
  EXPECT_FALSE(matches({.cookies = {{"eta", {"*"}}}}, request));
}

TEST(Conditions, SourceAddressesAreComparedByNetworkOfEitherFamily) {
  const config::When when{.source_ips = {{"10.1.0.0", 20}, {"2001:db8::", 33}, {"192.0.2.7", 32}}};
  for (const char* ip : {"10.1.15.255", "2001:db8:7fff::1", "192.0.2.7", "::ffff:10.1.0.1"}) {
    EXPECT_TRUE(matches(when, {.source = ip_bytes(ip)})) << ip;
  }
  for (const char* ip : {"10.1.16.0", "2001:db8:8000::1", "192.0.2.6", "::10.1.0.1"}) {
    EXPECT_FALSE(matches(when, {.source = ip_bytes(ip)})) << ip;
  }
  EXPECT_FALSE(matches(when, {})) << "an address nobody knows";
  EXPECT_TRUE(matches({.source_ips = {{"0.0.0.0", 0}}}, {.source = ip_bytes("8.8.8.8")}));
  EXPECT_FALSE(matches({.source_ips = {{"0.0.0.0", 0}}}, {.source = ip_bytes("2001:db8::1")}));
}

TEST(Conditions, WhatIsNoAddressIsNone) {
  for (const char* text : {"", "a", "1.2.3", "1.2.3.4 ", "1.2.3.4/8", "::g", "[::1]"}) {
    EXPECT_FALSE(ip_bytes(text)) << text;
  }
  EXPECT_FALSE(ip_bytes(std::string(100, ':')));
}

TEST(Conditions, SchemeAndServerNameAreTheConnections) {
  EXPECT_TRUE(matches({.scheme = "https"}, {.scheme = "https"}));
  EXPECT_EQ(why({.scheme = "https"}, {}), "scheme 'http' matches none of: https");
  const config::When named{.server_names = {"*.a.test"}};
  EXPECT_TRUE(matches(named, {.server_name = "x.a.test"}));
  EXPECT_EQ(why(named, {}), "the client named no server (SNI); wanted: *.a.test");
}

TEST(Conditions, RegularExpressionsMatchAnywhereUnlessTheyAreAnchored) {
  EXPECT_TRUE(matches({.paths_regex = {"/v[0-9]+/"}}, {.path = "/api/v12/x"}));
  EXPECT_FALSE(matches({.paths_regex = {"^/v[0-9]+/"}}, {.path = "/api/v12/x"}));
  EXPECT_TRUE(matches({.hosts_regex = {"^(a|b)\\.test$"}}, {.authority = "B.test:80"}));
  const Headers headers{{"User-Agent", "curl/8"}, {"Cookie", "s=abc123"}};
  const Request request{.query = "id=42", .server_name = "x.test", .headers = &headers};
  EXPECT_TRUE(matches({.headers_regex = {{"user-agent", {"^curl/"}}},
                       .query_regex = {{"id", {"^[0-9]+$"}}},
                       .cookies_regex = {{"s", {"[0-9]{3}$"}}},
                       .server_names_regex = {"^x"}},
                      request));
  EXPECT_EQ(why({.query_regex = {{"id", {"^[a-z]+$"}}}}, request),
            "query parameter 'id' ('42') matches none of: /^[a-z]+$/");
}

TEST(Conditions, BytesThatAreNoTextAreMatchedToo) {
  const Headers headers{{"X", "\xff\xfe!"}};
  EXPECT_TRUE(matches({.headers_regex = {{"x", {"^..!$"}}}}, {.headers = &headers}));
}

TEST(Conditions, AnyAllAndNotAreNested) {
  config::When when{.paths = {"/x"}};
  when.any = {{.methods = {"POST"}}, {.scheme = "https"}};
  when.none = {{.any = {{.query = {{"a", {"*"}}}}, {.query = {{"b", {"*"}}}}}}};
  EXPECT_TRUE(matches(when, {.path = "/x", .method = "POST"}));
  EXPECT_TRUE(matches(when, {.path = "/x", .scheme = "https"}));
  EXPECT_FALSE(matches(when, {.path = "/x", .query = "b=1", .scheme = "https"}));
  EXPECT_EQ(why(when, {.path = "/x"}),
            "nothing of `any` holds: method 'GET' matches none of: POST; scheme 'http' matches "
            "none of: https");
  EXPECT_EQ(why(when, {.path = "/x", .query = "b=1", .scheme = "https"}),
            "what `not` excludes holds");
}

TEST(Conditions, NotHoldsUnlessAllOfItHolds) {
  config::When when;
  when.none = {{.methods = {"POST"}, .scheme = "http"}};
  EXPECT_FALSE(matches(when, {.method = "POST"}));
  EXPECT_TRUE(matches(when, {.method = "POST", .scheme = "https"}));
  EXPECT_TRUE(matches(when, {.method = "GET"}));
}

TEST(Conditions, APercentageTakesItsShareOfTheDraws) {
  config::Rule rule;
  rule.when.share = 0.1;
  config::Rule second;
  second.when.share = 0.5;
  const Table table({rule, second});
  EXPECT_TRUE(table.uses_draw());
  std::vector<int> taken(3);
  for (std::uint64_t draw = 0; draw < 100'000; ++draw) {
    ++taken[std::min<std::size_t>(table.find({.draw = draw * 0x9e3779b97f4a7c15ULL}), 2)];
  }
  EXPECT_NEAR(taken[0], 10'000, 600);
  EXPECT_NEAR(taken[1], 45'000, 1'000) << "half of what the first left: the lots are independent";
}

TEST(Conditions, TheSameDrawAlwaysFallsTheSame) {
  const config::When when{.share = 0.5};
  for (std::uint64_t draw = 1; draw < 100; ++draw) {
    EXPECT_EQ(matches(when, {.draw = draw}), matches(when, {.draw = draw}));
  }
}

TEST(Conditions, ZeroAndAHundredPercentAreNoneAndAll) {
  for (std::uint64_t draw = 0; draw < 1000; ++draw) {
    EXPECT_FALSE(matches({.share = 0.0}, {.draw = draw * 7919}));
    EXPECT_TRUE(matches({.share = 1.0}, {.draw = draw * 7919}));
  }
}

TEST(Conditions, ExplainSaysWhenALotDecides) {
  config::Rule lot;
  lot.when.share = 0.1;
  const auto verdicts = Table({lot, config::Rule{}}).explain({});
  ASSERT_EQ(verdicts.size(), 2u);
  EXPECT_EQ(verdicts[0].fate, Table::Fate::sometimes);
  EXPECT_EQ(verdicts[1].fate, Table::Fate::matched);
}

TEST(Conditions, WhatTheyNeedOfARequestIsKnownHoweverDeepItIs) {
  config::Rule rule;
  rule.when.any = {{.all = {{.source_ips = {{"10.0.0.0", 8}}}}}, {.none = {{.share = 0.5}}}};
  EXPECT_TRUE(Table({rule}).uses_source());
  EXPECT_TRUE(Table({rule}).uses_draw());
  EXPECT_FALSE(Table({config::Rule{}}).uses_source());
  EXPECT_FALSE(Table({config::Rule{}}).uses_draw());
}

}  // namespace
}  // namespace lbd::route
