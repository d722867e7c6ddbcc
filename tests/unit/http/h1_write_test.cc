#include "lbd/http/h1_write.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/support/heads.h"

namespace lbd::http {
namespace {

std::string written(const RequestHead& head) {
  BufferPool pool;
  Buffer out(pool);
  std::vector<Header> fields;
  for (const Header& header : head.headers) {
    if (header.id != HeaderId::content_length && header.id != HeaderId::transfer_encoding) {
      fields.push_back(header);
    }
  }
  write_request_head(head, fields, out);
  return std::string(out.view());
}

TEST(WriteRequest, WhatIsWrittenReadsBackTheSame) {
  for (const std::string_view text :
       {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a?b=c HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
        "GET /a? HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /p HTTP/1.1\r\nHost: a:1\r\nX:\r\nContent-Length: 17\r\n\r\n",
        "PUT /p HTTP/1.1\r\nHost: [::1]:1\r\nX: a  b\tc\r\nTransfer-Encoding: chunked\r\n\r\n",
        "PROPFIND /p HTTP/1.1\r\nhost: a\r\nX: 1\r\nX: 2\r\n\r\n"}) {
    SCOPED_TRACE(text);
    const ParsedRequest first = parse_request(text);
    ASSERT_EQ(first.fault, Fault::none);
    const std::string again = written(first.head);
    const ParsedRequest second = parse_request(again);
    ASSERT_EQ(second.fault, Fault::none) << again;
    EXPECT_EQ(second.head.method_text, first.head.method_text);
    EXPECT_EQ(second.head.target, first.head.target);
    EXPECT_EQ(second.head.framing.kind, first.head.framing.kind);
    EXPECT_EQ(second.head.framing.length, first.head.framing.length);
    EXPECT_EQ(second.head.headers.size(), first.head.headers.size());
    EXPECT_EQ(written(second.head), again);
  }
}

TEST(WriteRequest, AnAbsoluteTargetIsWrittenInOriginForm) {
  const ParsedRequest plain = parse_request("GET http://b/x?y HTTP/1.1\r\nHost: b\r\n\r\n");
  EXPECT_EQ(written(plain.head), "GET /x?y HTTP/1.1\r\nHost: b\r\n\r\n");
  const ParsedRequest bare = parse_request("GET http://b?y HTTP/1.1\r\nHost: b\r\n\r\n");
  EXPECT_EQ(written(bare.head), "GET /?y HTTP/1.1\r\nHost: b\r\n\r\n");
}

TEST(WriteRequest, AnHttp10RequestGoesOnAsHttp11) {
  const ParsedRequest old = parse_request("GET /x HTTP/1.0\r\nHost: b\r\n\r\n");
  EXPECT_EQ(written(old.head), "GET /x HTTP/1.1\r\nHost: b\r\n\r\n");
}

TEST(WriteResponse, WhatIsWrittenReadsBackTheSame) {
  BufferPool pool;
  Buffer out(pool);
  write_status_line({404, ""}, out);
  write_headers({{"X-A", "1", HeaderId::other}, {"X-B", "", HeaderId::other}}, out);
  write_content_length(1234567890123, out);
  end_head(out);
  const ParsedResponse got = parse_response(out.view());
  ASSERT_EQ(got.fault, Fault::none);
  EXPECT_EQ(got.head.status, 404);
  EXPECT_EQ(got.head.reason, "Not Found");
  EXPECT_EQ(got.head.framing.length, 1234567890123u);
  ASSERT_EQ(got.head.headers.size(), 3u);
  EXPECT_EQ(got.head.headers[1].name, "X-B");
}

TEST(WriteResponse, ACodeWithoutAPhraseStillHasItsSpace) {
  BufferPool pool;
  Buffer out(pool);
  write_status_line({299, ""}, out);
  EXPECT_EQ(out.view(), "HTTP/1.1 299 \r\n");
}

TEST(HttpDate, IsTheFixedFormatOfRfc9110) {
  std::array<char, 29> storage{};
  EXPECT_EQ(http_date(784'111'777, storage), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(http_date(0, storage), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(http_date(4'107'542'399, storage), "Sun, 28 Feb 2100 23:59:59 GMT");
}

TEST(ChunkEnd, EndsAChunkAndABodyWithItsTrailers) {
  BufferPool pool;
  Buffer room(pool);
  const std::vector<Header> trailers{{"X-Sum", "7", HeaderId::other}};
  EXPECT_EQ(chunk_end(true, false, &trailers, room), "\r\n");
  EXPECT_EQ(chunk_end(true, true, nullptr, room), "\r\n0\r\n\r\n");
  EXPECT_EQ(chunk_end(false, true, nullptr, room), "0\r\n\r\n");
  EXPECT_EQ(chunk_end(true, true, &trailers, room), "\r\n0\r\nX-Sum: 7\r\n\r\n");
  room.clear();
  EXPECT_EQ(chunk_end(false, true, &trailers, room), "0\r\nX-Sum: 7\r\n\r\n");
}

TEST(ChunkSizeLine, IsHexWithoutPadding) {
  std::array<char, 20> storage{};
  EXPECT_EQ(chunk_size_line(1, storage), "1\r\n");
  EXPECT_EQ(chunk_size_line(8000, storage), "1f40\r\n");
  EXPECT_EQ(chunk_size_line(SIZE_MAX, storage), "ffffffffffffffff\r\n");
}

}  // namespace
}  // namespace lbd::http
