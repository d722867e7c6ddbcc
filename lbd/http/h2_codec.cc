#include "lbd/http/h2_codec.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "lbd/base/check.h"
#include "lbd/base/recycle.h"
#include "lbd/http/h2_nghttp2.h"

namespace lbd::http {
namespace {

/// Buckets: so much at once, so much a second. Each request that ends well puts some back.
constexpr std::int64_t kResetsPerSecond = 50;
constexpr std::int64_t kControls = 2000;
constexpr std::int64_t kControlsPerSecond = 500;
constexpr std::int64_t kControlsPerFrame = 2;  // WINDOW_UPDATEs that a DATA frame of ours may cause
constexpr std::size_t kFrameHead = 9;
constexpr std::size_t kBlockSlack = 64 * 1024;  // frames that came along with a header block

// ---- memory: the library's objects live as long as a stream, so they are recycled; in front of
// each, its size.
constexpr std::size_t kSizePrefix = 16;

/// Null when there is none left: an exception must not pass through the library.
void* take(std::size_t size, void* /*user*/) noexcept {
  try {
    char* block = static_cast<char*>(take_recycled(size + kSizePrefix));
    std::memcpy(block, &size, sizeof size);
    return block + kSizePrefix;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

std::size_t size_of(const void* block) noexcept {
  std::size_t size = 0;
  std::memcpy(&size, static_cast<const char*>(block) - kSizePrefix, sizeof size);
  return size;
}

void give(void* block, void* /*user*/) {
  if (block == nullptr) return;
  const std::size_t size = size_of(block);
  give_recycled(static_cast<char*>(block) - kSizePrefix, size + kSizePrefix);
}

void* take_zeroed(std::size_t count, std::size_t size, void* user) {
  void* block = take(count * size, user);
  if (block != nullptr) std::memset(block, 0, count * size);
  return block;
}

void* resize(void* block, std::size_t size, void* user) {
  void* fresh = take(size, user);
  if (fresh == nullptr) return nullptr;
  if (block != nullptr) std::memcpy(fresh, block, std::min(size, size_of(block)));
  give(block, user);
  return fresh;
}

std::string_view text_of(const std::uint8_t* bytes, std::size_t size) noexcept {
  return {reinterpret_cast<const char*>(bytes), size};
}

std::string_view text_of(nghttp2_rcbuf* buffer) noexcept {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
  return text_of(bytes.base, bytes.len);
}

bool ends_stream(const nghttp2_frame& frame) noexcept {
  return (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
}

}  // namespace

std::string_view h2_flood_name(H2Flood flood) noexcept {
  constexpr std::array<std::string_view, static_cast<std::size_t>(H2Flood::kCount)> kNames{
      "none", "resets", "control", "header_block"};
  return kNames[static_cast<std::size_t>(flood)];
}

// What the library calls; `user` is the H2Codec.
struct H2Codec::Callbacks {
  static H2Codec& self(void* user) noexcept { return *static_cast<H2Codec*>(user); }
  static H2Stream* stream_of(nghttp2_session* session, std::int32_t id) noexcept {
    return static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static int begin_frame(nghttp2_session* /*session*/, const nghttp2_frame_hd* frame, void* user) {
    if (frame->type == NGHTTP2_HEADERS) self(user).check_stream(frame->stream_id, true);
    if (frame->type == NGHTTP2_HEADERS || frame->type == NGHTTP2_CONTINUATION) {
      const bool last = (frame->flags & NGHTTP2_FLAG_END_HEADERS) != 0;
      self(user).begin_block_frame(frame->type == NGHTTP2_HEADERS, last);
    }
    switch (frame->type) {
      case NGHTTP2_DATA:
        self(user).bytes_in_frame_ = false;  // it may be padding alone; see frame_came
        return 0;
      case NGHTTP2_HEADERS:
      case NGHTTP2_CONTINUATION:
      case NGHTTP2_RST_STREAM:
      case NGHTTP2_GOAWAY:
        return 0;
      case NGHTTP2_PRIORITY:
        if (frame->stream_id == 0) self(user).refuse_connection(H2Error::protocol_error);
        break;
      default:
        break;
    }
    self(user).spend(H2Flood::control);
    return 0;
  }

  static int begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    H2Codec& codec = self(user);
    const std::int32_t id = frame->hd.stream_id;
    if (codec.refused_) return 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      codec.last_opened_ = std::max(codec.last_opened_, id);
      H2Stream* stream = codec.opened();
      if (stream == nullptr) {
        ++codec.own_resets_;
        codec.refuse_block();
        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
      }
      stream->id_ = id;
      stream->sent_ = true;
      nghttp2_session_set_stream_user_data(session, id, stream);
    }
    codec.in_block_ = true;
    return 0;
  }

  static int frame_came(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    H2Codec& codec = self(user);
    if (frame->hd.type == NGHTTP2_HEADERS) codec.in_block_ = false;
    const bool empty = frame->hd.type == NGHTTP2_DATA && !codec.bytes_in_frame_;
    if (empty && !ends_stream(*frame)) codec.spend(H2Flood::control);
    if (frame->hd.type == NGHTTP2_RST_STREAM) codec.spend(H2Flood::resets);
    if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
      codec.settings_came();
    }
    H2Stream* stream = stream_of(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
      stream->head_ended(ends_stream(*frame));
    } else if (frame->hd.type == NGHTTP2_DATA && ends_stream(*frame)) {
      stream->body_ended();
    }
    return 0;
  }

  static int frame_refused(nghttp2_session* session, const nghttp2_frame* frame, int /*error*/,
                           void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    self(user).refuse_block();
    if (H2Stream* stream = stream_of(session, frame->hd.stream_id)) stream->refused();
    return 0;
  }

  static int data_came(H2Codec& codec, std::int32_t id, std::string_view bytes) {
    codec.bytes_in_frame_ = true;
    if (H2Stream* stream = stream_of(codec.session_, id)) {
      stream->body_came(bytes);
      return 0;
    }
    return nghttp2_session_consume(codec.session_, id, bytes.size());
  }

  static int stream_closed(nghttp2_session* session, std::int32_t id, std::uint32_t error,
                           void* user) {
    H2Codec& codec = self(user);
    const bool by_us = std::exchange(codec.resetting_, 0) == id;
    if (!by_us) codec.closed_.add(id, H2ClosedStreams::Closed::by_peer);
    H2Stream* stream = stream_of(session, id);
    if (stream == nullptr) return 0;
    if (error == NGHTTP2_NO_ERROR) codec.reward();
    nghttp2_session_set_stream_user_data(session, id, nullptr);
    codec.gone(*stream);
    const bool refused = !by_us && error == NGHTTP2_REFUSED_STREAM;
    stream->closed({static_cast<H2Error>(error), by_us, refused || !stream->sent_});
    return 0;
  }

  static int frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    H2Codec& codec = self(user);
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      codec.last_opened_ = frame->hd.stream_id;
      if (H2Stream* stream = stream_of(session, frame->hd.stream_id)) stream->sent_ = true;
    }
    // The library's judgement, or our own.
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
      codec.refused_ = true;
    }
    if (frame->hd.type != NGHTTP2_RST_STREAM) return 0;
    // A second one, of the library's: the stream was refused already.
    if (codec.closed_.find(frame->hd.stream_id) == H2ClosedStreams::Closed::by_us) return 0;
    codec.resetting_ = frame->hd.stream_id;
    codec.closed_.add(codec.resetting_, H2ClosedStreams::Closed::by_us);
    if (codec.own_resets_ > 0) {
      --codec.own_resets_;
    } else {
      codec.spend(H2Flood::resets);  // the peer made us
    }
    return 0;
  }

  static int frame_not_sent(nghttp2_session* /*session*/, const nghttp2_frame* frame, int /*error*/,
                            void* user) {
    H2Codec& codec = self(user);
    if (frame->hd.type == NGHTTP2_RST_STREAM && codec.own_resets_ > 0) --codec.own_resets_;
    return 0;
  }

  static ssize_t send(H2Codec& codec, std::string_view bytes) {
    if (codec.out_->size() >= codec.most_) return NGHTTP2_ERR_WOULDBLOCK;
    codec.out_->append(bytes);
    return static_cast<ssize_t>(bytes.size());
  }

  /// How much of the next DATA frame there is.
  static ssize_t read(H2Codec& codec, std::int32_t id, std::size_t room, std::uint32_t& flags) {
    const H2Stream* stream = stream_of(codec.session_, id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    bool last = false;
    const std::size_t ready = stream->ready_bytes(last);
    if (ready == 0 && !last) return NGHTTP2_ERR_DEFERRED;
    const std::size_t size = std::min(ready, room);
    flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    codec.controls_left_ = std::min(codec.controls_left_ + kControlsPerFrame, kControls);
    if (!last || size < ready) return static_cast<ssize_t>(size);
    flags |= NGHTTP2_DATA_FLAG_EOF;
    const std::vector<Header>* trailers = stream->own_trailers();
    if (trailers == nullptr || trailers->empty()) return static_cast<ssize_t>(size);
    flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    std::vector<nghttp2_nv>& fields = codec.scratch_->fields;
    fields.clear();
    for (const Header& each : *trailers) fields.push_back(name_value(each));
    if (nghttp2_submit_trailer(codec.session_, id, fields.data(), fields.size()) != 0) {
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return static_cast<ssize_t>(size);
  }

  static int send_data(H2Codec& codec, std::int32_t id, std::string_view head, std::size_t size) {
    if (codec.out_->size() >= codec.most_) return NGHTTP2_ERR_WOULDBLOCK;
    H2Stream* stream = stream_of(codec.session_, id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    // The frame was put off, and what was to be in it has been dropped since: the stream is reset.
    bool last = false;
    if (stream->ready_bytes(last) < size) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    codec.out_->append(head);
    stream->take_bytes(size, *codec.out_);
    return 0;
  }

  /// The library looks at each byte of a field before it gives it to us, and a field may be one
  /// byte that refers to four thousand: a head that is far too large ends the connection there.
  static int field_came(H2Codec& codec, std::int32_t id, std::string_view name,
                        std::string_view value) {
    H2Stream* stream = stream_of(codec.session_, id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // it is being refused
    const bool fits = stream->fields().add(name, value, codec.limits_.head);
    if (!fits && codec.flood_ == H2Flood::none) codec.flood_ = H2Flood::header_block;
    return codec.flood_ == H2Flood::none ? 0 : NGHTTP2_ERR_PAUSE;
  }

  static void set_fields(nghttp2_session_callbacks* all) {
    nghttp2_session_callbacks_set_on_header_callback2(
        all, [](nghttp2_session* /*session*/, const nghttp2_frame* frame, nghttp2_rcbuf* name,
                nghttp2_rcbuf* value, std::uint8_t /*flags*/, void* user) {
          return field_came(self(user), frame->hd.stream_id, text_of(name), text_of(value));
        });
    // Else the library leaves it out, and two readers would see two requests.
    nghttp2_session_callbacks_set_on_invalid_header_callback2(
        all,
        [](nghttp2_session* /*session*/, const nghttp2_frame* /*frame*/, nghttp2_rcbuf* /*name*/,
           nghttp2_rcbuf* /*value*/, std::uint8_t /*flags*/,
           void* /*user*/) -> int { return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; });
  }

  static void set_bytes(nghttp2_session_callbacks* all) {
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        all, [](nghttp2_session* /*session*/, std::uint8_t /*flags*/, std::int32_t id,
                const std::uint8_t* data, std::size_t size,
                void* user) { return data_came(self(user), id, text_of(data, size)); });
    nghttp2_session_callbacks_set_send_callback(
        all, [](nghttp2_session* /*session*/, const std::uint8_t* data, std::size_t size,
                int /*flags*/, void* user) { return send(self(user), text_of(data, size)); });
    nghttp2_session_callbacks_set_send_data_callback(
        all, [](nghttp2_session* /*session*/, nghttp2_frame* frame, const std::uint8_t* head,
                std::size_t size, nghttp2_data_source* /*source*/, void* user) {
          return send_data(self(user), frame->hd.stream_id, text_of(head, kFrameHead), size);
        });
  }

  static nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* all = nullptr;
    LBD_CHECK(nghttp2_session_callbacks_new(&all) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(all, &begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(all, &begin_headers);
    set_fields(all);
    set_bytes(all);
    nghttp2_session_callbacks_set_on_frame_recv_callback(all, &frame_came);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(all, &frame_refused);
    nghttp2_session_callbacks_set_on_stream_close_callback(all, &stream_closed);
    nghttp2_session_callbacks_set_on_frame_send_callback(all, &frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(all, &frame_not_sent);
    return all;
  }

  static nghttp2_option* options() {
    nghttp2_option* option = nullptr;
    LBD_CHECK(nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    // Above ours, so that ours says why; and the library counts a CONTINUATION once for each piece
    // that its head comes in.
    nghttp2_option_set_stream_reset_rate_limit(option, 100'000, 100'000);
    nghttp2_option_set_max_continuations(option, 1'000'000);
    return option;
  }
};

H2Codec::H2Codec(const H2Limits& limits, Role role)
    : limits_(limits),
      scratch_(std::make_unique<Scratch>()),
      role_(role),
      scanner_(role == Role::server),
      resets_left_(resets_max()),
      controls_left_(kControls) {
  static const nghttp2_session_callbacks* const callbacks = Callbacks::make();
  static const nghttp2_option* const options = Callbacks::options();
  nghttp2_mem memory{nullptr, &take, &give, &take_zeroed, &resize};
  const auto make =
      role == Role::server ? &nghttp2_session_server_new3 : &nghttp2_session_client_new3;
  LBD_CHECK(make(&session_, callbacks, this, options, &memory) == 0);
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<std::int32_t>(limits.connection_window));
}

H2Codec::~H2Codec() { nghttp2_session_del(session_); }

void H2Codec::refill(TimePoint now) noexcept {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - refilled_).count();
  if (seconds <= 0) return;
  refilled_ = now;
  const std::int64_t enough = std::min<std::int64_t>(seconds, 3600);
  resets_left_ = std::min(resets_left_ + enough * kResetsPerSecond, resets_max());
  controls_left_ = std::min(controls_left_ + enough * kControlsPerSecond, kControls);
}

void H2Codec::spend(H2Flood kind) noexcept {
  std::int64_t& left = kind == H2Flood::resets ? resets_left_ : controls_left_;
  if (--left < 0 && flood_ == H2Flood::none) flood_ = kind;
}

void H2Codec::reward() noexcept {
  resets_left_ = std::min(resets_left_ + 1, resets_max());
  controls_left_ = std::min(controls_left_ + kControlsPerFrame, kControls);
}

/// A frame for a stream that is not open, of a kind that only open ones may have (RFC 9113 §5.1).
void H2Codec::check_stream(std::int32_t id, bool opens) {
  if (id % 2 == 0 || id > last_opened_) return;  // nghttp2 knows what to think of it
  if (nghttp2_session_find_stream(session_, id) != nullptr) return;
  switch (closed_.find(id)) {
    case H2ClosedStreams::Closed::by_us:
      spend(H2Flood::control);  // on its way before our reset was there, if there are not too many
      break;
    case H2ClosedStreams::Closed::by_peer:
      refuse_connection(H2Error::stream_closed);
      break;
    case H2ClosedStreams::Closed::unknown:
      if (role_ == Role::client) return spend(H2Flood::control);  // one of many that clients left
      refuse_connection(opens ? H2Error::protocol_error : H2Error::stream_closed);
      break;
  }
}

void H2Codec::refuse_connection(H2Error error) {
  if (!std::exchange(refused_, true)) {
    nghttp2_session_terminate_session(session_, static_cast<std::uint32_t>(error));
  }
}

/// Of a header block: its first or a further one.
void H2Codec::begin_block_frame(bool first, bool last) noexcept {
  open_block_ = !last;
  if (first) {
    refused_block_ = false;
    ++blocks_;
    block_bytes_ = 0;
  } else if (refused_block_) {
    in_block_ = open_block_;
  }
}

bool H2Codec::receive(std::string_view bytes, TimePoint now) {
  if (dead_) return false;
  refill(now);
  if (in_block_) block_bytes_ += bytes.size();
  if (block_bytes_ > limits_.head.head_bytes_max + kBlockSlack) flood_ = H2Flood::header_block;
  std::size_t scanned = 0;
  std::size_t fed = 0;
  while (scanned < bytes.size() && going()) {
    const H2FrameScanner::Step step = scanner_.scan(bytes.substr(scanned));
    scanned += step.consumed;
    for (std::uint32_t i = 0; i < step.unknown; ++i) spend(H2Flood::control);
    if (step.data_of < 0 && !step.bad) continue;
    // What came before it counts.
    const std::size_t head = scanned - std::min(scanned, H2FrameScanner::kHead);
    const std::size_t end = std::max(fed, step.bad ? scanned : head);
    feed(bytes.substr(fed, end - fed));
    fed = end;
    if (step.bad) refuse_connection(H2Error::protocol_error);
    if (step.data_of >= 0) check_stream(step.data_of, false);
  }
  if (going()) feed(bytes.substr(fed));
  if (flood_ != H2Flood::none && !dead_) end(H2Error::enhance_your_calm);
  return going();
}

void H2Codec::feed(std::string_view bytes) {
  if (bytes.empty() || !going()) return;
  const ssize_t took = nghttp2_session_mem_recv(
      session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (took == NGHTTP2_ERR_FLOODED) flood_ = H2Flood::control;
  if (took < 0) dead_ = true;  // the library has no more to say
}

void H2Codec::send(Buffer& out, std::size_t most) {
  if (dead_) return;
  out_ = &out;
  most_ = most;
  if (nghttp2_session_send(session_) != 0) dead_ = true;
  out_ = nullptr;
}

bool H2Codec::over() const noexcept {
  return dead_ ||
         (nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0);
}

nghttp2_data_provider body_of_streams() noexcept {
  nghttp2_data_provider body{};
  body.read_callback = [](nghttp2_session* /*session*/, std::int32_t id, std::uint8_t* /*into*/,
                          std::size_t room, std::uint32_t* flags, nghttp2_data_source* /*source*/,
                          void* user) {
    return H2Codec::Callbacks::read(H2Codec::Callbacks::self(user), id, room, *flags);
  };
  return body;
}

void H2Codec::resume(H2Stream& stream) {
  if (!dead_) nghttp2_session_resume_data(session_, stream.id_);
}

void H2Codec::consume(H2Stream& stream, std::size_t bytes) {
  if (!dead_ && bytes > 0) nghttp2_session_consume(session_, stream.id_, bytes);
}

void H2Codec::consume_connection(std::size_t bytes) {
  if (!dead_ && bytes > 0) nghttp2_session_consume_connection(session_, bytes);
}

void H2Codec::consume_stream(H2Stream& stream, std::size_t bytes) {
  if (!dead_ && bytes > 0) nghttp2_session_consume_stream(session_, stream.id_, bytes);
}

bool H2Codec::sent_all(const H2Stream& stream) const noexcept {
  return nghttp2_session_get_stream_local_close(session_, stream.id_) == 1;
}

void H2Codec::reset(H2Stream& stream, H2Error error) {
  if (dead_) return;
  if (stream.sent_) ++own_resets_;  // else it is just not sent
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id_,
                            static_cast<std::uint32_t>(error));
}

void H2Codec::end(H2Error error) {
  if (dead_) return;
  if (error == H2Error::no_error) {
    // Streams under way go on.
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                          nullptr, 0);
  } else {
    nghttp2_session_terminate_session(session_, static_cast<std::uint32_t>(error));
  }
}

}  // namespace lbd::http
