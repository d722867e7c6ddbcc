#include "lbd/upstream/sticky.h"

#include <gtest/gtest.h>

#include <set>

#include "lbd/net/digest.h"
#include "lbd/proxy/pick.h"

namespace lbd::upstream {
namespace {

// RFC 4231, test cases 1 and 2.
TEST(KeyedDigest, IsHmacSha256) {
  const auto hex = [](const std::string& bytes) {
    std::string out;
    for (const char c : bytes) {
      out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
      out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
    }
    return out;
  };
  EXPECT_EQ(hex(net::keyed_digest(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex(net::keyed_digest("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

// RFC 4648 §10, without padding.
TEST(Base64Url, HasNoPaddingAndNoLetterThatACookieCannotHold) {
  EXPECT_EQ(net::base64url(""), "");
  EXPECT_EQ(net::base64url("f"), "Zg");
  EXPECT_EQ(net::base64url("fo"), "Zm8");
  EXPECT_EQ(net::base64url("foo"), "Zm9v");
  EXPECT_EQ(net::base64url("foobar"), "Zm9vYmFy");
  EXPECT_EQ(net::base64url("\xfb\xff\xfe"), "-__-");
}

TEST(StickyToken, IsAnothersForEachTargetGroupAndKey) {
  std::set<std::string> tokens;
  for (const char* key : {"key one", "key two"}) {
    for (const char* group : {"web", "api"}) {
      for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
        tokens.insert(sticky_token(key, group, address));
      }
    }
  }
  EXPECT_EQ(tokens.size(), 8u);
  for (const std::string& each : tokens) EXPECT_EQ(each.size(), 22u);
  EXPECT_EQ(sticky_token("k", "web", "a"), sticky_token("k", "web", "a"));
}

TEST(StickyTokens, AreFoundByWhatACookieHolds) {
  const StickyTokens tokens({}, "lbd-web", {"aaa", "bbb", "aaa"});
  EXPECT_EQ(tokens.find("aaa"), 0u);
  EXPECT_EQ(tokens.find("bbb"), 1u);
  EXPECT_EQ(tokens.find(""), StickyTokens::kNone);
  EXPECT_EQ(tokens.find("aaaa"), StickyTokens::kNone);
}

TEST(StickyTokens, CookiesSayHowLongTheyLast) {
  using config::SameSite;
  const StickyTokens usual({}, "lbd-my rule", {});
  EXPECT_EQ(usual.cookie(), "lbd-my-rule");
  EXPECT_EQ(usual.attributes(), "; Path=/; Max-Age=86400; HttpOnly");
  EXPECT_TRUE(usual.renews());
  const StickyTokens own({"mine", std::chrono::seconds(0), SameSite::lax}, "lbd-web", {});
  EXPECT_EQ(own.cookie(), "mine");
  EXPECT_EQ(own.attributes(), "; Path=/; HttpOnly; SameSite=Lax");
  EXPECT_FALSE(own.renews());
}

TEST(KeptTarget, ServesUnlessItCannot) {
  LiveState live(1);
  config::TargetGroup settings;
  settings.name = "web";
  settings.fail_open = false;
  settings.limits.requests_per_target_max = 2;
  settings.stickiness.emplace();
  const auto input = [](const char* ip, std::uint32_t weight, TargetState state) {
    return TargetInput{{ip, 80}, "a", weight, state};
  };
  const auto group = compile_group(
      settings,
      {input("10.0.0.1", 1, TargetState::healthy), input("10.0.0.2", 0, TargetState::healthy),
       input("10.0.0.3", 1, TargetState::unhealthy), input("10.0.0.4", 1, TargetState::ejected),
       input("10.0.0.5", 1, TargetState::draining), input("10.0.0.6", 1, TargetState::initial)},
      "a", live);
  using proxy::Kept;
  proxy::Tried tried;
  const Kept expected[] = {Kept::serves, Kept::serves, Kept::gone,
                           Kept::gone,   Kept::gone,   Kept::serves};
  for (std::uint32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(look_at_kept(*group, i, tried), expected[i]) << i;
    EXPECT_EQ(group->sticky->find(group->sticky->token(i)), i);
  }
  group->targets[0].live->load(0).in_flight.set(2);
  EXPECT_EQ(look_at_kept(*group, 0, tried), Kept::full);
  tried.add(group->targets[1].live.get(), 0);
  EXPECT_EQ(look_at_kept(*group, 1, tried), Kept::gone);
}

TEST(KeptTarget, KeepsItsTokenOverSnapshots) {
  LiveState live(1);
  live.set_cookie_key("secret");
  config::TargetGroup settings;
  settings.name = "web";
  settings.stickiness.emplace();
  const TargetInput one{{"10.0.0.1", 80}, "a", 1, TargetState::healthy};
  const TargetInput two{{"10.0.0.2", 80}, "a", 1, TargetState::healthy};
  const auto before = compile_group(settings, {one}, "a", live);
  const auto after = compile_group(settings, {two, one}, "a", live);
  EXPECT_EQ(after->sticky->find(before->sticky->token(0)), 1u);
}

}  // namespace
}  // namespace lbd::upstream
