// The HTTP/2 client's codec against servers' bytes made by hand.
#include "lbd/http/h2_client.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/h2_target.h"

namespace lbd::http {
namespace {

using h2::Client;
using h2::Fields;

std::string setting(std::uint16_t id, std::uint32_t value) {
  return h2::big_endian(id, 2) + h2::big_endian(value, 4);
}
std::string streams_at_most(std::uint32_t most) { return setting(3, most); }

std::string respond(const Fields& fields, bool last = true, std::uint32_t stream = 1) {
  return h2::headers(stream, fields, last);
}

std::size_t count_of(const std::string& bytes, std::uint8_t kind) {
  const auto frames = h2::frames_of(bytes);
  return static_cast<std::size_t>(std::count_if(
      frames.begin(), frames.end(), [kind](const h2::Frame& each) { return each.kind == kind; }));
}

/// What comes of one request's answer.
std::string events_of(const std::string& answer, Method method = Method::get) {
  Client client;
  client.greet();
  EXPECT_TRUE(client.ask(method));
  (void)client.sent();
  (void)client.take(answer);
  (void)client.sent();
  return client.events;
}

TEST(H2Client, BeginsWithItsPrefaceAndTakesNoPushes) {
  Client client;
  const std::string sent = client.sent();
  ASSERT_TRUE(sent.starts_with(h2::kPreface));
  const auto frames = h2::frames_of(std::string_view(sent).substr(h2::kPreface.size()));
  ASSERT_FALSE(frames.empty());
  EXPECT_EQ(frames[0].kind, h2::kSettings);
  EXPECT_NE(frames[0].payload.find(setting(2, 0)), std::string::npos);
}

TEST(H2Client, SendsNothingBeforeTheServersSettings) {
  Client client;
  EXPECT_FALSE(client.codec.ready());
  EXPECT_FALSE(client.ask());
  client.greet();
  EXPECT_TRUE(client.codec.ready());
  EXPECT_TRUE(client.ask());
}

TEST(H2Client, KeepsTheSmallerOfBothLimitsOnStreams) {
  Client few({.streams_max = 100});
  few.greet(streams_at_most(2));
  EXPECT_TRUE(few.ask());
  EXPECT_TRUE(few.ask());
  EXPECT_FALSE(few.ask());
  Client ours({.streams_max = 1});
  ours.greet(streams_at_most(50));
  EXPECT_TRUE(ours.ask());
  EXPECT_FALSE(ours.ask());
}

TEST(H2Client, AResponseWithBodyAndTrailersIsRead) {
  const std::string answer = respond({{":status", "200"}, {"x-a", "b"}}, false) +
                             h2::frame(h2::kData, 0, 1, "hello") + respond({{"grpc-status", "0"}});
  EXPECT_EQ(events_of(answer),
            "1 response 200 of unknown length\n1 trailers none grpc-status=0\n1 closed 0\n");
}

TEST(H2Client, InterimResponsesComeBeforeTheResponse) {
  EXPECT_EQ(events_of(respond({{":status", "103"}, {"link", "</a>"}}, false) +
                      respond({{":status", "204"}})),
            "1 response 103\n1 response 204\n1 end\n1 closed 0\n");
}

struct Row {
  const char* name;
  Fields fields;
  bool last = true;
};

TEST(H2Client, ResponsesThatTwoReadersCouldDisagreeOnAreRefused) {
  const std::vector<Row> rows{
      {"no status", {{"x-a", "b"}}},
      {"status twice", {{":status", "200"}, {":status", "200"}}},
      {"a status of two digits", {{":status", "20"}}},
      {"a status with a letter", {{":status", "20x"}}},
      {"a status with a sign", {{":status", "+20"}}},
      {"switching protocols", {{":status", "101"}}, false},
      {"a pseudo-header behind a field", {{"x-a", "b"}, {":status", "200"}}},
      {"a request's pseudo-header", {{":status", "200"}, {":path", "/"}}},
      {"connection", {{":status", "200"}, {"connection", "close"}}},
      {"keep-alive", {{":status", "200"}, {"keep-alive", "1"}}},
      {"transfer-encoding", {{":status", "200"}, {"transfer-encoding", "chunked"}}},
      {"upgrade", {{":status", "200"}, {"upgrade", "h2c"}}},
      {"an upper-case name", {{":status", "200"}, {"X-A", "b"}}},
      {"a name with a space", {{":status", "200"}, {"x a", "b"}}},
      {"a value with a line end", {{":status", "200"}, {"x-a", "b\r\nc: d"}}},
      {"a value with a NUL", {{":status", "200"}, {"x-a", std::string("b\0c", 3)}}},
      {"a value with a space before it", {{":status", "200"}, {"x-a", " b"}}},
      {"two lengths", {{":status", "200"}, {"content-length", "0"}, {"content-length", "0"}}},
      {"a length with a sign", {{":status", "200"}, {"content-length", "+5"}}, false},
      {"a list of lengths", {{":status", "200"}, {"content-length", "5, 5"}}, false},
      {"a length without a body", {{":status", "200"}, {"content-length", "5"}}},
      {"an interim response that ends", {{":status", "103"}}},
      {"an interim response with a length", {{":status", "103"}, {"content-length", "0"}}, false},
  };
  for (const Row& row : rows) {
    const std::string events = events_of(respond(row.fields, row.last));
    EXPECT_EQ(events.find("response"), std::string::npos) << row.name << ": " << events;
    const bool refused = events.find("bad_response") != std::string::npos ||
                         events.find("by us") != std::string::npos;
    EXPECT_TRUE(refused) << row.name << ": " << events;
  }
}

TEST(H2Client, ABodyMustBeAsLongAsItWasSaidToBe) {
  const Fields five{{":status", "200"}, {"content-length", "5"}};
  EXPECT_NE(events_of(respond(five, false) + h2::frame(h2::kData, 1, 1, "hello")).find("end of 5"),
            std::string::npos);
  for (const std::string_view body : {"hell", "hello!"}) {
    const std::string events =
        events_of(respond(five, false) + h2::frame(h2::kData, h2::kEndStream, 1, body));
    EXPECT_EQ(events.find("end of"), std::string::npos) << body;
  }
}

TEST(H2Client, ResponsesWithoutBodyTakeNone) {
  for (const char* status : {"204", "304"}) {
    const std::string events = events_of(respond({{":status", status}}, false) +
                                         h2::frame(h2::kData, h2::kEndStream, 1, "x"));
    EXPECT_EQ(events.find("end of"), std::string::npos) << status;
  }
  const std::string head =
      events_of(respond({{":status", "200"}, {"content-length", "7"}}), Method::head);
  EXPECT_EQ(head, "1 response 200\n1 end\n1 closed 0\n");
}

TEST(H2Client, TrailersThatFrameOrRouteAreRefused) {
  const std::string events =
      events_of(respond({{":status", "200"}}, false) + respond({{"transfer-encoding", "x"}}));
  EXPECT_EQ(events.find("trailers none"), std::string::npos) << events;
}

TEST(H2Client, HeadsBeyondTheLimitsAreRefused) {
  H2Limits limits;
  limits.head.head_bytes_max = limits.head.line_bytes_max = 1000;
  Client client(limits);
  client.greet();
  ASSERT_TRUE(client.ask());
  (void)client.sent();
  (void)client.take(respond({{":status", "200"}, {"x-a", std::string(1200, 'a')}}));
  EXPECT_EQ(client.events, "1 refused bad_response\n1 end\n1 closed 0\n");
}

TEST(H2Client, GoawayGivesBackWhatTheServerHasNotTouched) {
  Client client;
  client.greet();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(client.ask());
  (void)client.sent();
  EXPECT_TRUE(
      client.take(h2::frame(h2::kGoaway, 0, 0, h2::big_endian(1, 4) + h2::big_endian(0, 4))));
  EXPECT_TRUE(client.codec.ending());
  EXPECT_FALSE(client.ask());
  EXPECT_NE(client.events.find("3 closed 7 untouched"), std::string::npos);
  EXPECT_NE(client.events.find("5 closed 7 untouched"), std::string::npos);
  EXPECT_EQ(client.events.find("1 closed"), std::string::npos);
  EXPECT_TRUE(client.take(respond({{":status", "204"}})));
  EXPECT_NE(client.events.find("1 response 204"), std::string::npos);
}

TEST(H2Client, ARefusedStreamIsUntouchedAndAResetOneIsNot) {
  for (const auto& [error, untouched] : {std::pair(7U, true), std::pair(8U, false)}) {
    Client client;
    client.greet();
    ASSERT_TRUE(client.ask());
    (void)client.sent();
    EXPECT_TRUE(client.take(h2::frame(h2::kReset, 0, 1, h2::big_endian(error, 4))));
    EXPECT_EQ(client.events,
              "1 closed " + std::to_string(error) + (untouched ? " untouched" : "") + "\n");
    EXPECT_EQ(client.codec.open(), 0U);
  }
}

TEST(H2Client, ARequestThatIsForgottenIsResetAndNotCalled) {
  Client client;
  client.greet();
  ASSERT_TRUE(client.ask());
  (void)client.sent();
  client.codec.forget(*client.streams[0]);
  EXPECT_EQ(client.codec.open(), 0U);
  EXPECT_EQ(count_of(client.sent(), h2::kReset), 1U);
  EXPECT_TRUE(client.take(respond({{":status", "200"}}, false) + h2::frame(h2::kData, 1, 1, "x")));
  EXPECT_EQ(client.events, "");
}

TEST(H2Client, ARequestForgottenBeforeItIsSentIsNeverSent) {
  Client client;
  client.greet();
  ASSERT_TRUE(client.ask());
  client.codec.forget(*client.streams[0]);
  client.streams.clear();
  const std::string sent = client.sent();
  EXPECT_EQ(count_of(sent, h2::kHeaders), 0U);
  EXPECT_EQ(client.events, "");
}

TEST(H2Client, OnlyWhatIsConsumedIsAskedForAgain) {
  Client client({.stream_window = 65'535, .connection_window = 1 << 20});
  client.consumes = false;
  client.greet();
  ASSERT_TRUE(client.ask());
  (void)client.sent();
  std::string body = respond({{":status", "200"}}, false);
  for (int i = 0; i < 4; ++i) body += h2::frame(h2::kData, 0, 1, std::string(15'000, 'a'));
  EXPECT_TRUE(client.take(body));
  EXPECT_EQ(count_of(client.sent(), h2::kWindowUpdate), 0U);
  client.codec.consume_stream(*client.streams[0], 60'000);
  const auto frames = h2::frames_of(client.sent());
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].stream, 1U);
  EXPECT_EQ(h2::number(frames[0].payload), 60'000U);
}

TEST(H2Client, AServerThatSendsBeyondItsWindowIsLeft) {
  Client client({.stream_window = 1000});
  client.greet();
  ASSERT_TRUE(client.ask());
  (void)client.sent();
  (void)client.take(respond({{":status", "200"}}, false) +
                    h2::frame(h2::kData, 0, 1, std::string(1001, 'a')));
  const std::string sent = client.sent();
  EXPECT_EQ(count_of(sent, h2::kReset) + count_of(sent, h2::kGoaway), 1U);
}

TEST(H2Client, BytesThatAreNotHttp2EndTheConnection) {
  Client client;
  (void)client.sent();
  (void)client.take("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(count_of(client.sent(), h2::kGoaway), 1U);
  EXPECT_FALSE(client.codec.going());
  EXPECT_FALSE(client.codec.ready());
}

TEST(H2Client, APushEndsTheConnection) {
  Client client;
  client.greet();
  ASSERT_TRUE(client.ask());
  (void)client.sent();
  (void)client.take(h2::frame(h2::kPush, h2::kEndHeaders, 1,
                              h2::big_endian(2, 4) + h2::block(h2::request("/pushed"))));
  EXPECT_EQ(count_of(client.sent(), h2::kGoaway), 1U);
}

TEST(H2Client, FloodsOfAHostileServerEndTheConnection) {
  const std::vector<std::pair<const char*, std::string>> floods{
      {"ping", h2::frame(h2::kPing, 0, 0, "12345678")},
      {"settings", h2::frame(h2::kSettings, 0, 0)},
      {"empty data", h2::frame(h2::kData, 0, 1)},
      {"unknown", h2::frame(static_cast<h2::Kind>(0x50), 0, 0)},
  };
  for (const auto& [name, one] : floods) {
    Client client;
    client.greet();
    ASSERT_TRUE(client.ask());
    (void)client.sent();
    bool alive = client.take(respond({{":status", "200"}}, false));
    for (int i = 0; i < 5000 && alive; ++i) {
      alive = client.take(one);
      (void)client.sent();
    }
    EXPECT_FALSE(alive) << name;
    EXPECT_EQ(client.codec.flood(), H2Flood::control) << name;
  }
}

TEST(H2Client, AHeaderBlockWithoutAnEndEndsTheConnection) {
  Client client;
  client.greet();
  ASSERT_TRUE(client.ask());
  (void)client.sent();
  bool alive = client.take(h2::frame(h2::kHeaders, 0, 1, h2::block({{":status", "200"}})));
  const std::string more =
      h2::frame(h2::kContinuation, 0, 1, h2::block({{"x-a", std::string(8000, 'a')}}));
  for (int i = 0; i < 100 && alive; ++i) alive = client.take(more);
  EXPECT_FALSE(alive);
  EXPECT_EQ(client.codec.flood(), H2Flood::header_block);
}

TEST(H2Client, TheRequestsBodyWaitsForTheServersWindow) {
  Client client;
  client.greet(setting(4, 10));
  ASSERT_TRUE(client.ask(Method::post, false));
  client.streams[0]->body = std::string(25, 'b');
  client.streams[0]->last = true;
  client.streams[0]->trailers = {{"x-sum", "1"}};
  (void)client.sent();
  EXPECT_EQ(client.streams[0]->body.size(), 15U);
  EXPECT_FALSE(client.codec.sent_all(*client.streams[0]));
  EXPECT_TRUE(client.take(h2::frame(h2::kWindowUpdate, 0, 1, h2::big_endian(100, 4))));
  const auto frames = h2::frames_of(client.sent());
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].payload.size(), 15U);
  EXPECT_EQ(frames[1].kind, h2::kHeaders);  // the trailers
  EXPECT_TRUE(client.codec.sent_all(*client.streams[0]));
}

}  // namespace
}  // namespace lbd::http
