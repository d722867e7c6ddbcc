#include "lbd/proxy/h2_stream.h"

#include "lbd/proxy/exchange.h"
#include "lbd/proxy/headers.h"
#include "lbd/proxy/patience.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {
namespace {

using http::Framing;
using http::H2Error;

/// For the end of a request that has its answer; then the client is told that nobody reads it (RFC
/// 9113 §8.1).
constexpr std::chrono::milliseconds kPatience{1000};

}  // namespace

H2Stream::H2Stream(H2Session& session)
    : session_(session),
      head_fields_(session.worker_.buffers),
      trailer_fields_(session.worker_.buffers),
      taken_(session.worker_.buffers),
      arriving_(session.worker_.buffers),
      read_watchdog_(session.worker_.clock, this, &H2Stream::read_expired),
      outgoing_(session.worker_.buffers),
      write_watchdog_(session.worker_.clock, this, &H2Stream::write_expired) {}

H2Stream::~H2Stream() = default;

void H2Stream::start() {
  head_fields_.clear();
  trailer_fields_.clear();
  trailers_.clear();
  outgoing_.clear();
  refusal_ = lost_ = Fault::none;
  body_bytes_ = head_bytes_ = 0;
  body_waited_ = {};
  gone_ = nullptr;
  open_ = true;
  tunnel_ = false;
  serving_ = begun_ = body_done_ = body_bad_ = continue_owed_ = responded_ = response_done_ = false;
}

// ---- what the codec tells

void H2Stream::head_ended(bool last) {
  if (begun_) {
    body_bad_ = trailer_fields_.finish_trailers(trailers_) != Fault::none;
    body_ended();
    return;
  }
  begun_ = true;
  refusal_ = head_fields_.finish_request(last, head_);
  head_bytes_ = head_fields_.bytes();
  session_.head_bytes_ += head_bytes_;
  body_done_ = last;
  continue_owed_ = head_.expect_continue;
  serving_ = true;
  session_.starting_.push_back(this);
}

void H2Stream::body_came(std::string_view bytes) {
  if (!serving_ || lost_ != Fault::none) {
    session_.codec_.consume_connection(bytes.size());  // the stream's window stays shut
    return;
  }
  body_bytes_ += bytes.size();
  arriving_.append(bytes);
  reader_.wake(Fault::none);
}

void H2Stream::body_ended() {
  body_done_ = true;
  reader_.wake(Fault::none);
}

std::size_t H2Stream::ready_bytes(bool& last) const noexcept {
  last = response_done_;
  return outgoing_.size();
}

void H2Stream::take_bytes(std::size_t size, Buffer& out) {
  outgoing_.take(size, out);
  if (outgoing_.empty()) {
    write_watchdog_.cancel();
    session_.sent_.push_back(this);
  } else if (!tunnel_) {
    write_watchdog_.set(session_.worker_.clock.now() + session_.timeouts_.write_idle);
  }
}

void H2Stream::refused() { refuse_part(Fault::client_protocol); }

/// A head that did not come whole, or is none; `why`, if what came of it does not say.
void H2Stream::refuse_part(Fault why) {
  if (begun_) return;  // its trailers; the stream is closed next
  begun_ = true;
  const Fault found = head_fields_.finish_request(false, head_);  // as far as it came
  const bool says =
      found == Fault::header_too_large || (found != Fault::none && why == Fault::client_protocol);
  const Fault fault = says ? found : why;
  const boost::local_shared_ptr<Pinned> held = session_.pinned();
  if (const upstream::SnapshotListener* listener = session_.find_listener(*held->snapshot)) {
    note_refusal(session_.worker_, *this, *listener, fault);
  }
}

void H2Stream::closed(const http::H2Closed& how) {
  open_ = false;
  if (!serving_) read_watchdog_.cancel();
  const bool whole = response_done_ && outgoing_.empty();
  drop_output();
  if (serving_ && !whole) lose(how.by_us ? Fault::client_protocol : Fault::client_gone);
  session_.turn_end_.ask();
}

// ---- what the session tells

void H2Stream::sent() {
  sender_.wake(Fault::none);
  if (open_ && !serving_ && response_done_ && !body_done_) {
    read_watchdog_.set(session_.worker_.clock.now() + kPatience);
  }
}

