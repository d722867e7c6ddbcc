#include "lbd/http/encoder.h"

#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>

#include "lbd/base/check.h"

namespace lbd::http {
namespace {

constexpr std::size_t kStep = 16 * 1024;  // room made for output at a time
/// Windows of 256 KiB: bodies of web pages gain little from more, and each encoder costs its own.
constexpr int kWindowBits = 18;

template <class T>
T level_of(Effort effort, const std::array<T, 3>& levels) noexcept {
  return levels[static_cast<std::size_t>(effort)];
}

class Gzip final : public Encoder {
 public:
  explicit Gzip(Effort effort) : Encoder(Coding::gzip, effort) {
    constexpr int kGzipFormat = 16;
    constexpr int kMemory = 8;
    good_ = deflateInit2(&stream_, level_of<int>(effort, {1, 4, 6}), Z_DEFLATED,
                         MAX_WBITS + kGzipFormat, kMemory, Z_DEFAULT_STRATEGY) == Z_OK;
  }
  ~Gzip() override { deflateEnd(&stream_); }

  [[nodiscard]] bool good() const noexcept { return good_; }
  bool restart() override { return deflateReset(&stream_) == Z_OK; }
  bool encode(std::string_view in, bool last, Buffer& out) override {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    for (;;) {
      out.reserve(out.size() + kStep);
      const std::span<char> room = out.space();
      stream_.next_out = reinterpret_cast<Bytef*>(room.data());
      stream_.avail_out = static_cast<uInt>(room.size());
      const int result = deflate(&stream_, last ? Z_FINISH : Z_SYNC_FLUSH);
      out.commit(room.size() - stream_.avail_out);
      if (result == Z_STREAM_END || result == Z_BUF_ERROR) return true;  // nothing more to do
      if (result != Z_OK) return false;
      if (stream_.avail_out > 0 && !last) return true;
    }
  }

 private:
  z_stream stream_{};
  bool good_ = false;
};

class Brotli final : public Encoder {
 public:
  explicit Brotli(Effort effort) : Encoder(Coding::br, effort) { (void)restart(); }
  ~Brotli() override { BrotliEncoderDestroyInstance(state_); }

  [[nodiscard]] bool good() const noexcept { return state_ != nullptr; }
  bool restart() override {
    BrotliEncoderDestroyInstance(state_);
    state_ = BrotliEncoderCreateInstance(nullptr, nullptr, nullptr);
    if (state_ == nullptr) return false;
    const auto quality = level_of<std::uint32_t>(effort(), {2, 4, 6});
    return BrotliEncoderSetParameter(state_, BROTLI_PARAM_QUALITY, quality) == BROTLI_TRUE &&
           BrotliEncoderSetParameter(state_, BROTLI_PARAM_LGWIN, kWindowBits) == BROTLI_TRUE;
  }
  bool encode(std::string_view in, bool last, Buffer& out) override {
    const auto* next = reinterpret_cast<const std::uint8_t*>(in.data());
    std::size_t left = in.size();
    const BrotliEncoderOperation operation =
        last ? BROTLI_OPERATION_FINISH : BROTLI_OPERATION_FLUSH;
    do {
      out.reserve(out.size() + kStep);
      const std::span<char> room = out.space();
      auto* to = reinterpret_cast<std::uint8_t*>(room.data());
      std::size_t free = room.size();
      if (BrotliEncoderCompressStream(state_, operation, &left, &next, &free, &to, nullptr) !=
          BROTLI_TRUE) {
        return false;
      }
      out.commit(room.size() - free);
    } while (left > 0 || BrotliEncoderHasMoreOutput(state_) == BROTLI_TRUE);
    return true;
  }

 private:
  BrotliEncoderState* state_ = nullptr;
};

class Zstd final : public Encoder {
 public:
  explicit Zstd(Effort effort) : Encoder(Coding::zstd, effort), context_(ZSTD_createCCtx()) {
    if (context_ == nullptr) return;
    LBD_CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(context_, ZSTD_c_compressionLevel,
                                                  level_of<int>(effort, {1, 3, 6}))) == 0);
    LBD_CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(context_, ZSTD_c_windowLog, kWindowBits)) == 0);
  }
  ~Zstd() override { ZSTD_freeCCtx(context_); }

  [[nodiscard]] bool good() const noexcept { return context_ != nullptr; }
  bool restart() override {
    return ZSTD_isError(ZSTD_CCtx_reset(context_, ZSTD_reset_session_only)) == 0;
  }
  bool encode(std::string_view in, bool last, Buffer& out) override {
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    for (;;) {
      out.reserve(out.size() + kStep);
      const std::span<char> room = out.space();
      ZSTD_outBuffer to{room.data(), room.size(), 0};
      const std::size_t left =
          ZSTD_compressStream2(context_, &to, &from, last ? ZSTD_e_end : ZSTD_e_flush);
      if (ZSTD_isError(left) != 0) return false;
      out.commit(to.pos);
      if (left == 0) return true;
    }
  }

 private:
  ZSTD_CCtx* context_;
};

