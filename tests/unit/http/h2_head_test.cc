#include "lbd/http/h2_head.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/h2_peer.h"

namespace lbd::http {
namespace {

using h2::Fields;
using h2::request;
using Kind = Framing::Kind;

struct Built {
  explicit Built(const Fields& fields, bool last = true, const HeadLimits& limits = {}) {
    for (const auto& [name, value] : fields) builder.add(name, value, limits);
    fault = builder.finish_request(last, head);
  }
  BufferPool pool;
  H2HeadBuilder builder{pool};
  RequestHead head;
  Fault fault = Fault::none;
};

std::string value_of(const RequestHead& head, std::string_view name) {
  std::string found;
  for (const Header& each : head.headers) {
    if (each.name == name) found += (found.empty() ? "" : "|") + std::string(each.value);
  }
  return found;
}

TEST(H2Head, SplitsTheTarget) {
  const Built built(request("/a/b?c=d?e"));
  EXPECT_EQ(built.fault, Fault::none);
  EXPECT_EQ(built.head.path, "/a/b");
  EXPECT_EQ(built.head.query, "c=d?e");
  EXPECT_EQ(built.head.authority, "shop.test");
  EXPECT_EQ(built.head.version, Version::http_2);
  EXPECT_EQ(built.head.framing.kind, Kind::none);
}

TEST(H2Head, TakesTheHostFieldForAMissingAuthority) {
  const Built built(
      {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"host", "shop.test:81"}});
  EXPECT_EQ(built.fault, Fault::none);
  EXPECT_EQ(built.head.authority, "shop.test:81");
}

TEST(H2Head, NotesLookalikesAndWhetherTrailersAreTaken) {
  EXPECT_TRUE(Built(request("/", {{"content_length", "5"}})).head.lookalikes);
  EXPECT_TRUE(Built(request("/", {{"x_amzn_mtls_clientcert_leaf", "x"}})).head.lookalikes);
  EXPECT_FALSE(Built(request("/", {{"content-language", "de"}})).head.lookalikes);
  EXPECT_TRUE(Built(request("/", {{"te", "trailers"}})).head.takes_trailers);
  EXPECT_FALSE(Built(request("/", {{"x", "trailers"}})).head.takes_trailers);
}

TEST(H2Head, JoinsCookieCrumbsInTheirOrderAtTheFirstsPlace) {
  const Built built(
      request("/", {{"cookie", "a=1"}, {"x", "1"}, {"cookie", "b=2"}, {"cookie", "c"}}));
  EXPECT_EQ(built.fault, Fault::none);
  EXPECT_EQ(value_of(built.head, "cookie"), "a=1; b=2; c");
  EXPECT_EQ(built.head.headers.size(), 2u);
  EXPECT_EQ(built.head.headers.front().name, "cookie");
}

TEST(H2Head, AGreatManyCrumbsMoveNoView) {
  Fields crumbs;
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    crumbs.emplace_back("cookie", "crumb" + std::to_string(i) + std::string(50, 'x'));
    expected += (i > 0 ? "; " : "") + crumbs.back().second;
  }
  const Built built(request("/", crumbs));
  EXPECT_EQ(built.fault, Fault::none);
  EXPECT_EQ(value_of(built.head, "cookie"), expected);
  EXPECT_EQ(built.head.path, "/");
}

TEST(H2Head, ABodyOfUnknownLengthIsChunkedAndNoBodyOfAPostHasLengthZero) {
  EXPECT_EQ(Built(request("/", {}, "POST"), false).head.framing.kind, Kind::chunked);
  const Built empty(request("/", {}, "POST"), true);
  EXPECT_EQ(empty.head.framing.kind, Kind::length);
  EXPECT_EQ(empty.head.framing.length, 0u);
  const Built stated(request("/", {{"content-length", "17"}}, "PUT"), false);
  EXPECT_EQ(stated.head.framing.kind, Kind::length);
  EXPECT_EQ(stated.head.framing.length, 17u);
}

