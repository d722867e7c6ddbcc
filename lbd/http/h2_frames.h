// What of HTTP/2's frames lbd itself looks at, beside nghttp2: things that it lets pass.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lbd::http {

/// Finds the heads of DATA frames, wherever the bytes are split, and PRIORITY frames of a stream
/// that is to depend on itself (RFC 7540 §5.3.1): nghttp2 drops the former in silence when their
/// stream is closed, and the latter while it has no use for priorities; of unknown ones it does not
/// tell.
class H2FrameScanner {
 public:
  /// `preface`: what is scanned is a client's, and begins with one.
  explicit H2FrameScanner(bool preface) noexcept : skip_(preface ? kPreface : 0) {}

  static constexpr std::size_t kHead = 9;

  struct Step {
    std::size_t consumed = 0;
    std::int32_t data_of = -1;  // the head of a DATA frame of this stream ends here
    bool bad = false;           // such a PRIORITY frame
    std::uint32_t unknown = 0;  // frames of kinds that RFC 9113 does not know
  };
  /// The next bytes of the connection, preface included: up to what is to be looked at, or all.
  [[nodiscard]] Step scan(std::string_view bytes) noexcept;

 private:
  static constexpr std::size_t kPreface = 24;

  [[nodiscard]] std::uint32_t number(std::size_t at, std::size_t size) const noexcept;
  void end_of_part(Step& step) noexcept;

  std::array<std::uint8_t, kHead + 4>
      part_{};  // a frame's head, and the first of PRIORITY's payload
  std::size_t have_ = 0;
  std::size_t want_ = kHead;
  std::size_t skip_;
};

/// The streams that were closed last, and by whom. Thread: one.
class H2ClosedStreams {
 public:
  enum class Closed : std::uint8_t { unknown, by_peer, by_us };

  void add(std::int32_t id, Closed how);
  [[nodiscard]] Closed find(std::int32_t id) const noexcept;

 private:
  static constexpr std::size_t kKept = 256;
  struct Entry {
    std::int32_t id = 0;
    Closed how = Closed::unknown;
  };
  std::vector<Entry> ring_;
  std::size_t next_ = 0;
};

}  // namespace lbd::http
