// The chunked transfer coding (RFC 9112 §7.1), one byte machine: strict, sans-I/O, no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lbd::http {

/// Trailer fields are checked for their grammar and counted against the limits; what they say is
/// trailers.h's business.
class ChunkFramer {
 public:
  enum class State : std::uint8_t {
    size_first,
    size,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,
    trailer_name,
    trailer,
    trailer_lf,
    end_lf,
    done,
    bad,
  };
  /// Bytes of all chunk extensions, and of all trailers, of one message.
  static constexpr std::uint32_t kExtensionBytesMax = 4 * 1024;
  static constexpr std::uint32_t kTrailerBytesMax = 16 * 1024;
  static constexpr std::uint8_t kTrailersMax = 64;

  struct Step {
    std::size_t consumed = 0;  // bytes used up, `data` included
    std::string_view data;     // body bytes, a view into the input; may be empty
    /// Bytes of the trailer section, line ends and the empty line included; likewise.
    std::string_view trailer;
  };
  /// Takes bytes up to the end of the first run of body data, or all of them. Call again with the
  /// rest until it consumes nothing. After `done` it consumes nothing; after `bad` neither.
  [[nodiscard]] Step step(std::string_view bytes) noexcept;

  [[nodiscard]] bool done() const noexcept { return state_ == State::done; }
  [[nodiscard]] bool bad() const noexcept { return state_ == State::bad; }
  [[nodiscard]] State state() const noexcept { return state_; }
  void reset() noexcept { *this = ChunkFramer(); }

 private:
  void control(char byte) noexcept;
  void size_digit(char byte) noexcept;
  void trailer_byte(char byte) noexcept;

  State state_ = State::size_first;
  [[nodiscard]] bool in_trailer() const noexcept {
    return state_ >= State::trailer_start && state_ <= State::end_lf;
  }

  std::uint8_t digits_ = 0;
  std::uint8_t trailers_ = 0;
  std::uint32_t extra_bytes_ = 0;
  std::uint64_t remaining_ = 0;
};

}  // namespace lbd::http
