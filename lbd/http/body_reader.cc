#include "lbd/http/body_reader.h"

#include "lbd/http/trailers.h"

namespace lbd::http {
namespace {

/// What a connection keeps of a trailer section when the next body begins.
constexpr std::size_t kTrailerRoomKept = 256;

}  // namespace

void BodyReader::start(const Framing& framing) noexcept {
  kind_ = framing.kind;
  remaining_ = framing.kind == Framing::Kind::length ? framing.length : 0;
  chunks_.reset();
  trailers_.clear();
  trailer_.clear();
  if (trailer_.capacity() > kTrailerRoomKept) trailer_ = {};
}

BodyReader::Step BodyReader::chunked_step(std::string_view bytes) {
  Step out;
  const ChunkFramer::Step first = chunks_.step(bytes);
  out.consumed = first.consumed;
  out.data = first.data;
  trailer_.append(first.trailer);
  if (!first.data.empty()) {
    // Look past the data while it is framing only: the last chunk usually came along.
    ChunkFramer ahead = chunks_;
    const ChunkFramer::Step next = ahead.step(bytes.substr(out.consumed));
    if (next.data.empty()) {
      chunks_ = ahead;
      out.consumed += next.consumed;
      trailer_.append(next.trailer);
    }
  }
  out.bad = chunks_.bad();
  constexpr std::size_t kEmptySection = 2;  // its line end
  if (chunks_.done() && trailer_.size() > kEmptySection) {
    out.bad_trailer = !read_trailers(trailer_, trailers_);
  }
  return out;
}

}  // namespace lbd::http
