#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lbd/http/h1_head.h"
#include "tests/support/heads.h"

namespace lbd::http {
namespace {

using Kind = Framing::Kind;

struct Row {
  std::string_view name;
  std::string text;
  int status;  // 0: refused
  Kind framing = Kind::until_close;
  std::uint64_t length = 0;
  bool keep_alive = true;
  Method to = Method::get;
};

std::vector<Row> good_rows() {
  return {
      {"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, Kind::length, 5},
      {"length 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, Kind::length, 0},
      {"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, Kind::chunked},
      {"neither", "HTTP/1.1 200 OK\r\n\r\n", 200, Kind::until_close, 0, false},
      {"no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, Kind::length},
      {"no reason and no space", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, Kind::length},
      {"a long reason", "HTTP/1.1 404 Not here, not there\r\nContent-Length: 0\r\n\r\n", 404,
       Kind::length},
      {"204 has no body", "HTTP/1.1 204 No Content\r\n\r\n", 204, Kind::none},
      {"304 has no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, Kind::none,
       9},
      {"to HEAD no body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, Kind::none, 9, true,
       Method::head},
      {"to HEAD not even a chunked one", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
       200, Kind::none, 0, true, Method::head},
      {"100", "HTTP/1.1 100 Continue\r\n\r\n", 100, Kind::none},
      {"103", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 103, Kind::none},
      {"close", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n", 200,
       Kind::length, 1, false},
      {"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 200, Kind::length, 1, false},
      {"HTTP/1.0 kept alive",
       "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", 200, Kind::length,
       1, true},
      {"a status without a class of its own", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 999,
       Kind::length},
      {"obs-text in the reason", "HTTP/1.1 200 \xc3\xa9\r\nContent-Length: 0\r\n\r\n", 200,
       Kind::length},
      {"302 with a body", "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 2\r\n\r\n", 302,
       Kind::length, 2},
      {"503", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503, Kind::length},
  };
}

std::vector<Row> bad_rows() {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const auto with = [&](std::string_view fields) { return ok + std::string(fields) + "\r\n"; };
  return {
      {"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", 0},
      {"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", 0},
      {"ICY", "ICY 200 OK\r\n\r\n", 0},
      {"two digits", "HTTP/1.1 20 OK\r\n\r\n", 0},
      {"four digits", "HTTP/1.1 2000 OK\r\n\r\n", 0},
      {"a status below 100", "HTTP/1.1 099 OK\r\n\r\n", 0},
      {"letters for a status", "HTTP/1.1 abc OK\r\n\r\n", 0},
      {"a signed status", "HTTP/1.1 -20 OK\r\n\r\n", 0},
      {"a short line", "HTTP/1.1\r\n\r\n", 0},
      {"two spaces", "HTTP/1.1  200 OK\r\n\r\n", 0},
      {"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", 0},
      {"a folded line", with("X: a\r\n b\r\n"), 0},
      {"a control in a value", with("X: a\x01\r\n"), 0},
      {"NUL in a value", with(std::string("X: a\0b\r\n", 8)), 0},
      {"bare CR in a value", with("X: a\rb\r\n"), 0},
      {"bare CR after the colon (CVE-2023-30589)", with("X:\rContent-Length: 5\r\n"), 0},
      {"a control in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n", 0},
      {"a space before the colon", with("X : a\r\n"), 0},
      {"an empty name", with(": a\r\n"), 0},
      {"length and chunked", with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 0},
      {"two lengths", with("Content-Length: 1\r\nContent-Length: 1\r\n"), 0},
      {"two lengths that differ", with("Content-Length: 1\r\nContent-Length: 2\r\n"), 0},
      {"a signed length", with("Content-Length: +1\r\n"), 0},
      {"a list of lengths", with("Content-Length: 1, 1\r\n"), 0},
      {"a coding before chunked", with("Transfer-Encoding: gzip, chunked\r\n"), 0},
      {"two codings", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 0},
      {"chunked on HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
      {"not HTTP at all", "220 mail.test ESMTP\r\n\r\n", 0},
  };
}

TEST(ResponseHead, WellFormedResponsesAreReadAsTheyWereMeant) {
  for (const Row& row : good_rows()) {
    SCOPED_TRACE(row.name);
    const ParsedResponse got = parse_response(row.text, row.to);
    ASSERT_EQ(fault_name(got.fault), fault_name(Fault::none));
    EXPECT_EQ(got.head.status, row.status);
    EXPECT_EQ(got.head.framing.kind, row.framing);
    EXPECT_EQ(got.head.framing.length, row.length);
    EXPECT_EQ(got.head.keep_alive, row.keep_alive);
  }
}

TEST(ResponseHead, MalformedResponsesAreRefused) {
  for (const Row& row : bad_rows()) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(fault_name(parse_response(row.text).fault), fault_name(Fault::bad_response));
  }
}

TEST(ResponseHead, BothTablesTogetherHoldOverFortyResponses) {
  EXPECT_GE(good_rows().size() + bad_rows().size(), 40u);
}

TEST(ResponseHead, ScanningByteByByteGivesTheVerdictOfScanningAtOnce) {
  const HeadLimits limits;
  for (const auto& table : {good_rows(), bad_rows()}) {
    for (const Row& row : table) {
      SCOPED_TRACE(row.name);
      const ScanVerdict whole = scan_in_steps(row.text, row.text.size(), limits);
      EXPECT_EQ(scan_in_steps(row.text, 1, limits), whole);
    }
  }
}

}  // namespace
}  // namespace lbd::http
