// Any bytes as a chunked body. Oracles: any split gives the same bytes, the same end and the same
// verdict, in the framer and in the body reader above it; a finished body written out again in
// chunks of our own decodes to the same bytes.
#include <array>
#include <cstdint>
#include <string>

#include "fuzz/require.h"
#include "lbd/http/body_reader.h"
#include "lbd/http/h1_write.h"

namespace {

using namespace lbd::http;
using lbd::fuzz::require;

struct Decoded {
  std::string data;
  std::size_t consumed = 0;
  ChunkFramer::State state = ChunkFramer::State::size_first;
  friend bool operator==(const Decoded&, const Decoded&) = default;
};

Decoded decode(std::string_view bytes, std::size_t step) {
  ChunkFramer framer;
  Decoded out;
  while (out.consumed < bytes.size()) {
    const ChunkFramer::Step taken = framer.step(bytes.substr(out.consumed, step));
    if (taken.consumed == 0) break;
    out.data += taken.data;
    out.consumed += taken.consumed;
  }
  out.state = framer.state();
  return out;
}

/// The same through BodyReader, which looks ahead.
Decoded read_body(std::string_view bytes, std::size_t step) {
  BodyReader body;
  body.start({Framing::Kind::chunked, 0});
  Decoded out;
  bool bad = false;
  while (out.consumed < bytes.size() && !bad && !body.done()) {
    const BodyReader::Step taken = body.step(bytes.substr(out.consumed, step));
    bad = taken.bad;
    out.data += taken.data;
    out.consumed += taken.consumed;
    if (taken.consumed == 0) break;
  }
  out.state = bad           ? ChunkFramer::State::bad
              : body.done() ? ChunkFramer::State::done
                            : ChunkFramer::State::size;
  return out;
}

std::string encode(std::string_view data, std::size_t step) {
  std::string out;
  std::array<char, 20> storage{};
  for (std::size_t at = 0; at < data.size(); at += step) {
    const std::string_view piece = data.substr(at, step);
    out += chunk_size_line(piece.size(), storage);
    out += piece;
    out += "\r\n";
  }
  return out + "0\r\n\r\n";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Decoded whole = decode(bytes, size + 1);
  for (const std::size_t step : {1U, 2U, 3U, 17U}) {
    require(decode(bytes, step) == whole, "a split changed what was decoded");
  }
  using State = ChunkFramer::State;
  for (const std::size_t step : {std::size_t{1}, std::size_t{5}, size + 1}) {
    const Decoded read = read_body(bytes, step);
    require((read.state == State::bad) == (whole.state == State::bad), "the readers disagree");
    require((read.state == State::done) == (whole.state == State::done), "the ends disagree");
    if (whole.state != State::bad) require(read.data == whole.data, "the bytes disagree");
    if (whole.state == State::done) require(read.consumed == whole.consumed, "the ends differ");
  }
  if (whole.state == State::done) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{16}, whole.data.size() + 1}) {
      const std::string again = encode(whole.data, step);
      const Decoded second = decode(again, again.size());
      require(second.state == State::done && second.data == whole.data &&
                  second.consumed == again.size(),
              "written out again, it differs");
    }
  }
  return 0;
}
