// The desync class and reason of each request, stated: both versions of llhttp must give them.
#include "lbd/http/desync.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "lbd/http/target.h"
#include "tests/support/heads.h"

namespace lbd::http {
namespace {

using enum DesyncReason;

std::string get(std::string_view fields, std::string_view target = "/") {
  return "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
}
std::string post(std::string_view fields) {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
}

struct Row {
  std::string text;
  DesyncReason reason;
  Fault fault = Fault::none;
};

std::vector<Row> passed_rows() {
  return {
      {get(""), none},
      {get("", "/a%2fb?x=%0d%0a"), none},
      {get("X:\r\nX_Y: 1\r\nContent-Language: de\r\n"), none},
      {post("Content-Length: 0\r\n"), none},
      {get("Content-Length: 0\r\n"), zero_length_without_use},
      {post("Content-Length: 05\r\n"), padded_length},
      {get("X: \xe9\r\n"), non_ascii_header},
      {get("", "/a|b"), non_compliant_uri},
      {get("", "/?a|b"), non_compliant_uri},
      {get("Content-Length: 5\r\n"), length_without_use},
      {get("Transfer-Encoding: chunked\r\n"), coding_without_use},
      {get("Content_Length: 5\r\n"), suspicious_header},
      {get("X_Forwarded_For: b\r\n"), suspicious_header},
      {get("X_Amzn_Mtls_Clientcert_Serial_Number: 1\r\n"), suspicious_header},
      {get("X-Amzn-Mtls_Clientcert: b\r\n"), suspicious_header},
      {get("X-Amzn-Mtls-Clientcert-Leaf: b\r\n"), none},
      {get("-Content-Length: 5\r\n"), suspicious_header},
      {get("ContentLength: 5\r\n"), suspicious_header},
      {get("", "/a%00b"), ambiguous_uri},
      {get("", "/a%7Fb"), ambiguous_uri},
      {get("", "http://b/"), host_mismatch},
      {get("", "http://A/"), none},
      {get("Connection: close, Host\r\n"), connection_names_field},
      {get("Connection: cookie\r\n"), connection_names_field},
      {post("Content-Length: 3\r\nContent_Length: 4\r\n"), suspicious_framing},
      // The worst of several.
      {get("X: \xe9\r\nContent-Length: 5\r\nX: \xe9\r\n", "/|"), length_without_use},
  };
}

std::vector<Row> refused_rows() {
  const Fault bad = Fault::client_protocol;
  return {
      {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", bad_method, bad},
      {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", bad_version, bad},
      {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", bad_version, bad},
      {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line, bad},
      {get("", "/a#b"), bad_uri, bad},
      {get("X: y\r\n z\r\n"), bad_line_end, bad},
      {get("X: y\rz\r\n"), bad_line_end, bad},
      {get("X : y\r\n"), bad_header, bad},
      {get("X: \x01\r\n"), bad_header, bad},
      {get("Host: a\r\n"), bad_host, bad},
      {post("Content-Length: +3\r\n"), bad_content_length, bad},
      {post("Content-Length: 3\r\nContent-Length: 3\r\n"), multiple_content_length, bad},
      {post("Transfer-Encoding: gzip\r\n"), bad_transfer_encoding, bad},
      {post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), both_length_and_coding, bad},
      {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", none, Fault::unsupported},
      {"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", none, Fault::unsupported},
      {post("Expect: x\r\n"), none, Fault::bad_expectation},
  };
}

TEST(Desync, EachDepartureFromTheRfcsHasItsReason) {
  for (const auto& table : {passed_rows(), refused_rows()}) {
    for (const Row& row : table) {
      SCOPED_TRACE(row.text);
      const ParsedRequest got = parse_request(row.text);
      EXPECT_EQ(fault_name(got.fault), fault_name(row.fault));
      EXPECT_EQ(desync_name(got.head.desync), desync_name(row.reason));
    }
  }
}

TEST(Desync, EveryReasonHasANameOfItsOwnAndWhatIsRefusedIsSevere) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < static_cast<std::size_t>(kCount); ++i) {
    const auto reason = static_cast<DesyncReason>(i);
    EXPECT_FALSE(desync_name(reason).empty());
    names.insert(desync_name(reason));
    if (i >= static_cast<std::size_t>(bad_method)) {
      EXPECT_EQ(desync_class_name(desync_class(reason)), "severe");
    }
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kCount));
}

TEST(Desync, TheWorseOfTwoIsKeptAndTheFirstOfEquals) {
  EXPECT_EQ(worse(none, padded_length), padded_length);
  EXPECT_EQ(worse(suspicious_header, padded_length), suspicious_header);
  EXPECT_EQ(worse(ambiguous_uri, host_mismatch), ambiguous_uri);
}

TEST(Authority, IsAHostAndAPortAsRfc3986HasThem) {
  for (const std::string_view good : {"", "a", "a:80", "a:", "a_b.c-d~e", "1.2.3.4:1", "[::1]",
                                      "[::1]:65535", "[::ffff:1.2.3.4]", "x%41"}) {
    EXPECT_TRUE(is_authority(good)) << good;
  }
  for (const std::string_view bad :
       {"a/b", "u@a", "a b", "a,b", ":80", "a:x", "a:65536", "a:1:2", "[::1", "[a]x", "[]", "[x]",
        "[::1]a", "a\\b", "a\"b", "\xe9"}) {
    EXPECT_FALSE(is_authority(bad)) << bad;
  }
}

}  // namespace
}  // namespace lbd::http