TEST(H2Head, AnExtendedConnectIsTheUpgradeThatItIsInHttp1) {
  Fields fields = request("/chat?a=b",
                          {{"sec-websocket-version", "13"}, {"sec-websocket-key", "x"}}, "CONNECT");
  fields.insert(fields.begin(), {":protocol", "websocket"});
  const Built built(fields, false);
  EXPECT_EQ(built.fault, Fault::none);
  EXPECT_EQ(built.head.method, Method::get);
  EXPECT_EQ(built.head.method_text, "GET");
  EXPECT_EQ(built.head.upgrade, "websocket");
  EXPECT_TRUE(built.head.wants_upgrade);
  EXPECT_EQ(built.head.path, "/chat");
  EXPECT_EQ(built.head.framing.kind, Kind::none);
  EXPECT_EQ(value_of(built.head, "sec-websocket-version"), "13");
  EXPECT_EQ(value_of(built.head, "sec-websocket-key"), "");
  EXPECT_EQ(Built(fields, true).fault, Fault::client_protocol);  // ended before it began
  Fields odd = fields;
  odd.front().second = "web socket";
  EXPECT_EQ(Built(odd, false).fault, Fault::client_protocol);
  fields.emplace_back("content-length", "3");
  EXPECT_EQ(Built(fields, false).fault, Fault::client_protocol);
}

TEST(H2Head, WhatServersReadDifferentlyIsDoubtedAsInHttp1) {
  const auto doubt = [](const Fields& fields, bool last = true) {
    const Built built(fields, last);
    EXPECT_EQ(built.fault, Fault::none);
    return built.head.desync;
  };
  EXPECT_EQ(doubt(request("/")), DesyncReason::none);
  EXPECT_EQ(doubt(request("/", {{"content-length", "5"}}), false),
            DesyncReason::length_without_use);
  EXPECT_EQ(doubt(request("/"), false), DesyncReason::coding_without_use);
  EXPECT_EQ(doubt(request("/", {{"content-length", "0"}})), DesyncReason::zero_length_without_use);
  EXPECT_EQ(doubt(request("/", {}, "POST"), false), DesyncReason::none);
  EXPECT_EQ(doubt(request("/a%00b")), DesyncReason::ambiguous_uri);
  EXPECT_EQ(doubt(request("/a%0d%0ab")), DesyncReason::ambiguous_uri);
  EXPECT_EQ(doubt(request("/<a>")), DesyncReason::non_compliant_uri);
  EXPECT_EQ(doubt(request("/", {{"x_forwarded_for", "1"}})), DesyncReason::suspicious_header);
  EXPECT_EQ(doubt(request("/", {{"content_length", "1"}}, "POST"), false),
            DesyncReason::suspicious_framing);
  EXPECT_EQ(doubt(request("/", {{"x", "\xe9"}})), DesyncReason::non_ascii_header);
}

struct Refused {
  const char* name;
  Fields fields;
  Fault fault = Fault::client_protocol;
};

Fields without(const char* name) {
  Fields fields = request("/");
  std::erase_if(fields, [&](const auto& each) { return each.first == name; });
  return fields;
}
Fields with(const char* name, std::string value) {
  Fields fields = without(name);
  fields.insert(fields.begin(), {name, std::move(value)});
  return fields;
}

