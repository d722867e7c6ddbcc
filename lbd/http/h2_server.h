// HTTP/2 as a server speaks it, without input or output: bytes in, streams and bytes out
// (docs/adr/0008). nghttp2 underneath, which stays out of this header.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "lbd/base/buffer.h"
#include "lbd/base/clock.h"
#include "lbd/base/result.h"
#include "lbd/http/h2_frames.h"
#include "lbd/http/h2_head.h"
#include "lbd/http/message.h"

struct nghttp2_session;

namespace lbd::http {

/// RFC 9113 §7, those we send.
enum class H2Error : std::uint32_t {
  no_error = 0x0,
  protocol_error = 0x1,
  internal_error = 0x2,
  stream_closed = 0x5,
  refused_stream = 0x7,
  cancel = 0x8,
  enhance_your_calm = 0xb,
};

/// What a client must not do too much of.
enum class H2Flood : std::uint8_t {
  none,
  resets,        // streams that it resets, or makes us reset (CVE-2023-44487, CVE-2025-8671)
  control,       // PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA and unknown frames
  header_block,  // a header block without an end (CONTINUATION)
  kCount,
};
[[nodiscard]] std::string_view h2_flood_name(H2Flood flood) noexcept;

struct H2Limits {
  std::uint32_t streams_max = 100;
  std::uint32_t stream_window = 256 * 1024;       // bytes of bodies, unread by us, a stream
  std::uint32_t connection_window = 1024 * 1024;  // and a connection
  bool websocket = false;                         // extended CONNECT is offered (RFC 8441)
  HeadLimits head;
};

class H2Server;

/// One request and its response, as the codec drives them. Thread: the connection's.
class H2Stream {
 public:
  H2Stream() = default;
  virtual ~H2Stream() = default;
  H2Stream(const H2Stream&) = delete;
  H2Stream& operator=(const H2Stream&) = delete;

  [[nodiscard]] std::int32_t id() const noexcept { return id_; }

 private:
  friend class H2Server;
  /// Where the fields of the header block under way go.
  virtual H2HeadBuilder& fields() = 0;
  /// The block is whole. `last`: no body follows. At the first block, the request begins; a second
  /// is its trailers.
  virtual void head_ended(bool last) = 0;
  virtual void body_came(std::string_view bytes) = 0;
  virtual void body_ended() = 0;
  /// Bytes of the response's body that may go out now, and whether the body ends with them.
  [[nodiscard]] virtual std::size_t ready_bytes(bool& last) const noexcept = 0;
  /// Appends the next `size` of them.
  virtual void take_bytes(std::size_t size, Buffer& out) = 0;
  /// Behind the body; null: none.
  [[nodiscard]] virtual const std::vector<Header>* response_trailers() const noexcept = 0;
  /// HTTP/2 itself does not allow what came; the stream is being reset.
  virtual void refused() = 0;
  /// The stream is over, well or not; not called again.
  virtual void closed() = 0;

  std::int32_t id_ = 0;
  std::uint8_t blocks_ = 0;  // header blocks that came
};

/// Makes the streams.
class H2Streams {
 public:
  virtual ~H2Streams() = default;
  /// A new request; null: refuse it, it may be sent again elsewhere. Must live until `closed`, or
  /// until the codec is gone.
  virtual H2Stream* open_stream() = 0;
};

/// One connection. Callbacks come from inside `receive` and `send`; every other call may be made
/// from inside them.
class H2Server {
 public:
  H2Server(const H2Limits& limits, H2Streams& streams);
  ~H2Server();
  H2Server(const H2Server&) = delete;
  H2Server& operator=(const H2Server&) = delete;

  /// False: the connection is to end, after what `send` still gives.
  [[nodiscard]] bool receive(std::string_view bytes, TimePoint now);
  /// Appends what is to go out, until there is no more or `out` holds `most`.
  void send(Buffer& out, std::size_t most);
  /// Neither side has anything to say any more.
  [[nodiscard]] bool over() const noexcept;
  /// A header block has begun and not ended.
  [[nodiscard]] bool in_header_block() const noexcept { return in_block_; }
  [[nodiscard]] H2Flood flood() const noexcept { return flood_; }
  /// As the client was told them.
  [[nodiscard]] const H2Limits& limits() const noexcept { return limits_; }

  /// A head whose status is in `status`; `length`: of the body, negative when not known or not to
  /// be told. `last`: no body follows.
  struct Head {
    int status = 200;
    const std::vector<Header>* headers = nullptr;
    std::int64_t length = -1;
    bool last = false;
  };
  void submit_head(H2Stream& stream, const Head& head);
  void submit_interim(H2Stream& stream, const Head& head);
  /// `ready_bytes` has changed.
  void resume(H2Stream& stream);
  /// Bytes of the request's body that have been used up, for which more may come.
  void consume(H2Stream& stream, std::size_t bytes);
  /// The same for bytes of a body that nobody wants more of.
  void consume_connection(std::size_t bytes);
  void reset(H2Stream& stream, H2Error error);
  /// Tells the client to open no more streams; those on their way are still served.
  void announce_end();
  /// From now on none is.
  void end(H2Error error);

 private:
  struct Callbacks;
  friend struct Callbacks;
  void refill(TimePoint now) noexcept;
  void spend(H2Flood kind) noexcept;
  void reward() noexcept;
  [[nodiscard]] bool going() const noexcept {
    return !dead_ && !refused_ && flood_ == H2Flood::none;
  }
  void feed(std::string_view bytes);
  void check_stream(std::int32_t id, bool opens);
  void refuse_connection(H2Error error);
  void submit(H2Stream& stream, const Head& head, bool interim);
  /// A page that is left resets all its requests at once.
  [[nodiscard]] std::int64_t resets_max() const noexcept { return 2LL * limits_.streams_max + 10; }

  H2Limits limits_;
  H2Streams& streams_;
  nghttp2_session* session_ = nullptr;
  Buffer* out_ = nullptr;  // during `send`
  std::size_t most_ = 0;
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
  H2FrameScanner scanner_;
  H2ClosedStreams closed_;
  std::int32_t last_opened_ = 0;
  std::int32_t resetting_ = 0;  // its RST_STREAM has just gone out
  bool refused_ = false;        // the connection, with a GOAWAY on its way
  bool in_block_ = false;
  bool bytes_in_frame_ = false;   // of the DATA frame under way, padding not counted
  bool dead_ = false;             // the library gave up
  std::size_t block_bytes_ = 0;   // at most, since a header block began
  std::uint32_t own_resets_ = 0;  // that were not the client's doing, on their way out
  H2Flood flood_ = H2Flood::none;
  TimePoint refilled_{};
  std::int64_t resets_left_;
  std::int64_t controls_left_;
};

}  // namespace lbd::http
