// Body framing over a buffer, whatever delimits it: how much of what is buffered is body, and
// whether it has ended.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "lbd/http/chunked.h"
#include "lbd/http/message.h"

namespace lbd::http {

class BodyReader {
 public:
  void start(const Framing& framing) noexcept {
    kind_ = framing.kind;
    remaining_ = framing.kind == Framing::Kind::length ? framing.length : 0;
    chunks_.reset();
  }

  struct Step {
    std::size_t consumed = 0;  // of `bytes`, `data` included
    std::string_view data;
    bool bad = false;
  };
  /// Takes as much as makes one contiguous run of body data, and for a chunked body what follows it
  /// as far as it is framing, so that the end is seen as soon as it is here.
  [[nodiscard]] Step step(std::string_view bytes) noexcept {
    switch (kind_) {
      case Framing::Kind::none:
        return {};
      case Framing::Kind::length: {
        const auto run =
            static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, bytes.size()));
        remaining_ -= run;
        return {run, bytes.substr(0, run), false};
      }
      case Framing::Kind::until_close:
        return {bytes.size(), bytes, false};
      case Framing::Kind::chunked:
        return chunked_step(bytes);
    }
    return {};
  }

  /// Everything has been read. A body that ends with the connection never is.
  [[nodiscard]] bool done() const noexcept {
    switch (kind_) {
      case Framing::Kind::none:
        return true;
      case Framing::Kind::length:
        return remaining_ == 0;
      case Framing::Kind::chunked:
        return chunks_.done();
      case Framing::Kind::until_close:
        return false;
    }
    return true;
  }
  [[nodiscard]] bool ends_with_connection() const noexcept {
    return kind_ == Framing::Kind::until_close;
  }
  /// How many bytes at most still belong to this body, when that is known.
  [[nodiscard]] std::uint64_t remaining() const noexcept { return remaining_; }
  [[nodiscard]] Framing::Kind kind() const noexcept { return kind_; }

 private:
  Step chunked_step(std::string_view bytes) noexcept {
    Step out;
    ChunkFramer::Step first = chunks_.step(bytes);
    out.consumed = first.consumed;
    out.data = first.data;
    if (!first.data.empty()) {
      // Look past the data while it is framing only: the last chunk usually came along.
      ChunkFramer ahead = chunks_;
      const ChunkFramer::Step next = ahead.step(bytes.substr(out.consumed));
      if (next.data.empty()) {
        chunks_ = ahead;
        out.consumed += next.consumed;
      }
    }
    out.bad = chunks_.bad();
    return out;
  }

  Framing::Kind kind_ = Framing::Kind::none;
  std::uint64_t remaining_ = 0;
  ChunkFramer chunks_;
};

}  // namespace lbd::http
