#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lbd/http/body_reader.h"
#include "lbd/http/chunked.h"

namespace lbd::http {
namespace {

struct Decoded {
  std::string data;
  std::size_t consumed = 0;
  ChunkFramer::State state = ChunkFramer::State::size_first;
  friend bool operator==(const Decoded&, const Decoded&) = default;
};

Decoded decode(std::string_view bytes, std::size_t step) {
  ChunkFramer framer;
  Decoded out;
  while (out.consumed < bytes.size() && !framer.done() && !framer.bad()) {
    const ChunkFramer::Step taken = framer.step(bytes.substr(out.consumed, step));
    out.data += taken.data;
    if (taken.consumed == 0) break;
    out.consumed += taken.consumed;
  }
  out.state = framer.state();
  return out;
}

const std::vector<std::string> kChunkedTexts = {
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "A\r\n0123456789\r\n0\r\n\r\n",
    "a\r\n0123456789\r\n00\r\n\r\n",
    "000000000000005\r\nhello\r\n0\r\n\r\n",
    "0000000000000005\r\nhello\r\n0\r\n\r\n",
    "5;ext=1;q=\"x y\"\r\nhello\r\n0;last\r\n\r\n",
    "5\r\nhello\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhello\r\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-1\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5,\r\nhello\r\n",
    "g\r\n",
    "\r\n",
    "",
    ";x\r\n",
    "5;x\nhello\r\n0\r\n\r\n",
    "5;x\rhello\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFFF\r\n",
    "0\r\n Folded: x\r\n\r\n",
    "0\r\n: x\r\n\r\n",
    "0\r\nT: x\nU: y\r\n\r\n",
    "0\r\nT: \x01\r\n\r\n",
    "0\r\n\n",
    "0\r\n\rX",
    "0\r\nT: x\r\r\n\r\n",
};

TEST(ChunkFramer, AnySplitGivesTheSameBytesAndTheSameVerdict) {
  for (const std::string& text : kChunkedTexts) {
    SCOPED_TRACE(text);
    const Decoded whole = decode(text, text.size() + 1);
    for (std::size_t step = 1; step <= text.size(); ++step) EXPECT_EQ(decode(text, step), whole);
  }
}

TEST(ChunkFramer, TheBodyIsWhatTheChunksHold) {
  const Decoded got = decode("5;e\r\nhello\r\n6\r\n world\r\n0\r\nT: x\r\n\r\nNEXT", 64);
  EXPECT_EQ(got.data, "hello world");
  EXPECT_EQ(got.state, ChunkFramer::State::done);
  // What follows belongs to the next message.
  EXPECT_EQ(got.consumed,
            std::string_view("5;e\r\nhello\r\n6\r\n world\r\n0\r\nT: x\r\n\r\n").size());
}

TEST(ChunkFramer, MalformedFramingIsRefused) {
  for (const std::string_view bad : {"5\nhello",
                                     "5\r\nhello\n",
                                     "5\r\nhelloX",
                                     " 5\r\n",
                                     "5 \r\n",
                                     "+5\r\n",
                                     "-1\r\n",
                                     "0x5\r\n",
                                     "g\r\n",
                                     "\r\n",
                                     ";x\r\n",
                                     "5;\x01\r\n",
                                     "5;x\n",
                                     "5;x\ry",
                                     "0\r\n\n",
                                     "0\r\n\rX",
                                     "0\r\n Folded: x\r\n",
                                     "0\r\n: x\r\n",
                                     "0\r\nT: x\nU",
                                     "0\r\nT: \x7f\r\n"}) {
    SCOPED_TRACE(bad);
    EXPECT_EQ(decode(bad, 64).state, ChunkFramer::State::bad);
  }
}

TEST(ChunkFramer, ASizeThatDoesNotFitIsRefusedNotWrapped) {
  EXPECT_EQ(decode("FFFFFFFFFFFFFFFF\r\n", 64).state, ChunkFramer::State::bad);
  EXPECT_EQ(decode("10000000000000001\r\nx", 64).state, ChunkFramer::State::bad);
  EXPECT_EQ(decode("0000000000000001\r\nx", 64).state, ChunkFramer::State::bad);
  EXPECT_EQ(decode("FFFFFFFFFFFFFFF\r\n", 64).state, ChunkFramer::State::data);
}

TEST(ChunkFramer, ExtensionsOfAllChunksTogetherAreLimited) {
  const std::string one =
      "1;" + std::string(ChunkFramer::kExtensionBytesMax / 2, 'e') + "\r\nx\r\n";
  const std::string last = "0\r\n\r\n";
  EXPECT_EQ(decode(one + one + last, 4096).state, ChunkFramer::State::done);
  EXPECT_EQ(decode(one + one + "1;e\r\nx\r\n" + last, 4096).state, ChunkFramer::State::bad);
}

TEST(ChunkFramer, TheCountOfTrailersIsLimited) {
  std::string most;
  for (int i = 0; i < ChunkFramer::kTrailersMax; ++i) most += "T: u\r\n";
  EXPECT_EQ(decode("0\r\n" + most + "\r\n", 4096).state, ChunkFramer::State::done);
  EXPECT_EQ(decode("0\r\n" + most + "T: u\r\n\r\n", 4096).state, ChunkFramer::State::bad);
}

TEST(ChunkFramer, ATrailersNameIsATokenAndHasAColon) {
  for (const std::string_view bad :
       {"X Y: z", "X : y", "XY", ": y", "X(: y", "X\xe9: y", "X\r\nY: z"}) {
    SCOPED_TRACE(bad);
    EXPECT_EQ(decode("0\r\n" + std::string(bad) + "\r\n\r\n", 64).state, ChunkFramer::State::bad);
  }
}

TEST(ChunkFramer, TheTrailerSectionIsHandedOutWholeWhateverTheSplit) {
  const std::string section = "T: u\r\nV:\r\n\r\n";
  const std::string text = "3\r\nabc\r\n0;e\r\n" + section + "NEXT";
  for (std::size_t step = 1; step <= text.size(); ++step) {
    ChunkFramer framer;
    std::string got;
    for (std::size_t at = 0; !framer.done();) {
      const ChunkFramer::Step taken = framer.step(std::string_view(text).substr(at, step));
      got += taken.trailer;
      at += taken.consumed;
    }
    EXPECT_EQ(got, section) << "pieces of " << step;
  }
}

TEST(ChunkFramer, TrailersAreLimited) {
  std::string trailers;
  const std::string line = "T: " + std::string(400, 'x') + "\r\n";
  while (trailers.size() < ChunkFramer::kTrailerBytesMax) trailers += line;
  EXPECT_EQ(decode("0\r\n" + trailers + "T: 1\r\n\r\n", 4096).state, ChunkFramer::State::bad);
  trailers.resize(ChunkFramer::kTrailerBytesMax / 2);
  trailers.resize(trailers.rfind('\n') + 1);
  EXPECT_EQ(decode("0\r\n" + trailers + "\r\n", 4096).state, ChunkFramer::State::done);
}

// ---- BodyReader

std::string read_all(BodyReader& body, std::string_view bytes, std::size_t& used) {
  std::string data;
  used = 0;
  for (;;) {
    const BodyReader::Step step = body.step(bytes.substr(used));
    used += step.consumed;
    data += step.data;
    if (step.bad || step.consumed == 0) return data;
  }
}

TEST(BodyReader, ALengthTakesThatManyBytesAndNoMore) {
  BodyReader body;
  body.start({Framing::Kind::length, 5});
  EXPECT_FALSE(body.done());
  std::size_t used = 0;
  EXPECT_EQ(read_all(body, "he", used), "he");
  EXPECT_EQ(body.remaining(), 3u);
  EXPECT_EQ(read_all(body, "lloGET /", used), "llo");
  EXPECT_EQ(used, 3u);
  EXPECT_TRUE(body.done());
}

TEST(BodyReader, NoBodyIsDoneAtOnceAndTakesNothing) {
  BodyReader body;
  body.start({});
  EXPECT_TRUE(body.done());
  std::size_t used = 0;
  EXPECT_EQ(read_all(body, "GET /", used), "");
  EXPECT_EQ(used, 0u);
  body.start({Framing::Kind::length, 0});
  EXPECT_TRUE(body.done());
}

TEST(BodyReader, ABodyUntilCloseTakesAllAndIsNeverDone) {
  BodyReader body;
  body.start({Framing::Kind::until_close, 0});
  std::size_t used = 0;
  EXPECT_EQ(read_all(body, "abc", used), "abc");
  EXPECT_FALSE(body.done());
  EXPECT_TRUE(body.ends_with_connection());
}

TEST(BodyReader, AChunkedBodyIsDoneInTheStepThatBringsItsLastData) {
  BodyReader body;
  body.start({Framing::Kind::chunked, 0});
  const BodyReader::Step step = body.step("5\r\nhello\r\n0\r\n\r\nNEXT");
  EXPECT_EQ(step.data, "hello");
  EXPECT_TRUE(body.done());
  EXPECT_EQ(step.consumed, std::string_view("5\r\nhello\r\n0\r\n\r\n").size());
}

TEST(BodyReader, BadFramingAfterGoodDataIsSeenWithIt) {
  BodyReader body;
  body.start({Framing::Kind::chunked, 0});
  EXPECT_TRUE(body.step("5\r\nhelloX").bad);
}

TEST(BodyReader, TrailersThatMayGoOnAreGivenWithTheEnd) {
  BodyReader body;
  body.start({Framing::Kind::chunked, 0});
  EXPECT_EQ(body.trailers(), nullptr);
  EXPECT_FALSE(body.step("1\r\nx\r\n0\r\nX-Sum: \t7 \r\nSet-Cookie: a\r\n").bad_trailer);
  EXPECT_FALSE(body.step("X-Amzn-Mtls-Clientcert-Leaf: a\r\n").bad_trailer);
  EXPECT_FALSE(body.step("X_Amzn_Mtls_Clientcert: a\r\nEmpty:\r\n\r\n").bad_trailer);
  ASSERT_TRUE(body.done());
  ASSERT_NE(body.trailers(), nullptr);
  ASSERT_EQ(body.trailers()->size(), 2u);
  EXPECT_EQ((*body.trailers())[0].name, "X-Sum");
  EXPECT_EQ((*body.trailers())[0].value, "7");
  EXPECT_EQ((*body.trailers())[1].name, "Empty");
  EXPECT_EQ((*body.trailers())[1].value, "");
  body.start({Framing::Kind::chunked, 0});
  EXPECT_FALSE(body.step("0\r\n\r\n").bad);
  EXPECT_EQ(body.trailers(), nullptr);  // nothing of the last message's
}

TEST(BodyReader, ATrailerThatFramesOrRoutesIsTold) {
  for (const std::string_view line : {"Content-Length: 1", "transfer-encoding: chunked", "HOST: b",
                                      "Content_Length: 1", "Transfer.Encoding: chunked"}) {
    SCOPED_TRACE(line);
    BodyReader body;
    body.start({Framing::Kind::chunked, 0});
    EXPECT_TRUE(body.step("0\r\nX: y\r\n" + std::string(line) + "\r\n\r\n").bad_trailer);
  }
}

TEST(BodyReader, AnySplitOfAChunkedBodyGivesTheSameBytes) {
  const std::string text = "5;x\r\nhello\r\n1\r\n!\r\nb\r\n0123456789a\r\n0\r\nT: u\r\n\r\n";
  for (std::size_t step = 1; step <= text.size(); ++step) {
    BodyReader body;
    body.start({Framing::Kind::chunked, 0});
    std::string data;
    for (std::size_t at = 0; at < text.size(); at += step) {
      std::size_t used = 0;
      data += read_all(body, std::string_view(text).substr(at, step), used);
    }
    EXPECT_EQ(data, "hello!0123456789a") << "pieces of " << step;
    EXPECT_TRUE(body.done()) << "pieces of " << step;
  }
}

TEST(BodyReader, StartForgetsTheBodyBefore) {
  BodyReader body;
  body.start({Framing::Kind::chunked, 0});
  EXPECT_TRUE(body.step("X").bad);
  body.start({Framing::Kind::chunked, 0});
  EXPECT_FALSE(body.step("0\r\n\r\n").bad);
  EXPECT_TRUE(body.done());
}

}  // namespace
}  // namespace lbd::http
