#include "lbd/http/encoder.h"

#include <brotli/decode.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <string>

namespace lbd::http {
namespace {

constexpr std::array kAll{Coding::gzip, Coding::br, Coding::zstd};

/// What a reader of the coding makes of the bytes; it need not have ended.
std::string decoded(Coding coding, std::string_view bytes) {
  std::string out(1 << 20, '\0');
  if (coding == Coding::gzip) {
    z_stream stream{};
    EXPECT_EQ(inflateInit2(&stream, MAX_WBITS + 16), Z_OK);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_GE(inflate(&stream, Z_SYNC_FLUSH), Z_OK);
    out.resize(out.size() - stream.avail_out);
    inflateEnd(&stream);
  } else if (coding == Coding::br) {
    BrotliDecoderState* state = BrotliDecoderCreateInstance(nullptr, nullptr, nullptr);
    const auto* in = reinterpret_cast<const std::uint8_t*>(bytes.data());
    auto* to = reinterpret_cast<std::uint8_t*>(out.data());
    std::size_t left = bytes.size();
    std::size_t room = out.size();
    EXPECT_NE(BrotliDecoderDecompressStream(state, &left, &in, &room, &to, nullptr),
              BROTLI_DECODER_RESULT_ERROR);
    out.resize(out.size() - room);
    BrotliDecoderDestroyInstance(state);
  } else {
    ZSTD_DStream* stream = ZSTD_createDStream();
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    while (in.pos < in.size) {
      if (ZSTD_isError(ZSTD_decompressStream(stream, &to, &in)) != 0) return "error";
    }
    out.resize(to.pos);
    ZSTD_freeDStream(stream);
  }
  return out;
}

std::string text_of(std::size_t size) {
  std::string text;
  for (std::size_t i = 0; text.size() < size; ++i)
    text += "line " + std::to_string(i * 7919) + "\n";
  text.resize(size);
  return text;
}

TEST(Encoder, WhatGoesInComesOutWithEachEffortAndIsSmaller) {
  const std::string text = text_of(300'000);
  BufferPool pool;
  for (const Coding coding : kAll) {
    for (const Effort effort : {Effort::low, Effort::medium, Effort::high}) {
      const auto encoder = make_encoder(coding, effort);
      ASSERT_NE(encoder, nullptr);
      Buffer out(pool);
      EXPECT_TRUE(encoder->encode(text, true, out));
      EXPECT_EQ(decoded(coding, out.view()), text) << coding_name(coding);
      EXPECT_LT(out.size(), text.size() / 2);
    }
  }
}

TEST(Encoder, EachPieceCanBeDecodedAsSoonAsItIsThere) {
  BufferPool pool;
  for (const Coding coding : kAll) {
    const auto encoder = make_encoder(coding, Effort::medium);
    Buffer out(pool);
    std::string so_far;
    for (const std::size_t size : {1, 5, 70'000, 3}) {
      const std::string piece = text_of(size);
      so_far += piece;
      EXPECT_TRUE(encoder->encode(piece, false, out));
      EXPECT_EQ(decoded(coding, out.view()), so_far) << coding_name(coding);
    }
    EXPECT_TRUE(encoder->encode({}, true, out));
    EXPECT_EQ(decoded(coding, out.view()), so_far);
  }
}

TEST(Encoder, AnEmptyBodyHasAnEnd) {
  BufferPool pool;
  for (const Coding coding : kAll) {
    const auto encoder = make_encoder(coding, Effort::low);
    Buffer out(pool);
    EXPECT_TRUE(encoder->encode({}, true, out));
    EXPECT_FALSE(out.empty());
    EXPECT_EQ(decoded(coding, out.view()), "");
  }
}

TEST(Encoder, NothingOfOneMessageIsInTheNext) {
  BufferPool pool;
  for (const Coding coding : kAll) {
    const auto encoder = make_encoder(coding, Effort::medium);
    Buffer broken_off(pool);
    EXPECT_TRUE(encoder->encode("a secret of the first", false, broken_off));
    EXPECT_TRUE(encoder->restart());
    Buffer out(pool);
    EXPECT_TRUE(encoder->encode("the second", true, out));
    EXPECT_EQ(decoded(coding, out.view()), "the second") << coding_name(coding);
  }
}

TEST(Encoder, BytesThatCannotShrinkPassThrough) {
  std::string noise(200'000, '\0');
  std::uint32_t state = 1;
  for (char& c : noise) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  BufferPool pool;
  for (const Coding coding : kAll) {
    const auto encoder = make_encoder(coding, Effort::low);
    Buffer out(pool);
    EXPECT_TRUE(encoder->encode(noise, true, out));
    EXPECT_EQ(decoded(coding, out.view()), noise);
    EXPECT_LT(out.size(), noise.size() + noise.size() / 50 + 100);
  }
}

TEST(ChooseCoding, GoesByTheClientsWeightsThenByOurs) {
  constexpr std::array kOurs{Coding::zstd, Coding::br, Coding::gzip};
  const auto chosen = [&](const std::vector<std::string_view>& values) {
    std::vector<Header> headers{{"Host", "a", HeaderId::host}};
    for (const std::string_view each : values) headers.push_back({"Accept-Encoding", each});
    return choose_coding(kOurs, headers);
  };
  EXPECT_EQ(chosen({}), Coding::identity);
  EXPECT_EQ(chosen({""}), Coding::identity);
  EXPECT_EQ(chosen({"identity"}), Coding::identity);
  EXPECT_EQ(chosen({"deflate, lzma"}), Coding::identity);
  EXPECT_EQ(chosen({"gzip, deflate, br, zstd"}), Coding::zstd);
  EXPECT_EQ(chosen({"gzip, deflate, br"}), Coding::br);
  EXPECT_EQ(chosen({"gzip"}), Coding::gzip);
  EXPECT_EQ(chosen({"X-GZIP"}), Coding::gzip);
  EXPECT_EQ(chosen({"gzip;q=1.0, br;q=0.5"}), Coding::gzip);
  EXPECT_EQ(chosen({"gzip ; q=0.2 , br ; q=0.5"}), Coding::br);
  EXPECT_EQ(chosen({"gzip;q=0"}), Coding::identity);
  EXPECT_EQ(chosen({"identity, gzip;q=0.5"}), Coding::identity);
  EXPECT_EQ(chosen({"identity;q=0.5, gzip"}), Coding::gzip);
  EXPECT_EQ(chosen({"lzma, gzip;q=0.5"}), Coding::gzip);
  EXPECT_EQ(chosen({"*"}), Coding::zstd);
  EXPECT_EQ(chosen({"*;q=0.1, gzip"}), Coding::gzip);
  EXPECT_EQ(chosen({"*, zstd;q=0"}), Coding::br);
  EXPECT_EQ(chosen({"gzip", "br"}), Coding::br);
  EXPECT_EQ(chosen({"gzip;q=1.001"}), Coding::gzip);
  EXPECT_EQ(chosen({"gzip;q=2"}), Coding::identity);
  EXPECT_EQ(chosen({"gzip;q=0.0000"}), Coding::identity);
  EXPECT_EQ(chosen({"gzip;level=9"}), Coding::identity);
}

}  // namespace
}  // namespace lbd::http
