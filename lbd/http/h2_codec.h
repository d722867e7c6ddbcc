// HTTP/2 without input or output, what both its ends need: bytes in, streams and bytes out
// (docs/adr/0008). nghttp2 underneath, which stays out of this header.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "lbd/base/buffer.h"
#include "lbd/base/clock.h"
#include "lbd/http/h2_frames.h"
#include "lbd/http/h2_head.h"
#include "lbd/http/message.h"

struct nghttp2_session;

namespace lbd::http {

/// RFC 9113 §7, those we send or look at; peers may send any.
enum class H2Error : std::uint32_t {
  no_error = 0x0,
  protocol_error = 0x1,
  internal_error = 0x2,
  stream_closed = 0x5,
  refused_stream = 0x7,
  cancel = 0x8,
  enhance_your_calm = 0xb,
};

/// What a peer must not do too much of.
enum class H2Flood : std::uint8_t {
  none,
  resets,        // streams that it resets, or makes us reset (CVE-2023-44487, CVE-2025-8671)
  control,       // PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA and unknown frames
  header_block,  // a header block without an end (CONTINUATION), or a bomb (CVE-2026-49975)
  kCount,
};
[[nodiscard]] std::string_view h2_flood_name(H2Flood flood) noexcept;

struct H2Limits {
  std::uint32_t streams_max = 100;
  std::uint32_t stream_window = 256 * 1024;       // bytes of bodies, unread by us, a stream
  std::uint32_t connection_window = 1024 * 1024;  // and a connection
  bool websocket = false;                         // a server offers extended CONNECT (RFC 8441)
  HeadLimits head;
};

/// How a stream ended.
struct H2Closed {
  H2Error error = H2Error::no_error;
  bool by_us = false;      // we reset it: it was told to, or the peer broke a rule
  bool untouched = false;  // the peer has not acted on it, and will not
};

/// One request and its response, as the codec drives them. Thread: the connection's.
class H2Stream {
 public:
  H2Stream() = default;
  virtual ~H2Stream() = default;
  H2Stream(const H2Stream&) = delete;
  H2Stream& operator=(const H2Stream&) = delete;

  [[nodiscard]] std::int32_t id() const noexcept { return id_; }
  /// The peer may know of it.
  [[nodiscard]] bool on_wire() const noexcept { return sent_; }

 private:
  friend class H2Codec;
  friend class H2Server;
  friend class H2Client;
  /// Where the fields of the header block under way go.
  virtual H2HeadBuilder& fields() = 0;
  /// The block is whole. `last`: no body follows. It is the message's head, an interim response, or
  /// trailers.
  virtual void head_ended(bool last) = 0;
  virtual void body_came(std::string_view bytes) = 0;
  virtual void body_ended() = 0;
  /// Bytes of our body that may go out now, and whether the body ends with them.
  [[nodiscard]] virtual std::size_t ready_bytes(bool& last) const noexcept = 0;
  /// Appends the next `size` of them.
  virtual void take_bytes(std::size_t size, Buffer& out) = 0;
  /// Behind our body; null: none.
  [[nodiscard]] virtual const std::vector<Header>* own_trailers() const noexcept = 0;
  /// HTTP/2 itself does not allow what came; the stream is being reset.
  virtual void refused() = 0;
  /// The stream is over, well or not; not called again.
  virtual void closed(const H2Closed& how) = 0;

  std::int32_t id_ = 0;
  bool sent_ = false;
};

/// One connection. Callbacks come from inside `receive` and `send`; every other call may be made
/// from inside them.
class H2Codec {
 public:
  // Of the library's side (h2_nghttp2.h).
  struct Scratch;
  struct Callbacks;

  virtual ~H2Codec();
  H2Codec(const H2Codec&) = delete;
  H2Codec& operator=(const H2Codec&) = delete;

  /// False: the connection is to end, after what `send` still gives.
  [[nodiscard]] bool receive(std::string_view bytes, TimePoint now);
  /// Appends what is to go out, until there is no more or `out` holds `most`.
  void send(Buffer& out, std::size_t most);
  /// Neither side has anything to say any more.
  [[nodiscard]] bool over() const noexcept;
  /// The number of the header block that has begun and not ended; 0: none is under way.
  [[nodiscard]] std::uint64_t header_block() const noexcept { return in_block_ ? blocks_ : 0; }
  [[nodiscard]] H2Flood flood() const noexcept { return flood_; }
  /// Without a breach of the rules by the peer so far.
  [[nodiscard]] bool going() const noexcept {
    return !dead_ && !refused_ && flood_ == H2Flood::none;
  }
  /// Our part of the stream has gone out, its end included.
  [[nodiscard]] bool sent_all(const H2Stream& stream) const noexcept;
  /// As the peer was told them.
  [[nodiscard]] const H2Limits& limits() const noexcept { return limits_; }

  /// `ready_bytes` has changed.
  void resume(H2Stream& stream);
  /// Bytes of the peer's body that have been used up, for which more may come.
  void consume(H2Stream& stream, std::size_t bytes);
  /// The same for the connection alone, and for the stream alone.
  void consume_connection(std::size_t bytes);
  void consume_stream(H2Stream& stream, std::size_t bytes);
  void reset(H2Stream& stream, H2Error error);
  /// From now on no stream is opened.
  void end(H2Error error);

 protected:
  enum class Role : std::uint8_t { server, client };
  H2Codec(const H2Limits& limits, Role role);
  /// The peer opens a stream; null: refuse it, it may be sent again elsewhere.
  virtual H2Stream* opened() { return nullptr; }
  virtual void settings_came() {}
  /// It is closed and not in the library any more.
  virtual void gone(H2Stream& /*stream*/) noexcept {}

  H2Limits limits_;
  nghttp2_session* session_ = nullptr;
  std::unique_ptr<Scratch> scratch_;
  bool dead_ = false;  // the library gave up

 private:
  void refill(TimePoint now) noexcept;
  void spend(H2Flood kind) noexcept;
  void reward() noexcept;
  void feed(std::string_view bytes);
  void begin_block_frame(bool first, bool last) noexcept;
  /// It is over when its last frame begins: the library tells no more of it.
  void refuse_block() noexcept { refused_block_ = true, in_block_ = open_block_; }
  void check_stream(std::int32_t id, bool opens);
  void refuse_connection(H2Error error);
  /// A page that is left resets all its requests at once.
  [[nodiscard]] std::int64_t resets_max() const noexcept { return 2LL * limits_.streams_max + 10; }

  const Role role_;
  Buffer* out_ = nullptr;  // during `send`
  std::size_t most_ = 0;
  H2FrameScanner scanner_;
  H2ClosedStreams closed_;
  std::int32_t last_opened_ = 0;
  std::int32_t resetting_ = 0;  // its RST_STREAM has just gone out
  bool refused_ = false;        // the connection, with a GOAWAY on its way
  bool in_block_ = false;
  bool open_block_ = false;       // the block's last frame so far does not end it
  bool refused_block_ = false;    // its stream is being reset; what is left of it is not looked at
  std::uint64_t blocks_ = 0;      // that have begun
  bool bytes_in_frame_ = false;   // of the DATA frame under way, padding not counted
  std::size_t block_bytes_ = 0;   // at most, since a header block began
  std::uint32_t own_resets_ = 0;  // that were not the peer's doing, on their way out
  H2Flood flood_ = H2Flood::none;
  TimePoint refilled_{};
  std::int64_t resets_left_;
  std::int64_t controls_left_;
};

}  // namespace lbd::http
