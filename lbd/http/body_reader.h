// Body framing over a buffer, whatever delimits it: how much of what is buffered is body, and
// whether it has ended.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/http/chunked.h"
#include "lbd/http/message.h"

namespace lbd::http {

class BodyReader {
 public:
  void start(const Framing& framing) noexcept;

  struct Step {
    std::size_t consumed = 0;  // of `bytes`, `data` included
    std::string_view data;
    bool bad = false;
    bool bad_trailer = false;  // it frames or routes (read_trailers); with the end of the body
  };
  /// Takes as much as makes one contiguous run of body data, and for a chunked body what follows it
  /// as far as it is framing, so that the end is seen as soon as it is here.
  [[nodiscard]] Step step(std::string_view bytes) {
    switch (kind_) {
      case Framing::Kind::none:
        return {};
      case Framing::Kind::length: {
        const auto run =
            static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, bytes.size()));
        remaining_ -= run;
        return {run, bytes.substr(0, run)};
      }
      case Framing::Kind::until_close:
        return {bytes.size(), bytes};
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
  /// Trailer fields that may go on, once a chunked body is done; null when there are none. They
  /// hold until `start`.
  [[nodiscard]] const std::vector<Header>* trailers() const noexcept {
    return trailers_.empty() ? nullptr : &trailers_;
  }
  [[nodiscard]] Framing::Kind kind() const noexcept { return kind_; }

 private:
  Step chunked_step(std::string_view bytes);

  Framing::Kind kind_ = Framing::Kind::none;
  std::uint64_t remaining_ = 0;
  ChunkFramer chunks_;
  std::string trailer_;  // the section as it came; empty until then
  std::vector<Header> trailers_;
};

}  // namespace lbd::http