std::vector<Refused> refused_heads() {
  std::vector<Refused> all{
      {"no method", without(":method")},
      {"no scheme", without(":scheme")},
      {"no path", without(":path")},
      {"no authority and no host", without(":authority")},
      {"empty method", with(":method", "")},
      {"empty path", with(":path", "")},
      {"empty authority", with(":authority", "")},
      {"method with a space", with(":method", "GET /")},
      {"scheme of another kind", with(":scheme", "ftp")},
      {"path without a slash", with(":path", "a")},
      {"absolute path", with(":path", "http://a/")},
      {"path with a space", with(":path", "/ HTTP/1.1")},
      {"path with CRLF", with(":path", "/\r\nx: y")},
      {"path with a fragment", with(":path", "/#a")},
      {"path with a byte above ASCII", with(":path", "/\xc3\xa9")},
      {"star with GET", with(":path", "*")},
      {"authority with user information", with(":authority", "a@b")},
      {"authority with a comma", with(":authority", "a,b")},
      {"authority with a slash", with(":authority", "a/b")},
      {"CONNECT", with(":method", "CONNECT"), Fault::unsupported},
      {"a protocol with GET", with(":protocol", "websocket")},
      {"unknown pseudo-header", with(":foo", "1")},
  };
  const auto field = [&all](const char* name, const char* key, std::string value,
                            Fault fault = Fault::client_protocol) {
    all.push_back({name, request("/", {{key, std::move(value)}}), fault});
  };
  field("another host", "host", "other.test");
  field("an empty host", "host", "");
  field("connection", "connection", "close");
  field("keep-alive", "keep-alive", "1");
  field("proxy-connection", "proxy-connection", "close");
  field("transfer-encoding", "transfer-encoding", "chunked");
  field("upgrade", "upgrade", "websocket");
  field("te of another kind", "te", "trailers, gzip");
  field("upper case", "X-A", "1");
  field("no name", "", "1");
  field("name with a space", "x a", "1");
  field("name with a colon", "x:a", "1");
  field("value with LF", "x", "a\nb");
  field("value with CR", "x", "a\rb");
  field("value with NUL", "x", std::string("a\0b", 3));
  field("value with DEL", "x", "a\x7f");
  field("value with a blank before", "x", " a");
  field("value with a tab behind", "x", "a\t");
  field("signed length", "content-length", "+1");
  field("length in a list", "content-length", "0,0");
  field("empty length", "content-length", "");
  field("hexadecimal length", "content-length", "0x1");
  field("length beyond what counts", "content-length", "9999999999999999999");
  field("a length and no body", "content-length", "1");
  field("another expectation", "expect", "200-ok", Fault::bad_expectation);
  all.push_back({"two hosts", request("/", {{"host", "shop.test"}, {"host", "shop.test"}})});
  all.push_back({"two lengths", request("/", {{"content-length", "0"}, {"content-length", "0"}})});
  all.push_back({"a pseudo-header behind a field", request("/", {{"x", "1"}, {":path", "/b"}})});
  Fields twice = request("/");
  twice.insert(twice.begin(), {":path", "/b"});
  all.push_back({"two paths", twice});
  return all;
}

TEST(H2Head, RefusesWhatTwoReadersCouldReadDifferently) {
  for (const Refused& each : refused_heads()) {
    EXPECT_EQ(Built(each.fields).fault, each.fault) << each.name;
  }
}

TEST(H2Head, OverItsLimitsItKeepsNothingAndSaysSo) {
  HeadLimits limits;
  limits.headers_max = 10;
  Fields many;
  for (int i = 0; i < 20; ++i) many.emplace_back("x", "1");
  EXPECT_EQ(Built(request("/", many), true, limits).fault, Fault::header_too_large);
  many.resize(10);
  EXPECT_EQ(Built(request("/", many), true, limits).fault, Fault::none);

  limits = {};
  limits.line_bytes_max = 100;
  EXPECT_EQ(Built(request("/", {{"x", std::string(99, 'a')}}), true, limits).fault, Fault::none);
  EXPECT_EQ(Built(request("/", {{"x", std::string(100, 'a')}}), true, limits).fault,
            Fault::header_too_large);

  limits = {};
  limits.head_bytes_max = 4096;  // of which 32 are counted for each field, as RFC 9113 §6.5.2 does
  Fields small(100, {"a", "b"});
  EXPECT_EQ(Built(request("/", small), true, limits).fault, Fault::none);
  small.resize(128, {"a", "b"});
  EXPECT_EQ(Built(request("/", small), true, limits).fault, Fault::header_too_large);
}

TEST(H2Head, TrailersLoseWhatBelongsInAHead) {
  BufferPool pool;
  H2HeadBuilder builder(pool);
  const HeadLimits limits;
  for (const char* name : {"grpc-status", "authorization", "set-cookie", "x-forwarded-for",
                           "x-amzn-mtls-clientcert-subject", "x_amzn_mtls_clientcert_subject",
                           "connection", "x-checksum"}) {
    builder.add(name, "1", limits);
  }
  std::vector<Header> trailers;
  EXPECT_EQ(builder.finish_trailers(trailers), Fault::none);
  ASSERT_EQ(trailers.size(), 2u);
  EXPECT_EQ(trailers[0].name, "grpc-status");
  EXPECT_EQ(trailers[1].name, "x-checksum");
  for (const char* name : {":path", "content-length", "content_length", "host", "X-Upper"}) {
    builder.clear();
    builder.add(name, "1", limits);
    EXPECT_EQ(builder.finish_trailers(trailers), Fault::client_protocol) << name;
  }
}

}  // namespace
}  // namespace lbd::http
