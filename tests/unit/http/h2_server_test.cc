#include "lbd/http/h2_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "lbd/http/h2_frames.h"
#include "tests/support/h2_peer.h"

namespace lbd::http {
namespace {

using namespace h2;
using namespace std::chrono_literals;

std::string hello() { return std::string(kPreface) + frame(kSettings, 0, 0); }

/// The error code of a GOAWAY in what was sent; -1: none.
int goaway_of(const std::string& sent) {
  for (const Frame& each : frames_of(sent)) {
    if (each.kind == kGoaway) return static_cast<int>(number(each.payload.substr(4, 4)));
  }
  return -1;
}

std::size_t count_of(const std::string& sent, Kind kind) {
  const std::vector<Frame> all = frames_of(sent);
  return static_cast<std::size_t>(
      std::count_if(all.begin(), all.end(), [&](const Frame& each) { return each.kind == kind; }));
}

void answer(Server& server, std::size_t index, std::string body, bool last = true) {
  Server::Noted& stream = *server.streams[index];
  const std::vector<Header> fields{{"x-one", "1"}};
  stream.body = std::move(body);
  stream.last = last;
  server.codec.submit_head(stream, {200, &fields, -1, false});
}

TEST(H2Server, ReadsTheSameHoweverTheBytesAreSplit) {
  const std::string conversation =
      hello() + headers(1, request("/a")) + headers(3, request("/b", {}, "POST"), false) +
      frame(kData, 0, 3, "body") + frame(kPing, 0, 0, "12345678") +
      frame(kHeaders, kEndHeaders | kEndStream, 3, block({{"x-sum", "7"}})) +
      headers(5, request("/c"));
  Server whole;
  EXPECT_TRUE(whole.take(conversation));
  EXPECT_EQ(whole.events,
            "1 request GET shop.test/a\n1 end\n3 request POST shop.test/b\n"
            "3 trailers none x-sum=7\n5 request GET shop.test/c\n5 end\n");
  for (std::size_t size = 1; size < 40; ++size) {
    Server split;
    for (std::size_t at = 0; at < conversation.size(); at += size) {
      ASSERT_TRUE(split.take(std::string_view(conversation).substr(at, size))) << size << " " << at;
    }
    EXPECT_EQ(split.events, whole.events) << size;
  }
}

TEST(H2Server, SendsHeadsBodiesAndTrailers) {
  Server server;
  ASSERT_TRUE(server.take(hello() + headers(1, request("/"))));
  (void)server.sent();
  server.streams[0]->trailers = {{"grpc-status", "0"}};
  answer(server, 0, "hello");
  const std::vector<Frame> sent = frames_of(server.sent());
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[0].kind, kHeaders);
  EXPECT_EQ(sent[1].kind, kData);
  EXPECT_EQ(sent[1].payload, "hello");
  EXPECT_EQ(sent[1].flags & kEndStream, 0);
  EXPECT_EQ(sent[2].kind, kHeaders);
  EXPECT_EQ(sent[2].flags & kEndStream, kEndStream);
  EXPECT_TRUE(server.events.ends_with("1 closed\n"));
}

TEST(H2Server, SendsNoMoreThanTheClientsWindowAndGoesOnWhenItOpens) {
  Server server;
  ASSERT_TRUE(server.take(hello() + headers(1, request("/"))));
  answer(server, 0, std::string(100'000, 'x'));
  std::size_t got = 0;
  for (const Frame& each : frames_of(server.sent()))
    got += each.kind == kData ? each.payload.size() : 0;
  EXPECT_EQ(got, 65'535u);
  ASSERT_TRUE(server.take(frame(kWindowUpdate, 0, 1, big_endian(50'000, 4)) +
                          frame(kWindowUpdate, 0, 0, big_endian(10'000, 4))));
  for (const Frame& each : frames_of(server.sent()))
    got += each.kind == kData ? each.payload.size() : 0;
  EXPECT_EQ(got, 75'535u);
}

TEST(H2Server, StopsWhenItsOutputIsFullAndLosesNothing) {
  Server server;
  ASSERT_TRUE(server.take(hello() + headers(1, request("/"))));
  (void)server.sent();
  answer(server, 0, std::string(60'000, 'x'));
  std::string all;
  int rounds = 0;
  for (std::string some = server.sent(1000); !some.empty(); some = server.sent(1000), ++rounds) {
    all += some;
  }
  EXPECT_GT(rounds, 2);
  std::size_t got = 0;
  for (const Frame& each : frames_of(all)) got += each.kind == kData ? each.payload.size() : 0;
  EXPECT_EQ(got, 60'000u);
}

TEST(H2Server, AFrameThatWasPutOffAndHasLostItsBytesIsNotSent) {
  Server server;
  ASSERT_TRUE(server.take(hello() + headers(1, request("/")) + headers(3, request("/"))));
  (void)server.sent();
  answer(server, 0, std::string(60'000, 'x'));
  std::string all = server.sent(1000);
  all += server.sent(1000);
  server.streams[0]->body.clear();  // the exchange has given up
  answer(server, 1, "whole");
  for (std::string some = server.sent(1000); !some.empty(); some = server.sent(1000)) all += some;
  std::string second;
  bool reset = false;
  for (const Frame& each : frames_of(all)) {
    if (each.kind == kData && each.stream == 3) second += each.payload;
    reset |= each.kind == kReset && each.stream == 1;
  }
  EXPECT_EQ(second, "whole");
  EXPECT_TRUE(reset);
}

TEST(H2Server, OpensTheClientsWindowOnlyForWhatWasUsedUp) {
  H2Limits limits;
  limits.stream_window = 10'000;
  Server server(limits);
  server.consumes = false;
  ASSERT_TRUE(server.take(hello() + headers(1, request("/", {}, "POST"), false)));
  (void)server.sent();
  ASSERT_TRUE(server.take(frame(kSettings, kAck, 0)));
  ASSERT_TRUE(server.take(frame(kData, 0, 1, std::string(9'000, 'x'))));
  EXPECT_EQ(count_of(server.sent(), kWindowUpdate), 0u);
  server.codec.consume(*server.streams[0], 9'000);
  EXPECT_EQ(count_of(server.sent(), kWindowUpdate), 1u);
  ASSERT_TRUE(server.take(frame(kData, 0, 1, std::string(10'001, 'x'))));
  const std::vector<Frame> sent = frames_of(server.sent());  // more than there was room for
  ASSERT_FALSE(sent.empty());
  EXPECT_TRUE(sent[0].kind == kReset || sent[0].kind == kGoaway);
}

TEST(H2Server, ABodyUnlikeItsLengthIsReset) {
  for (const std::size_t size : {4u, 6u}) {
    Server server;
    ASSERT_TRUE(
        server.take(hello() + headers(1, request("/", {{"content-length", "5"}}, "POST"), false)));
    ASSERT_TRUE(server.take(frame(kData, kEndStream, 1, std::string(size, 'x'))));
    EXPECT_EQ(count_of(server.sent(), kReset), 1u);
    EXPECT_TRUE(server.events.ends_with("1 closed\n")) << server.events;
    EXPECT_EQ(server.events.find("end of"), std::string::npos) << server.events;
  }
}

TEST(H2Server, FramesForAStreamThatTheClientClosedEndTheConnection) {
  for (const std::string& late :
       {frame(kData, 0, 1, "x"), headers(1, request("/")), frame(kData, kEndStream, 1)}) {
    Server server;
    ASSERT_TRUE(
        server.take(hello() + headers(1, request("/")) + frame(kReset, 0, 1, big_endian(8, 4))));
    EXPECT_FALSE(server.take(late));
    EXPECT_EQ(goaway_of(server.sent()), 5);  // STREAM_CLOSED
  }
}

TEST(H2Server, FramesOnTheirWayToAStreamThatWeResetAreNothing) {
  Server server;
  ASSERT_TRUE(server.take(hello() + headers(1, request("/", {}, "POST"), false)));
  server.codec.reset(*server.streams[0], H2Error::cancel);
  (void)server.sent();
  EXPECT_TRUE(server.take(frame(kData, 0, 1, "x") + frame(kData, kEndStream, 1, "y")));
  EXPECT_TRUE(server.take(headers(3, request("/next"))));
  EXPECT_TRUE(server.events.ends_with("3 end\n"));
  EXPECT_EQ(goaway_of(server.sent()), -1);
}

TEST(H2Server, AStreamIdThatWasPassedOverCannotBeUsed) {
  Server server;
  ASSERT_TRUE(server.take(hello() + headers(5, request("/"))));
  EXPECT_FALSE(server.take(headers(3, request("/"))));
  EXPECT_EQ(goaway_of(server.sent()), 1);
}

/// How many of `make(n)` pass until the connection is ended.
template <class Make>
int passed(Server& server, Make make, int most) {
  for (int n = 0; n < most; ++n) {
    if (!server.take(make(n))) return n;
    (void)server.sent();
  }
  return most;
}

std::uint32_t odd(int n) { return static_cast<std::uint32_t>(2 * n + 1); }

TEST(H2Server, ResetsAreBudgetedAndRequestsThatEndWellPayThemBack) {
  const auto reset = [](int n) {
    return headers(odd(n), request("/")) + frame(kReset, 0, odd(n), big_endian(8, 4));
  };
  Server hostile;
  ASSERT_TRUE(hostile.take(hello()));
  const int most = passed(hostile, reset, 10'000);
  EXPECT_GE(most, 200);
  EXPECT_LE(most, 300);
  EXPECT_EQ(hostile.codec.flood(), H2Flood::resets);
  EXPECT_EQ(goaway_of(hostile.sent()), 11);  // ENHANCE_YOUR_CALM

  Server patient;  // the same number, over a minute
  ASSERT_TRUE(patient.take(hello()));
  EXPECT_EQ(passed(
                patient,
                [&](int n) {
                  patient.now += 30ms;
                  return reset(n);
                },
                2000),
            2000);

  Server honest;  // each second one is given up
  ASSERT_TRUE(honest.take(hello()));
  for (int n = 0; n < 2000; n += 2) {
    ASSERT_TRUE(honest.take(headers(odd(n), request("/")))) << n;
    answer(honest, honest.streams.size() - 1, "ok");
    (void)honest.sent();
    ASSERT_TRUE(honest.take(reset(n + 1))) << n;
  }
}

TEST(H2Server, ResetsThatAClientMakesUsSendCountToo) {
  Server server;
  ASSERT_TRUE(server.take(hello()));
  const int most = passed(
      server,
      [](int n) {  // a body that is not as long as it said
        return headers(odd(n), request("/", {{"content-length", "5"}}, "POST"), false) +
               frame(kData, kEndStream, odd(n), "x");
      },
      10'000);
  EXPECT_GE(most, 200);
  EXPECT_LE(most, 300);
  EXPECT_EQ(server.codec.flood(), H2Flood::resets);
}

TEST(H2Server, ResetsOfOurOwnDoNotCount) {
  Server server;
  ASSERT_TRUE(server.take(hello()));
  for (int n = 0; n < 2000; ++n) {
    ASSERT_TRUE(server.take(headers(odd(n), request("/")))) << n;
    server.codec.reset(*server.streams.back(), H2Error::internal_error);
    (void)server.sent();
  }
}

TEST(H2Server, ControlFramesAreBudgeted) {
  const std::string kinds[] = {frame(kPing, 0, 0, "12345678"), frame(kSettings, 0, 0),
                               frame(kPriority, 0, 7, std::string("\0\0\0\0\1", 5)),
                               frame(kWindowUpdate, 0, 0, big_endian(1, 4)),
                               frame(static_cast<Kind>(0xee), 0, 0, "?")};
  for (const std::string& each : kinds) {
    Server server;
    ASSERT_TRUE(server.take(hello()));
    const int most = passed(
        server, [&](int) { return each; }, 10'000);
    EXPECT_GE(most, 1900);
    EXPECT_LE(most, 2100);
    EXPECT_EQ(server.codec.flood(), H2Flood::control);
  }
}

TEST(H2Server, DataFramesThatBringNothingAreBudgetedAsControlFrames) {
  constexpr std::uint8_t kPadded = 8;
  const std::string padding =
      frame(kData, kPadded, 1, std::string(256, '\xff').replace(1, 255, 255, '\0'));
  for (const std::string& each : {padding, frame(kData, 0, 1)}) {
    Server server;
    ASSERT_TRUE(server.take(hello() + headers(1, request("/", {}, "POST"), false)));
    const int most = passed(
        server, [&](int) { return each; }, 10'000);
    EXPECT_GE(most, 1900);
    EXPECT_LE(most, 2100);
    EXPECT_EQ(server.codec.flood(), H2Flood::control);
  }
}

TEST(H2Server, DataForAStreamThatWeResetIsBudgetedToo) {
  Server server;
  ASSERT_TRUE(server.take(hello() + headers(1, request("/", {}, "POST"), false)));
  server.codec.reset(*server.streams[0], H2Error::cancel);
  (void)server.sent();
  const int most = passed(
      server, [](int) { return frame(kData, 0, 1, "x"); }, 10'000);
  EXPECT_GE(most, 1900);
  EXPECT_LE(most, 2100);
  EXPECT_EQ(server.codec.flood(), H2Flood::control);
}

TEST(H2Server, AnUploadInSmallFramesIsNoFlood) {
  Server server;
  ASSERT_TRUE(server.take(hello() + headers(1, request("/", {}, "POST"), false)));
  EXPECT_EQ(passed(
                server, [](int) { return frame(kData, 0, 1, "x"); }, 10'000),
            10'000);
}

TEST(H2Server, AHeaderBlockWithoutEndIsCut) {
  Server server;
  ASSERT_TRUE(server.take(hello() + frame(kHeaders, kEndStream, 1, block(request("/")))));
  const std::string more = frame(kContinuation, 0, 1, block({{"x", std::string(10'000, 'y')}}));
  EXPECT_LT(passed(
                server, [&](int) -> const std::string& { return more; }, 1000),
            20);
}

TEST(H2Server, ABlockOfReferencesToOneLargeFieldEndsTheConnection) {
  Server server;
  std::string bomb = block(request("/"));
  bomb += '\x40';  // a literal that enters the table
  const std::string value(3900, 'b');
  bomb += '\x01';
  bomb += 'x';
  bomb += '\x7f';
  bomb += static_cast<char>((value.size() - 127) % 128 + 128);
  bomb += static_cast<char>((value.size() - 127) / 128);
  bomb += value;
  bomb += std::string(10'000, '\xbe');  // which is referred to by a byte each
  // At twice what a head may be, so that the rest of it costs nothing.
  EXPECT_FALSE(server.take(hello() + frame(kHeaders, kEndHeaders | kEndStream, 1, bomb)));
  EXPECT_EQ(server.codec.flood(), H2Flood::header_block);
  EXPECT_EQ(goaway_of(server.sent()), 11);
  EXPECT_EQ(server.events, "");
}

TEST(H2Server, AStreamThatDependsOnItselfEndsTheConnectionHoweverItIsSplit) {
  const std::string bad = frame(kPriority, 0, 7, std::string("\0\0\0\7\1", 5));
  for (std::size_t at = 0; at <= bad.size(); ++at) {
    Server server;
    ASSERT_TRUE(server.take(hello()));
    const bool first = server.take(std::string_view(bad).substr(0, at));
    const bool second = first && server.take(std::string_view(bad).substr(at));
    EXPECT_FALSE(second) << at;
    EXPECT_EQ(goaway_of(server.sent()), 1) << at;
  }
}

TEST(H2Server, SaysGoodbyeTwiceSoThatNoRequestOnItsWayIsLost) {
  Server server;
  ASSERT_TRUE(server.take(hello()));
  server.codec.announce_end();
  EXPECT_EQ(goaway_of(server.sent()), 0);
  ASSERT_TRUE(server.take(headers(1, request("/"))));
  EXPECT_EQ(server.streams.size(), 1u);
  server.codec.end(H2Error::no_error);
  (void)server.sent();
  ASSERT_TRUE(server.take(headers(3, request("/"))));
  EXPECT_EQ(server.streams.size(), 1u);
  EXPECT_FALSE(server.codec.over());
  answer(server, 0, "ok");
  (void)server.sent();
  EXPECT_TRUE(server.codec.over());
}

}  // namespace
}  // namespace lbd::http
