#include "lbd/control/explain.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

#include "lbd/cli/show.h"

namespace lbd::control {
namespace {

namespace json = boost::json;
using Words = std::map<std::string, std::string>;

config::Config shop() {
  config::Config config;
  config.target_groups["web"].name = "web";
  config.target_groups["web"].targets = {{{"10.0.0.1", 80}, "a", 1, {}},
                                         {{"10.0.0.2", 80}, "b", 0, {}}};
  config.target_groups["new"].name = "new";
  config::Listener& listener = config.listeners["public"];
  listener.name = "public";
  listener.rules.resize(4);
  listener.rules[0] = {
      .name = "posts", .when = {.methods = {"POST"}}, .then = config::Forward{"web"}};
  listener.rules[1] = {
      .name = "office",
      .when = {.headers = {{"X-Office", {"1"}}}, .source_ips = {{"192.0.2.0", 24}}},
      .then = config::Redirect{}};
  listener.rules[2] = {
      .name = "lot", .when = {.share = 0.1}, .then = config::FixedResponse{.status = 429}};
  listener.rules[3] = {.name = "shop",
                       .when = {.paths = {"/shop/*"}},
                       .then = config::Forward{"", {{"web", 3}, {"new", 1}}}};
  listener.rules[3].rewrite.path_prefix_from = "/shop";
  listener.rules[3].rewrite.path_prefix_to = "/";
  return config;
}

json::value answer_to(const Words& asked) {
  const auto question = explain_question(asked);
  if (!question) return json::string(question.error().message);
  const auto answer = explain_file(shop(), *question);
  return answer ? *answer : json::value(json::string(answer.error().message));
}

std::string shown(const Words& asked) { return cli::show_explanation(answer_to(asked)); }

TEST(Explain, SaysWhyEachEarlierRuleLostAndWhoWouldServe) {
  EXPECT_EQ(shown({{"url", "http://a.test/shop/cart?x=1"}}),
            "listener public\n"
            "    posts   method 'GET' matches none of: POST\n"
            "    office  the client's address is not known; wanted: 192.0.2.0/24\n"
            "  ~ lot     every condition holds but for the lot of a percentage\n"
            "  → shop    every condition holds\n"
            "  ⇒ lot: respond 429\n"
            "  ⇒ shop: forward\n"
            "    as GET /cart?x=1, Host: a.test\n"
            "    web 75%  10.0.0.1:80  a  -  may serve\n"
            "    web 75%  10.0.0.2:80  b  -  is not used\n"
            "    new 25%  no targets\n");
}

TEST(Explain, KnowsMethodHeadersAndSource) {
  const json::value answer = answer_to({{"method", "PUT"},
                                        {"url", "https://a.test/"},
                                        {"headers", "X-Office: 1\nX-Other: 2\n"},
                                        {"source", "192.0.2.7"}});
  const json::array& rules = answer.at("listeners").at(0).at("rules").as_array();
  ASSERT_EQ(rules.size(), 2u);
  EXPECT_EQ(rules[1].at("fate"), "matched");
  EXPECT_EQ(answer.at("sni"), "a.test") << "as a browser would send it";
  EXPECT_EQ(answer.at("listeners").at(0).at("answers").at(0).at("action"), "redirect 301");
}

TEST(Explain, WithoutARuleOrDefaultTheAnswerIs404) {
  const std::string text = shown({{"url", "http://a.test/"}});
  EXPECT_TRUE(text.ends_with("  ⇒ -: respond 404 no_route\n")) << text;
}

TEST(Explain, KnowsWhoIsKeptOut) {
  const auto action = [](const config::Config& config, const char* source) {
    const auto question = explain_question({{"url", "http://a/shop/x"}, {"source", source}});
    const auto answer = explain_file(config, *question);
    const json::array& answers = answer->at("listeners").at(0).at("answers").as_array();
    return std::string(answers.back().at("action").as_string());
  };
  config::Config config = shop();
  config.listeners["public"].rules[3].access.allow = {{"10.0.0.0", 8}};
  EXPECT_EQ(action(config, "10.1.1.1"), "forward");
  EXPECT_EQ(action(config, "11.1.1.1"), "respond 403 access_denied");
  config.listeners["public"].access.deny = {{"10.1.0.0", 16}};
  EXPECT_EQ(action(config, "10.1.1.1"), "respond 403 access_denied");
}

TEST(Explain, AtLayer4AConnectionIsForwardedOrClosed) {
  config::Config config;
  config.target_groups["db"].protocol = config::TargetProtocol::tcp;
  config::Listener& listener = config.listeners["sites"];
  listener.name = "sites";
  listener.protocol = config::ListenerProtocol::tls;
  listener.rules = {
      {.name = "shop", .when = {.server_names = {"shop.test"}}, .then = config::Forward{"db"}}};
  const auto action = [&config](const char* url, const char* source) {
    const auto question = explain_question({{"url", url}, {"source", source}});
    const auto answer = explain_file(config, *question);
    const json::array& answers = answer->at("listeners").at(0).at("answers").as_array();
    return std::string(answers.back().at("action").as_string());
  };
  EXPECT_EQ(action("https://shop.test/", ""), "forward");
  EXPECT_EQ(action("https://other.test/", ""), "close no_route");
  EXPECT_EQ(action("http://shop.test/", ""), "close client_protocol");
  listener.access.deny = {{"10.0.0.0", 8}};
  EXPECT_EQ(action("https://shop.test/", "10.1.1.1"), "close access_denied");
}

TEST(Explain, RefusesWhatIsNoQuestion) {
  EXPECT_EQ(answer_to({{"url", "a.test/x"}}), "the URL must be like http://host/path?query");
  EXPECT_EQ(answer_to({{"url", "ftp://a.test/x"}}), "the URL must be like http://host/path?query");
  EXPECT_EQ(answer_to({{"method", "A B"}, {"url", "http://a/"}}), "'A B' is not a method");
  EXPECT_EQ(answer_to({{"headers", "nonsense"}, {"url", "http://a/"}}),
            "'nonsense' is no header: write it as 'Name: value'");
  EXPECT_EQ(answer_to({{"source", "home"}, {"url", "http://a/"}}), "'home' is not an IP address");
  EXPECT_EQ(answer_to({{"listener", "x"}, {"url", "http://a/"}}), "there is no listener 'x'");
}

}  // namespace
}  // namespace lbd::control
