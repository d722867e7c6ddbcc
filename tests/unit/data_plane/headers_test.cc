#include "lbd/proxy/headers.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/heads.h"

namespace lbd::proxy {
using http::orca_cpu;

namespace {

ClientInfo client_at(std::string_view ip, bool trusted = false) {
  ClientInfo client;
  client.peer = *net::SocketAddress::parse(ip, 4000);
  client.local = *net::SocketAddress::parse("192.0.2.80", 8080);
  client.peer_ip = std::string(ip);
  client.trusted = trusted;
  return client;
}

/// The upstream's fields as "Name: value\n" lines.
struct Sent {
  explicit Sent(std::string_view fields, const ClientInfo& client = client_at("198.51.100.7"),
                const config::ForwardedHeaders& policy = {}, std::string_view version = "1.1") {
    const std::string text =
        "GET /x HTTP/" + std::string(version) + "\r\n" + std::string(fields) + "\r\n";
    const http::ParsedRequest request = http::parse_request(text);
    EXPECT_EQ(request.fault, Fault::none) << text;
    BufferPool pool;
    Buffer scratch(pool);
    std::vector<http::Header> out;
    request_headers({request.head, client, policy, "the-id", "1.1 lbd"}, scratch, out);
    for (const http::Header& each : out) {
      lines += std::string(each.name) + ": " + std::string(each.value) + "\n";
    }
  }
  [[nodiscard]] bool has(std::string_view line) const {
    return ("\n" + lines).find("\n" + std::string(line) + "\n") != std::string::npos;
  }
  [[nodiscard]] bool names(std::string_view name) const {
    return ("\n" + lines).find("\n" + std::string(name) + ": ") != std::string::npos;
  }
  std::string lines;
};

TEST(RequestHeaders, HostComesFirstAndEndToEndFieldsKeepTheirOrder) {
  const Sent sent("Accept: x\r\nHost: a:80\r\nB: 1\r\nA: 2\r\nB: 3\r\n");
  EXPECT_TRUE(sent.lines.starts_with("Host: a:80\nAccept: x\nB: 1\nA: 2\nB: 3\n")) << sent.lines;
}

TEST(RequestHeaders, AnEmptyOrMissingHostIsSentAsAnEmptyOne) {
  // An HTTP/1.1 request without Host is malformed (RFC 9112 §3.2), and ours is one.
  EXPECT_TRUE(Sent("Host:\r\n").lines.starts_with("Host: \n"));
  EXPECT_TRUE(Sent("", client_at("198.51.100.7"), {}, "1.0").lines.starts_with("Host: \n"));
}

TEST(RequestHeaders, HopByHopFieldsStayBehind) {
  const Sent sent(
      "Host: a\r\nConnection: close\r\nKeep-Alive: 5\r\nProxy-Authenticate: x\r\n"
      "Proxy-Authorization: x\r\nProxy-Connection: x\r\nTE: trailers\r\n"
      "Upgrade: h2c\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n");
  for (const std::string_view name :
       {"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
        "TE", "Upgrade", "Transfer-Encoding", "Expect"}) {
    EXPECT_FALSE(sent.names(name)) << name;
  }
}

TEST(RequestHeaders, FieldsThatConnectionNamesStayBehind) {
  const Sent sent("Host: a\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nx-hop: 2\r\nX-End: 3\r\n");
  EXPECT_FALSE(sent.names("X-Hop"));
  EXPECT_FALSE(sent.names("x-hop"));
  EXPECT_TRUE(sent.has("X-End: 3"));
}

TEST(RequestHeaders, ConnectionCannotNameTheFieldsWeSet) {
  const Sent sent("Host: a\r\nConnection: Host, X-Forwarded-For, x-request-id, Via\r\n");
  EXPECT_TRUE(sent.has("Host: a"));
  EXPECT_TRUE(sent.has("X-Forwarded-For: 198.51.100.7"));
  EXPECT_TRUE(sent.has("x-request-id: the-id"));
  EXPECT_TRUE(sent.has("Via: 1.1 lbd"));
}

TEST(RequestHeaders, XForwardedForFollowsItsPolicy) {
  config::ForwardedHeaders policy;
  const auto sent = [&](config::ForwardedMode mode) {
    policy.x_forwarded_for = mode;
    return Sent("Host: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n",
                client_at("198.51.100.7"), policy);
  };
  using config::ForwardedMode;
  EXPECT_TRUE(sent(ForwardedMode::append).has("X-Forwarded-For: 1.1.1.1, 2.2.2.2, 198.51.100.7"));
  EXPECT_TRUE(sent(ForwardedMode::replace).has("X-Forwarded-For: 198.51.100.7"));
  EXPECT_FALSE(sent(ForwardedMode::remove).names("X-Forwarded-For"));
  const Sent kept = sent(ForwardedMode::preserve);
  EXPECT_TRUE(kept.has("X-Forwarded-For: 1.1.1.1"));
  EXPECT_TRUE(kept.has("X-Forwarded-For: 2.2.2.2"));
  EXPECT_EQ(kept.lines.find("X-Forwarded-For: 198.51.100.7"), std::string::npos);
}

TEST(RequestHeaders, OnlyATrustedPeerIsBelievedAboutProtoPortAndHost) {
  const std::string_view fields =
      "Host: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Host: b\r\n"
      "Forwarded: for=1.1.1.1\r\n";
  const Sent stranger(fields);
  EXPECT_TRUE(stranger.has("X-Forwarded-Proto: http"));
  EXPECT_TRUE(stranger.has("X-Forwarded-Port: 8080"));
  EXPECT_FALSE(stranger.names("X-Forwarded-Host"));
  EXPECT_TRUE(stranger.has("Forwarded: for=198.51.100.7;proto=http;host=a"));
  const Sent friendly(fields, client_at("198.51.100.7", true));
  EXPECT_TRUE(friendly.has("X-Forwarded-Proto: https"));
  EXPECT_TRUE(friendly.has("X-Forwarded-Port: 443"));
  EXPECT_TRUE(friendly.has("X-Forwarded-Host: b"));
  EXPECT_TRUE(friendly.has("Forwarded: for=1.1.1.1, for=198.51.100.7;proto=http;host=a"));
}

TEST(RequestHeaders, ForwardedQuotesWhatIsNoToken) {
  const Sent sent("Host: [::1]:80\r\n", client_at("2001:db8::7"));
  EXPECT_TRUE(sent.has("Forwarded: for=\"[2001:db8::7]\";proto=http;host=\"[::1]:80\""))
      << sent.lines;
}

TEST(RequestHeaders, TheTimesARequestHasPassedAreCountedByNameInEveryVia) {
  const auto times = [](std::string_view fields) {
    const std::string text = "GET /x HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
    return times_through(http::parse_request(text).head, "1.1 lbd-7f");
  };
  EXPECT_EQ(times(""), 0u);
  EXPECT_EQ(times("Via: 1.1 lbd-7f\r\n"), 1u);
  EXPECT_EQ(times("Via: 1.0 LBD-7F (x), 1.1 other,1.1\tlbd-7f ,\r\nVia: 2 lbd-7f\r\n"), 3u);
  EXPECT_EQ(times("Via: 1.1 lbd-7f0, lbd-7f, 1.1 lbd, , 1.1\r\n"), 0u);
}

TEST(RequestHeaders, ViaIsAppendedWithTheVersionReceived) {
  EXPECT_TRUE(Sent("Host: a\r\nVia: 1.0 x\r\nVia: 1.1 y\r\n").has("Via: 1.0 x, 1.1 y, 1.1 lbd"));
  EXPECT_TRUE(Sent("", client_at("198.51.100.7"), {}, "1.0").has("Via: 1.0 lbd"));
  config::ForwardedHeaders off;
  off.via = false;
  const Sent plain("Host: a\r\nVia: 1.0 x\r\n", client_at("198.51.100.7"), off);
  EXPECT_TRUE(plain.has("Via: 1.0 x"));
}

TEST(RequestHeaders, ViewsHoldWhenThePeersFieldsAreLarge) {
  const std::string big(9000, 'v');
  const Sent sent("Host: a\r\nX-Forwarded-For: " + big + "\r\nVia: " + big + "\r\n");
  EXPECT_TRUE(sent.has("X-Forwarded-For: " + big + ", 198.51.100.7"));
  EXPECT_TRUE(sent.has("Via: " + big + ", 1.1 lbd"));
}

TEST(RequestHeaders, TrailersAreTakenOnlyWhenThisHopWasTold) {
  EXPECT_TRUE(Sent("Host: a\r\nConnection: te\r\nTE: gzip, trailers\r\n").has("TE: trailers"));
  EXPECT_FALSE(Sent("Host: a\r\nTE: trailers\r\n").has("TE: trailers"));
  EXPECT_FALSE(Sent("Host: a\r\nConnection: te\r\nTE: gzip\r\n").has("TE: trailers"));
}

TEST(RequestHeaders, TrailersAreAnnouncedOnlyForAChunkedBody) {
  const std::string chunked = "Host: a\r\nTransfer-Encoding: chunked\r\n";
  EXPECT_TRUE(Sent(chunked + "Trailer: X-Sum\r\n").has("Trailer: X-Sum"));
  EXPECT_FALSE(Sent("Host: a\r\nTrailer: X-Sum\r\n").has("Trailer: X-Sum"));
}

TEST(RequestHeaders, NamesThatSomeReadForAnotherFieldAreNotSentOn) {
  const Sent sent("Host: a\r\nContent_Length: 5\r\nX_Forwarded_For: 9.9.9.9\r\nX_Y: 1\r\n");
  EXPECT_TRUE(sent.has("X_Y: 1"));
  EXPECT_EQ(sent.lines.find("Content_Length"), std::string::npos);
  EXPECT_EQ(sent.lines.find("X_Forwarded_For"), std::string::npos);
}

ClientInfo client_with_certificate() {
  auto tls = std::make_shared<net::TlsInfo>();
  tls->client_certificate = std::make_unique<const net::ClientCertificate>(
      net::ClientCertificate{"03A5B1", "CN=ca", "CN=me", "NotBefore=x;NotAfter=y", "-----BEGIN"});
  ClientInfo client = client_at("198.51.100.7");
  client.tls = std::move(tls);
  return client;
}

const std::string kForged =
    "Host: a\r\nX-Amzn-Mtls-Clientcert: z\r\nx-amzn-mtls-clientcert-serial-number: z\r\n"
    "X-AMZN-MTLS-CLIENTCERT-ISSUER: z\r\nX-Amzn-Mtls-Clientcert-Subject: z\r\n"
    "X-Amzn-Mtls-Clientcert-Subject: z\r\nX-Amzn-Mtls-Clientcert-Validity: z\r\n"
    "X-Amzn-Mtls-Clientcert-Leaf: z\r\nX_Amzn_Mtls_Clientcert_Subject: z\r\nAccept: x\r\n";

TEST(RequestHeaders, NobodyIsBelievedAboutACertificateNotEvenATrustedProxy) {
  for (const bool trusted : {false, true}) {
    const Sent sent(kForged, client_at("198.51.100.7", trusted));
    EXPECT_EQ(sent.lines.find(": z\n"), std::string::npos) << sent.lines;
    EXPECT_TRUE(sent.has("Accept: x"));
  }
}

TEST(RequestHeaders, WhatAVerifiedCertificateSaysIsToldOnce) {
  const Sent sent(kForged, client_with_certificate());
  EXPECT_EQ(sent.lines.find(": z\n"), std::string::npos) << sent.lines;
  EXPECT_TRUE(sent.has("X-Amzn-Mtls-Clientcert-Serial-Number: 03A5B1")) << sent.lines;
  EXPECT_TRUE(sent.has("X-Amzn-Mtls-Clientcert-Issuer: CN=ca"));
  EXPECT_TRUE(sent.has("X-Amzn-Mtls-Clientcert-Subject: CN=me"));
  EXPECT_TRUE(sent.has("X-Amzn-Mtls-Clientcert-Validity: NotBefore=x;NotAfter=y"));
  EXPECT_TRUE(sent.has("X-Amzn-Mtls-Clientcert-Leaf: -----BEGIN"));
}

TEST(RequestHeaders, RulesSeeOfACertificateWhatTargetsAreTold) {
  for (const bool shown : {false, true}) {
    const std::string text = "GET /x HTTP/1.1\r\n" + kForged + "\r\n";
    http::ParsedRequest request = http::parse_request(text);
    const ClientInfo client = shown ? client_with_certificate() : client_at("198.51.100.7");
    vouch_for_certificate(client, request.head);
    vouch_for_certificate(client, request.head);  // adds nothing
    std::vector<std::string> values;
    for (const http::Header& each : request.head.headers) {
      if (each.id == http::HeaderId::client_certificate) values.emplace_back(each.value);
    }
    const std::vector<std::string> told{"03A5B1", "CN=ca", "CN=me", "NotBefore=x;NotAfter=y",
                                        "-----BEGIN"};
    EXPECT_EQ(values, shown ? told : std::vector<std::string>());
  }
}

TEST(RequestHeaders, ConnectionCannotNameWhatACertificateSays) {
  const Sent sent("Host: a\r\nConnection: x-amzn-mtls-clientcert-subject\r\n",
                  client_with_certificate());
  EXPECT_TRUE(sent.has("X-Amzn-Mtls-Clientcert-Subject: CN=me"));
}

TEST(ResponseHeaders, HopByHopNominatedAndReportFieldsStayBehind) {
  const http::ParsedResponse response = http::parse_response(
      "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nServer: s\r\n"
      "endpoint-load-metrics: TEXT cpu_utilization=0.5\r\nx-request-id: theirs\r\n"
      "Content-Length: 0\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n");
  ASSERT_EQ(response.fault, Fault::none);
  std::vector<http::Header> out;
  response_headers(response.head, "1.1 lbd", "the-id", out);
  std::string lines;
  for (const http::Header& each : out) {
    lines += std::string(each.name) + ": " + std::string(each.value) + "\n";
  }
  EXPECT_EQ(lines, "Server: s\nSet-Cookie: a\nSet-Cookie: b\nVia: 1.1 lbd\nx-request-id: the-id\n");
}

TEST(RequestId, ATrustedOneIsTakenOnlyWhenItIsVisibleAndShort) {
  const auto given = [](std::string_view value) {
    const http::ParsedRequest request = http::parse_request(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + std::string(value) + "\r\n\r\n");
    EXPECT_EQ(request.fault, Fault::none);
    return std::string(given_request_id(request.head));
  };
  EXPECT_EQ(given("abc-123"), "abc-123");
  EXPECT_EQ(given(std::string(128, 'x')), std::string(128, 'x'));
  EXPECT_EQ(given(std::string(129, 'x')), "");
  EXPECT_EQ(given("a b"), "");
  EXPECT_EQ(given("caf\xc3\xa9"), "");
  EXPECT_EQ(given(""), "");
}

TEST(Orca, CpuUtilizationIsFoundInATextReport) {
  EXPECT_DOUBLE_EQ(orca_cpu("TEXT cpu_utilization=0.83, mem_utilization=0.2"), 0.83);
  EXPECT_DOUBLE_EQ(orca_cpu("TEXT mem_utilization=0.2,cpu_utilization=1.5"), 1.5);
  EXPECT_DOUBLE_EQ(orca_cpu("cpu_utilization=0"), 0);
}

TEST(Orca, AnythingElseIsNoReport) {
  for (const std::string_view report :
       {"", "TEXT", "TEXT cpu_utilization=", "TEXT cpu_utilization=x", "TEXT cpu_utilization=-1",
        "TEXT cpu_utilization=nan", "TEXT cpu_utilization=inf", "TEXT cpu_utilization=1e99",
        "JSON {\"cpu_utilization\": 0.3}"}) {
    EXPECT_LT(orca_cpu(report), 0) << report;
  }
}

TEST(Orca, AnotherMetricWhoseNameEndsAlikeIsNotTheCpu) {
  EXPECT_LT(orca_cpu("TEXT named_metrics.gpu_cpu_utilization=0.9"), 0);
  EXPECT_DOUBLE_EQ(orca_cpu("TEXT x_cpu_utilization=0.9, cpu_utilization=0.1"), 0.1);
}

}  // namespace
}  // namespace lbd::proxy
