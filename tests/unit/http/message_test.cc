#include "lbd/http/message.h"

#include <gtest/gtest.h>

#include <cctype>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace lbd::http {
namespace {

const std::vector<std::pair<std::string, HeaderId>> kNames = {
    {"X-Amzn-Mtls-Clientcert", HeaderId::client_certificate},
    {"X-Amzn-Mtls-Clientcert-Issuer", HeaderId::client_certificate},
    {"X-Amzn-Mtls-Clientcert-Leaf", HeaderId::client_certificate},
    {"X-Amzn-Mtls-Clientcert-Serial-Number", HeaderId::client_certificate},
    {"X-Amzn-Mtls-Clientcert-Subject", HeaderId::client_certificate},
    {"X-Amzn-Mtls-Clientcert-Validity", HeaderId::client_certificate},
    {"Connection", HeaderId::connection},
    {"Content-Length", HeaderId::content_length},
    {"Content-Type", HeaderId::content_type},
    {"Date", HeaderId::date},
    {"endpoint-load-metrics", HeaderId::endpoint_load_metrics},
    {"Expect", HeaderId::expect},
    {"Forwarded", HeaderId::forwarded},
    {"Host", HeaderId::host},
    {"Keep-Alive", HeaderId::keep_alive},
    {"Proxy-Authenticate", HeaderId::proxy_authenticate},
    {"Proxy-Authorization", HeaderId::proxy_authorization},
    {"Proxy-Connection", HeaderId::proxy_connection},
    {"Referer", HeaderId::referer},
    {"Set-Cookie", HeaderId::set_cookie},
    {"TE", HeaderId::te},
    {"traceparent", HeaderId::traceparent},
    {"tracestate", HeaderId::tracestate},
    {"Trailer", HeaderId::trailer},
    {"Transfer-Encoding", HeaderId::transfer_encoding},
    {"Upgrade", HeaderId::upgrade},
    {"User-Agent", HeaderId::user_agent},
    {"Via", HeaderId::via},
    {"X-Amzn-Trace-Id", HeaderId::x_amzn_trace_id},
    {"X-Forwarded-For", HeaderId::x_forwarded_for},
    {"X-Forwarded-Host", HeaderId::x_forwarded_host},
    {"X-Forwarded-Port", HeaderId::x_forwarded_port},
    {"X-Forwarded-Proto", HeaderId::x_forwarded_proto},
    {"X-Lbd-Mirror", HeaderId::mirror},
    {"X-Request-Id", HeaderId::x_request_id},
};

TEST(HeaderId, EveryKnownNameIsFoundInAnyCase) {
  std::set<HeaderId> ids;
  for (const auto& [name, id] : kNames) {
    ids.insert(id);
    std::string upper = name;
    std::string lower = name;
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    for (char& c : lower) c = static_cast<char>(std::tolower(c));
    EXPECT_EQ(header_id(name), id) << name;
    EXPECT_EQ(header_id(upper), id) << upper;
    EXPECT_EQ(header_id(lower), id) << lower;
  }
  EXPECT_EQ(ids.size(), static_cast<std::size_t>(HeaderId::x_request_id));
}

TEST(HeaderId, NearMissesAreOther) {
  for (const auto& [name, id] : kNames) {
    EXPECT_EQ(header_id(name + "x"), HeaderId::other) << name;
    EXPECT_EQ(header_id("x" + name), HeaderId::other) << name;
    EXPECT_EQ(header_id(name.substr(1)), HeaderId::other) << name;
    EXPECT_EQ(header_id(name.substr(0, name.size() - 1)), HeaderId::other) << name;
    for (std::size_t i = 0; i < name.size(); ++i) {
      std::string wrong = name;
      wrong[i] = '_';  // X_Forwarded_For is not X-Forwarded-For
      EXPECT_EQ(header_id(wrong), HeaderId::other) << wrong;
    }
  }
  EXPECT_EQ(header_id(""), HeaderId::other);
  EXPECT_EQ(header_id("x"), HeaderId::other);
}

TEST(HeaderId, ALetterAndTheCharacter32BelowAreNotConfused) {
  // '-' is 0x2d, and 0x2d ^ 0x20 is CR: a case fold by masks would take one for the other.
  EXPECT_EQ(header_id("Content\rLength"), HeaderId::other);
  EXPECT_FALSE(equals_ignoring_case("@", "`"));
  EXPECT_FALSE(equals_ignoring_case("[", "{"));
}

TEST(ListHas, TokensAreComparedWholeAndWithoutCase) {
  EXPECT_TRUE(list_has("close", "close"));
  EXPECT_TRUE(list_has("Keep-Alive, CLOSE", "close"));
  EXPECT_TRUE(list_has(" ,, \tclose\t ,x", "close"));
  EXPECT_FALSE(list_has("closed", "close"));
  EXPECT_FALSE(list_has("not-close", "close"));
  EXPECT_FALSE(list_has("clo se", "close"));
  EXPECT_FALSE(list_has("", "close"));
  EXPECT_FALSE(list_has(",", "close"));
}

TEST(IsToken, HoldsForTokenCharactersOnly) {
  const std::string_view others = "!#$%&'*+-.^_`|~";
  for (int c = 0; c < 256; ++c) {
    const char byte = static_cast<char>(c);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    const bool wanted = letter || others.find(byte) != std::string_view::npos;
    EXPECT_EQ(is_token(std::string("a") + byte), wanted && byte != '\0') << c;
  }
  EXPECT_FALSE(is_token(""));
}

TEST(Method, NamesAreExactAndRoundTrip) {
  for (const Method each : {Method::get, Method::head, Method::post, Method::put, Method::delete_,
                            Method::options, Method::patch, Method::trace, Method::query}) {
    EXPECT_EQ(method_of(method_name(each)), each);
  }
  EXPECT_EQ(method_of("get"), Method::other);
  EXPECT_EQ(method_of("GETS"), Method::other);
  EXPECT_EQ(method_of("OTHER"), Method::other);
  EXPECT_EQ(method_of(""), Method::other);
}

TEST(Method, OnlyIdempotentOnesMayBeSentTwice) {
  for (const Method each : {Method::get, Method::head, Method::put, Method::delete_,
                            Method::options, Method::trace, Method::query}) {
    EXPECT_TRUE(is_idempotent(each)) << method_name(each);
  }
  for (const Method each : {Method::post, Method::patch, Method::connect, Method::other}) {
    EXPECT_FALSE(is_idempotent(each)) << method_name(each);
  }
}

}  // namespace
}  // namespace lbd::http