void H2Stream::lose(Fault why) noexcept {
  if (lost_ != Fault::none) return;
  lost_ = why;
  drop_output();
  const bool said = why == Fault::client_protocol || why == Fault::client_timeout;
  if (open_ && said) refuse_part(why);
  if (Gone gone = std::exchange(gone_, nullptr)) gone(gone_context_, why);
  sender_.wake(why);
  reader_.wake(why);
}

void H2Stream::drop_output() noexcept {
  write_watchdog_.cancel();
  outgoing_.drop();
}

void H2Stream::read_expired(void* self) {
  auto* stream = static_cast<H2Stream*>(self);
  if (stream->serving_) {
    stream->reader_.wake(Fault::client_timeout);
  } else if (stream->open_) {
    stream->session_.codec_.reset(*stream, H2Error::no_error);
    stream->session_.turn_end_.ask();
  }
}

/// The client takes nothing of its response.
void H2Stream::write_expired(void* self) {
  auto* stream = static_cast<H2Stream*>(self);
  stream->drop_output();
  stream->response_done_ = false;
  if (stream->sender_.waiting()) {
    stream->sender_.wake(Fault::client_timeout);
  } else if (stream->open_) {
    const bool serving = stream->serving_;
    if (serving) stream->lose(Fault::client_timeout);  // whose exchange may be over on return
    if (stream->serving_ == serving) stream->session_.codec_.reset(*stream, H2Error::cancel);
  }
  stream->session_.turn_end_.ask();
}

// ---- the exchange

/// What an HTTP/1.1 target expects of a WebSocket client: 16 random bytes in base64 (RFC 6455
/// §4.1).
void H2Stream::add_key() {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < 22; ++i) {
    if (i % 10 == 0) bits = session_.worker_.rng.next();
    // 128 bits: of the last digit only two count.
    key_[i] = kDigits[i < 21 ? bits & 63 : (bits & 3) << 4];
    bits >>= 6;
  }
  key_[22] = key_[23] = '=';
  head_.headers.push_back({"Sec-WebSocket-Key", {key_.data(), key_.size()}});
}

/// `alive`: the connection is. A request that was reset with what was read is not begun.
void H2Stream::begin(bool alive) {
  if (alive && open_ && lost_ == Fault::none) return session_.exchanges_.spawn(serve(*this));
  const boost::local_shared_ptr<Pinned> held = session_.pinned();
  if (const upstream::SnapshotListener* listener = session_.find_listener(*held->snapshot)) {
    const Fault why = lost_ != Fault::none ? lost_ : Fault::client_protocol;
    note_refusal(session_.worker_, *this, *listener, why);
  }
  finish();
}

Task<> H2Stream::serve(H2Stream& stream) {
  co_await stream.answer();
  stream.finish();
}

Task<> H2Stream::answer() {
  const boost::local_shared_ptr<Pinned> held = session_.pinned();
  const upstream::SnapshotListener* listener = session_.find_listener(*held->snapshot);
  if (listener == nullptr) {
    session_.codec_.reset(*this, H2Error::refused_stream);
    response_done_ = body_done_ = true;
    co_return;
  }
  if (refusal_ == Fault::none) refusal_ = H2Session::judge(listener->settings.desync, head_);
  if (refusal_ != Fault::none) {
    co_await refuse_request(session_.worker_, *this, *listener, refusal_);
    co_return;
  }
  vouch_for_certificate(client(), head_);
  if (head_.wants_upgrade) add_key();
  Exchange exchange(session_.worker_, *this, *listener, *held);
  co_await exchange.run();
}

void H2Stream::finish() {
  serving_ = false;
  gone_ = nullptr;
  read_watchdog_.cancel();
  session_.codec_.consume(*this, taken_.size() + arriving_.size());
  taken_.release();
  arriving_.release();
  if (open_ && !response_done_) {
    drop_output();
    session_.codec_.reset(*this, H2Error::internal_error);
  } else if (open_ && outgoing_.empty()) {
    sent();
  }
  session_.turn_end_.ask();
}

Error H2Stream::error_of(Fault why) noexcept {
  const bool ours = why == Fault::cancelled || why == Fault::drain_deadline;
  return {why, ours ? Side::self : Side::client, false};
}

BodyPiece H2Stream::buffered_body() {
  if (head_.wants_upgrade && !tunnel_) return {{}, true};  // what comes belongs to the tunnel
  taken_.swap(arriving_);
  if (!taken_.empty()) continue_owed_ = false;
  // What is wrong with it is for read_body to say, even if all of it came with the head.
  const bool whole = body_done_ && !body_bad_ && !is_too_large();
  return {taken_.view(), whole, trailers_.empty() ? nullptr : &trailers_};
}