template <class T>
std::unique_ptr<Encoder> made(Effort effort) {
  auto encoder = std::make_unique<T>(effort);
  if (!encoder->good()) return nullptr;
  return encoder;
}

/// Thousandths (RFC 9110 §12.4.2): "1", "0.75"; a weight that is none counts as 0.
int weight_of(std::string_view text) noexcept {
  if (text.empty() || (text[0] != '0' && text[0] != '1') || text.size() > 5) return 0;
  int value = (text[0] - '0') * 1000;
  if (text.size() > 1 && text[1] != '.') return 0;
  int place = 100;
  for (const char c : text.substr(std::min<std::size_t>(2, text.size()))) {
    if (c < '0' || c > '9') return 0;
    value += (c - '0') * place;
    place /= 10;
  }
  return std::min(value, 1000);
}

struct Wish {
  std::string_view name;
  int weight = 1000;
};

/// "gzip;q=0.5"
Wish read_wish(std::string_view item) noexcept {
  const std::size_t semicolon = std::min(item.find(';'), item.size());
  Wish wish{trimmed(item.substr(0, semicolon))};
  const std::string_view parameter = trimmed(item.substr(std::min(semicolon + 1, item.size())));
  if (parameter.size() > 2 && (parameter[0] == 'q' || parameter[0] == 'Q') && parameter[1] == '=') {
    wish.weight = weight_of(parameter.substr(2));
  } else if (!parameter.empty()) {
    wish.weight = 0;
  }
  return wish;
}

Coding coding_of(std::string_view name) noexcept {
  for (const Coding each : {Coding::gzip, Coding::br, Coding::zstd}) {
    if (equals_ignoring_case(name, coding_name(each))) return each;
  }
  return equals_ignoring_case(name, "x-gzip") ? Coding::gzip : Coding::identity;
}

}  // namespace

std::string_view coding_name(Coding coding) noexcept {
  constexpr std::array<std::string_view, static_cast<std::size_t>(Coding::kCount)> kNames{
      "identity", "gzip", "br", "zstd"};
  return kNames[static_cast<std::size_t>(coding)];
}

Coding choose_coding(std::span<const Coding> preferred,
                     const std::vector<Header>& request) noexcept {
  constexpr int kUnnamed = -1;
  std::array<int, static_cast<std::size_t>(Coding::kCount)> weights{};
  weights.fill(kUnnamed);
  int any = 0;  // of "*": for what is not named
  for (const Header& header : request) {
    if (!equals_ignoring_case(header.name, "accept-encoding")) continue;
    std::string_view rest = header.value;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      const Wish wish = read_wish(rest.substr(0, comma));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
      if (wish.name == "*") any = wish.weight;
      const Coding named = coding_of(wish.name);
      const bool known = named != Coding::identity || equals_ignoring_case(wish.name, "identity");
      if (known) weights[static_cast<std::size_t>(named)] = wish.weight;
    }
  }
  Coding best = Coding::identity;
  int most = 0;
  for (const Coding each : preferred) {
    const int named = weights[static_cast<std::size_t>(each)];
    const int weight = named == kUnnamed ? any : named;
    if (weight <= most) continue;
    best = each;
    most = weight;
  }
  return weights[static_cast<std::size_t>(Coding::identity)] > most ? Coding::identity : best;
}

std::unique_ptr<Encoder> make_encoder(Coding coding, Effort effort) {
  switch (coding) {
    case Coding::gzip:
      return made<Gzip>(effort);
    case Coding::br:
      return made<Brotli>(effort);
    case Coding::zstd:
      return made<Zstd>(effort);
    case Coding::identity:
    case Coding::kCount:
      break;
  }
  return nullptr;
}

}  // namespace lbd::http
