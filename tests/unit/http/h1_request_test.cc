#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lbd/http/h1_head.h"
#include "tests/support/heads.h"

namespace lbd::http {
namespace {

using namespace std::string_view_literals;
using Kind = Framing::Kind;

std::string nul_in(std::string_view before, std::string_view after) {
  return std::string(before) + '\0' + std::string(after);
}

struct Accepted {
  std::string_view name;
  std::string_view text;
  std::string_view path;
  std::string_view authority;
  Kind framing = Kind::none;
  std::uint64_t length = 0;
  bool keep_alive = true;
};

const Accepted kAccepted[] = {
    {"plain GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "/", "a"},
    {"query", "GET /p?q=1 HTTP/1.1\r\nHost: a\r\n\r\n", "/p", "a"},
    {"bare question mark", "GET /p? HTTP/1.1\r\nHost: a\r\n\r\n", "/p", "a"},
    {"two question marks", "GET /p?a?b HTTP/1.1\r\nHost: a\r\n\r\n", "/p", "a"},
    {"double slash", "GET //x HTTP/1.1\r\nHost: a\r\n\r\n", "//x", "a"},
    {"percent", "GET /%2e%2E/%00 HTTP/1.1\r\nHost: a\r\n\r\n", "/%2e%2E/%00", "a"},
    {"port in Host", "GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n", "/", "a:8080"},
    {"IPv6 in Host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "/", "[::1]:80"},
    {"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "/", ""},
    {"no space after the colon", "GET / HTTP/1.1\r\nHost:a\r\n\r\n", "/", "a"},
    {"tabs and spaces round a value", "GET / HTTP/1.1\r\nHost: \t a \t \r\n\r\n", "/", "a"},
    {"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "/", "", Kind::none, 0, false},
    {"HTTP/1.0 kept alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "/", "", Kind::none,
     0, true},
    {"HTTP/1.0 both", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "/", "",
     Kind::none, 0, false},
    {"close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", "/", "a", Kind::none, 0,
     false},
    {"close in a list", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", "/", "a",
     Kind::none, 0, false},
    {"close in a second field",
     "GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", "/", "a",
     Kind::none, 0, false},
    {"length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", "/", "a", Kind::length,
     12},
    {"QUERY, which llhttp 8.1 does not know",
     "QUERY /s?a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", "/s", "a", Kind::length, 3},
    {"length 0", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "/", "a", Kind::length,
     0},
    {"leading zeros", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n", "/", "a",
     Kind::length, 7},
    {"largest length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n",
     "/", "a", Kind::length, 999999999999999999ULL},
    {"length in odd case", "POST / HTTP/1.1\r\nHost: a\r\ncOnTeNt-LeNgTh: 3\r\n\r\n", "/", "a",
     Kind::length, 3},
    {"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "/", "a",
     Kind::chunked},
    {"chunked in odd case", "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: ChUnKeD\r\n\r\n", "/",
     "a", Kind::chunked},
    {"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", "a"},
    {"absolute", "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", "/x", "b"},
    {"absolute without a path", "GET http://b HTTP/1.1\r\nHost: b\r\n\r\n", "/", "b"},
    {"absolute with a query only", "GET http://b?q HTTP/1.1\r\nHost: b\r\n\r\n", "/", "b"},
    {"absolute https", "GET HTTPS://b:1/x HTTP/1.1\r\nHost: b\r\n\r\n", "/x", "b:1"},
    {"HEAD", "HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n", "/h", "a"},
    {"PUT", "PUT /h HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", "/h", "a", Kind::length, 1},
    {"DELETE", "DELETE /h HTTP/1.1\r\nHost: a\r\n\r\n", "/h", "a"},
    {"PATCH", "PATCH /h HTTP/1.1\r\nHost: a\r\n\r\n", "/h", "a"},
    {"TRACE", "TRACE /h HTTP/1.1\r\nHost: a\r\n\r\n", "/h", "a"},
    {"a known rare method", "PROPFIND /h HTTP/1.1\r\nHost: a\r\n\r\n", "/h", "a"},
    {"every token character in a name",
     "GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09azAZ: v\r\n\r\n", "/", "a"},
    {"empty value", "GET / HTTP/1.1\r\nX:\r\nHost: a\r\n\r\n", "/", "a"},
    {"value of blanks", "GET / HTTP/1.1\r\nX:   \r\nHost: a\r\n\r\n", "/", "a"},
    {"obs-text in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\xff\r\n\r\n", "/", "a"},
    {"expect", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n",
     "/", "a", Kind::length, 1},
    {"h2c upgrade is passed over",
     "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "/", "a"},
    {"what follows the head is no business of it", "GET / HTTP/1.1\r\nHost: a\r\n\r\n\x00\x01 junk",
     "/", "a"},
};

struct Refused {
  std::string_view name;
  std::string text;
  Fault fault = Fault::client_protocol;
};

std::vector<Refused> refused_lines() {
  return {
      {"no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"no version", "GET /\r\nHost: a\r\n\r\n"},
      {"no method", " / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"HTTP/0.9", "GET /\r\n\r\n"},
      {"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
      {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
      {"HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n"},
      {"HTTP/01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n"},
      {"http in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n"},
      {"two spaces before the target", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"two spaces after the target", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"a tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"a space at the line's end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
      {"a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"a tab in the target", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"NUL in the target", nul_in("GET /a", "b HTTP/1.1\r\nHost: a\r\n\r\n")},
      {"DEL in the target", "GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"a byte above ASCII in the target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"a target without a slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"authority-form", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"asterisk with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"asterisk and more", "OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"another scheme", "GET ftp://b/ HTTP/1.1\r\nHost: b\r\n\r\n"},
      {"absolute without an authority", "GET http:///x HTTP/1.1\r\nHost: b\r\n\r\n"},
      {"absolute with user information", "GET http://u@b/x HTTP/1.1\r\nHost: b\r\n\r\n"},
      {"a comma in an absolute authority", "GET http://b,c/x HTTP/1.1\r\nHost: b\r\n\r\n"},
      {"a control in the method", "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::unsupported},
      {"a method nobody knows", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::unsupported},
      {"a longer QUERY", "QUERYX / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::unsupported},
      {"two spaces behind QUERY", "QUERY  / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"QUERY without a target", "QUERY HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"a method in lower case", "get / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::unsupported},
      {"TLS where HTTP was expected", nul_in("\x16\x03\x01", "\x05\r\n\r\n")},
      {"the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
  };
}

std::vector<Refused> refused_fields() {
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n";
  return {
      {"missing Host", "GET / HTTP/1.1\r\nX: y\r\n\r\n"},
      {"two Hosts", head + "Host: a\r\n\r\n"},
      {"two Hosts, HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"},
      {"a slash in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
      {"an at sign in Host", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
      {"a space in Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
      {"a list in Host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
      {"a bad Host beside an absolute target", "GET http://b/ HTTP/1.1\r\nHost: a/b\r\n\r\n"},
      {"a space before the colon", head + "X : y\r\n\r\n"},
      {"a tab before the colon", head + "X\t: y\r\n\r\n"},
      {"an empty name", head + ": y\r\n\r\n"},
      {"no colon", head + "XY\r\n\r\n"},
      {"a space in a name", head + "X Y: z\r\n\r\n"},
      {"a parenthesis in a name", head + "X(Y): z\r\n\r\n"},
      {"a byte above ASCII in a name", head + "X\xc3: z\r\n\r\n"},
      {"NUL in a name", nul_in(head + "X", "Y: z\r\n\r\n")},
      {"NUL in a value", nul_in(head + "X: y", "z\r\n\r\n")},
      {"a control in a value", head + "X: y\x01z\r\n\r\n"},
      {"DEL in a value", head + "X: y\x7f\r\n\r\n"},
      {"bare CR in a value", head + "X: y\rz\r\n\r\n"},
      {"bare CR before CR LF", head + "X: y\r\r\n\r\n"},
      {"bare CR before the colon", head + "X\r: y\r\n\r\n"},
      {"bare CR after the colon (CVE-2023-30589)", head + "X:\rY: z\r\n\r\n"},
      {"a coding behind a bare CR", head + "X:\rTransfer-Encoding: chunked\r\n\r\n"},
      {"a length behind a bare CR", head + "X: \t\rContent-Length: 5\r\n\r\n"},
      {"bare CR in the request line", "GET / HTTP/1.1\r\rHost: a\r\n\r\n"},
      {"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"},
      {"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n"},
      {"bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n"},
      {"a folded line", head + "X: y\r\n z\r\n\r\n"},
      {"a line folded by a tab", head + "X: y\r\n\tz\r\n\r\n"},
      {"a folded line before any field", "GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"},
      {"a folded line of blanks", head + "X: y\r\n \r\n\r\n"},
      {"another expectation", head + "Expect: 200-ok\r\n\r\n", Fault::bad_expectation},
      {"an expectation beside 100-continue", head + "Expect: 100-continue, a=b\r\n\r\n",
       Fault::bad_expectation},
  };
}

std::vector<Refused> refused_framings() {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\n";
  const auto length = [&](std::string_view value) {
    return head + "Content-Length: " + std::string(value) + "\r\n\r\n";
  };
  const auto coding = [&](std::string_view value) {
    return head + "Transfer-Encoding: " + std::string(value) + "\r\n\r\n";
  };
  return {
      {"length and chunked", head + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"chunked and length", head + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"},
      {"two lengths that differ", head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n"},
      {"two lengths that agree", head + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n"},
      {"a list of lengths", length("3, 3")},
      {"a signed length", length("+3")},
      {"a negative length", length("-3")},
      {"a space in a length", length("3 3")},
      {"an empty length", length("")},
      {"a length in hex", length("0x10")},
      {"a fraction of a length", length("3.0")},
      {"a length with a semicolon", length("3;")},
      {"a length beyond 64 bits", length("18446744073709551617")},
      {"a length of 19 digits", length("1000000000000000000")},
      {"a coding before chunked", coding("gzip, chunked")},
      {"chunked twice", coding("chunked, chunked")},
      {"two chunked fields",
       head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"a coding after chunked", coding("chunked, gzip")},
      {"identity", coding("identity")},
      {"an empty coding", coding("")},
      {"an unknown coding", coding("xchunked")},
      {"a parameter of chunked", coding("chunked;q=1")},
      {"a quoted coding", coding("\"chunked\"")},
      {"a vertical tab round chunked", coding("\x0b"
                                              "chunked")},
      {"a comma after chunked", coding("chunked,")},
      {"chunked on HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"a coding whose name has a space",
       head + "Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n"},
  };
}

TEST(RequestHead, WellFormedRequestsAreReadAsTheyWereMeant) {
  for (const Accepted& row : kAccepted) {
    SCOPED_TRACE(row.name);
    const ParsedRequest got = parse_request(row.text);
    ASSERT_EQ(fault_name(got.fault), fault_name(Fault::none));
    EXPECT_EQ(got.head.path, row.path);
    EXPECT_EQ(got.head.authority, row.authority);
    EXPECT_EQ(got.head.framing.kind, row.framing);
    EXPECT_EQ(got.head.framing.length, row.length);
    EXPECT_EQ(got.head.keep_alive, row.keep_alive);
  }
}

TEST(RequestHead, BadRequestLinesAreRefused) {
  for (const Refused& row : refused_lines()) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(fault_name(parse_request(row.text).fault), fault_name(row.fault));
  }
}

TEST(RequestHead, BadFieldsAreRefused) {
  for (const Refused& row : refused_fields()) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(fault_name(parse_request(row.text).fault), fault_name(row.fault));
  }
}

TEST(RequestHead, FramingThatTwoReadersCouldReadDifferentlyIsRefused) {
  for (const Refused& row : refused_framings()) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(fault_name(parse_request(row.text).fault), fault_name(row.fault));
  }
}

TEST(RequestHead, AllThreeTablesTogetherHoldOverAHundredRequests) {
  EXPECT_GE(std::size(kAccepted) + refused_lines().size() + refused_fields().size() +
                refused_framings().size(),
            100u);
}

TEST(RequestHead, ScanningByteByByteGivesTheVerdictOfScanningAtOnce) {
  std::vector<std::string> texts;
  for (const Accepted& row : kAccepted) texts.emplace_back(row.text);
  for (const auto& table : {refused_lines(), refused_fields(), refused_framings()}) {
    for (const Refused& row : table) texts.push_back(row.text);
  }
  HeadLimits tight;
  tight.first_line_bytes_max = 20;
  tight.line_bytes_max = 24;
  tight.head_bytes_max = 48;
  tight.headers_max = 1;
  for (const HeadLimits& limits : {HeadLimits{}, tight}) {
    for (const std::string& text : texts) {
      SCOPED_TRACE(text);
      const ScanVerdict whole = scan_in_steps(text, text.size(), limits);
      for (const std::size_t step : {1, 2, 3, 7}) {
        EXPECT_EQ(scan_in_steps(text, step, limits), whole);
      }
    }
  }
}

TEST(RequestHead, ExpectationsUpgradesAndMethodsAreNoted) {
  const auto expecting = parse_request("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_TRUE(expecting.head.expect_continue);
  EXPECT_EQ(expecting.head.method, Method::put);
  const auto old = parse_request("PUT / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(old.fault, Fault::none);
  EXPECT_FALSE(old.head.expect_continue);  // RFC 9110 §10.1.1: an HTTP/1.0 client cannot mean it
  const auto socket = parse_request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
  EXPECT_TRUE(socket.head.wants_upgrade);
  const auto query = parse_request("GET /a?b=c?d HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(query.head.query, "b=c?d");
  EXPECT_EQ(query.head.target, "/a?b=c?d");
}

TEST(RequestHead, AHeadReusedForTheNextRequestKeepsNothingOfTheLast) {
  RequestHead head;
  const std::string first =
      "HEAD /x?y HTTP/1.0\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
      "Upgrade: x\r\n\r\n";
  ASSERT_EQ(parse_request_head(first, head), Fault::none);
  head.clear();
  EXPECT_EQ(head.method, Method::get);
  EXPECT_EQ(head.version, Version::http_1_1);
  EXPECT_EQ(head.framing.length, 0u);
  EXPECT_TRUE(head.headers.empty() && head.target.empty() && head.path.empty());
  EXPECT_TRUE(head.query.empty() && head.authority.empty() && head.method_text.empty());
  EXPECT_FALSE(head.wants_upgrade || head.expect_continue);
}

// ---- limits

std::string request_with(std::string_view line, std::string_view fields) {
  return std::string(line) + "\r\nHost: a\r\n" + std::string(fields) + "\r\n";
}

TEST(HeadScanner, ALineOfExactlyTheLimitPassesAndOneByteMoreDoesNot) {
  HeadLimits limits;
  limits.line_bytes_max = 100;
  const std::string fits = request_with("GET / HTTP/1.1", std::string(98, 'x') + ":y\r\n");
  const std::string over = request_with("GET / HTTP/1.1", std::string(99, 'x') + ":y\r\n");
  for (const std::size_t step : {std::size_t{1}, over.size()}) {
    EXPECT_EQ(scan_in_steps(fits, step, limits).length, fits.size());
    EXPECT_EQ(scan_in_steps(over, step, limits).fault, Fault::header_too_large);
  }
}

TEST(HeadScanner, TheFirstLineHasALimitOfItsOwn) {
  HeadLimits limits;
  limits.first_line_bytes_max = 30;
  const std::string fits = request_with("GET /" + std::string(16, 'x') + " HTTP/1.1", "");
  const std::string over = request_with("GET /" + std::string(17, 'x') + " HTTP/1.1", "");
  for (const std::size_t step : {std::size_t{1}, over.size()}) {
    EXPECT_EQ(scan_in_steps(fits, step, limits).length, fits.size());
    EXPECT_EQ(scan_in_steps(over, step, limits).fault, Fault::header_too_large);
  }
}

TEST(HeadScanner, TheCountOfFieldsIsLimited) {
  HeadLimits limits;
  limits.headers_max = 3;
  const std::string fits = request_with("GET / HTTP/1.1", "a:b\r\nc:d\r\n");
  const std::string over = request_with("GET / HTTP/1.1", "a:b\r\nc:d\r\ne:f\r\n");
  for (const std::size_t step : {std::size_t{1}, over.size()}) {
    EXPECT_EQ(scan_in_steps(fits, step, limits).length, fits.size());
    EXPECT_EQ(scan_in_steps(over, step, limits).fault, Fault::header_too_large);
  }
}

TEST(HeadScanner, TheWholeHeadIsLimitedWhateverItsLines) {
  HeadLimits limits;
  limits.head_bytes_max = 200;
  std::string fields;
  while (fields.size() < 300) fields += "a:b\r\n";
  const std::string over = request_with("GET / HTTP/1.1", fields);
  for (const std::size_t step : {std::size_t{1}, std::size_t{64}, over.size()}) {
    EXPECT_EQ(scan_in_steps(over, step, limits).fault, Fault::header_too_large);
  }
}

TEST(HeadScanner, AnEndlessLineIsRefusedWithoutItsEnd) {
  const HeadLimits limits;
  const std::string endless = "GET /" + std::string(limits.first_line_bytes_max, 'x');
  EXPECT_EQ(scan_in_steps(endless, 4096, limits).fault, Fault::header_too_large);
}

}  // namespace
}  // namespace lbd::http