bool H2Stream::is_too_large() const noexcept {
  const std::uint64_t most = tunnel_ ? 0 : session_.body_limits_.body_bytes_max;
  return most > 0 && body_bytes_ > most;
}

Task<Result<BodyPiece>> H2Stream::read_body() {
  session_.codec_.consume(*this, taken_.size());
  session_.turn_end_.ask();
  taken_.clear();
  for (;;) {
    if (lost_ != Fault::none) co_return error_of(lost_);
    if (body_bad_) co_return Error{Fault::client_protocol, Side::client, false};
    if (is_too_large()) co_return Error{Fault::body_too_large, Side::client, false};
    if (!arriving_.empty() || body_done_) co_return buffered_body();
    const TimePoint since = session_.worker_.clock.now();
    if (!tunnel_) {  // which has limits of its own, of the exchange
      read_watchdog_.set(since + body_patience(session_.timeouts_.body_idle,
                                               session_.body_limits_.body_bytes_per_second_min,
                                               {body_bytes_, body_waited_}));
    }
    const Fault why = co_await reader_;
    body_waited_ += session_.worker_.clock.now() - since;
    read_watchdog_.cancel();
    if (why != Fault::none) co_return error_of(why);
  }
}

Task<Result<void>> H2Stream::send_continue() {
  if (!continue_owed_ || lost_ != Fault::none) return Result<void>();
  continue_owed_ = false;
  static const std::vector<http::Header> kNone;
  session_.codec_.submit_interim(*this, {100, &kNone, -1, false});
  session_.turn_end_.ask();
  return Result<void>();
}

Task<Result<void>> H2Stream::send_interim(const ResponseOut& head) {
  if (lost_ != Fault::none) return error_of(lost_);
  session_.codec_.submit_interim(*this, {head.status, head.headers, -1, false});
  session_.turn_end_.ask();
  return Result<void>();
}

Task<Result<void>> H2Stream::send_head(const ResponseOut& head, BodyPiece first) {
  if (lost_ != Fault::none) return error_of(lost_);
  const bool stated = head.body.kind == Framing::Kind::length ||
                      (head.body.kind == Framing::Kind::none && head.state_length);
  const bool no_trailers = first.trailers == nullptr || first.trailers->empty();
  const bool last =
      head.body.kind == Framing::Kind::none || (first.last && first.bytes.empty() && no_trailers);
  responded_ = true;
  response_done_ = last;
  session_.codec_.submit_head(
      *this,
      {head.status, head.headers, stated ? static_cast<std::int64_t>(head.body.length) : -1, last});
  session_.turn_end_.ask();
  if (last) return Result<void>();
  return send(first);
}

Task<Result<void>> H2Stream::send_body(BodyPiece piece) { return send(piece); }

/// The stream is the tunnel, and 200 opens it (RFC 8441 §5).
Task<Result<void>> H2Stream::begin_tunnel(const ResponseOut& head) {
  if (lost_ != Fault::none) return error_of(lost_);
  std::vector<http::Header> fields;
  for (const http::Header& each : *head.headers) {
    if (!http::equals_ignoring_case(each.name, "sec-websocket-accept")) fields.push_back(each);
  }
  tunnel_ = responded_ = true;
  session_.codec_.submit_head(*this, {200, &fields, -1, false});
  session_.turn_end_.ask();
  return Result<void>();
}

/// What there is room for needs no wait and no frame.
Task<Result<void>> H2Stream::send(BodyPiece piece) {
  if (lost_ != Fault::none) return error_of(lost_);
  response_done_ = piece.last;
  const bool copied = outgoing_.give(piece);
  if (!write_watchdog_.is_set() && !tunnel_) {
    write_watchdog_.set(session_.worker_.clock.now() + session_.timeouts_.write_idle);
  }
  session_.codec_.resume(*this);
  session_.turn_end_.ask();
  if (copied) return Result<void>();
  return finish_sending();
}

Task<Result<void>> H2Stream::finish_sending() {
  const Fault why = co_await sender_;
  if (why == Fault::none) co_return Result<void>();
  response_done_ = false;
  drop_output();
  co_return error_of(why);
}

void H2Stream::watch(Gone gone, void* context) {
  gone_ = gone;
  gone_context_ = context;
}

void H2Stream::abort() noexcept {
  sender_.wake(Fault::cancelled);
  reader_.wake(Fault::cancelled);
}

}  // namespace lbd::proxy
