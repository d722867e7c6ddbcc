#include "lbd/proxy/h1_session.h"

#include "lbd/proxy/believed.h"
#include "lbd/proxy/exchange.h"
#include "lbd/proxy/headers.h"
#include "lbd/proxy/patience.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {
namespace {

using http::Framing;

constexpr std::size_t kFirstCapacity =
    1024;                              // holds most request heads; an idle connection needs no more
constexpr std::size_t kRoomMin = 256;  // worth posting a read ahead into
constexpr std::size_t kBodyCapacityMax = 64 * 1024;
constexpr std::size_t kLingerBytesMax = 1 << 20;  // read and dropped at most after an early close
constexpr std::chrono::milliseconds kLinger{1000};
/// Before a request (RFC 9112 §2.2 asks for one at least); old clients end a body with one.
constexpr std::uint32_t kEmptyLinesMax = 4;

}  // namespace

H1Session::H1Session(WorkerContext& worker, std::unique_ptr<net::Stream> stream, ClientInfo client,
                     std::shared_ptr<upstream::LiveListener> listener)
    : Session(worker, std::move(listener)),
      stream_(std::move(stream)),
      client_(std::move(client)),
      scanner_(limits_),
      in_(worker.buffers),
      more_(worker.buffers),
      out_(worker.buffers),
      read_watchdog_(worker.clock, this, &H1Session::read_expired),
      write_watchdog_(worker.clock, this, &H1Session::write_expired) {}

H1Session::~H1Session() {
  if (destroyed_ != nullptr) *destroyed_ = true;
}

// The timer is left armed between waits (moving it later is free), so it may come when nobody
// waits.
void H1Session::read_expired(void* self) {
  auto* session = static_cast<H1Session*>(self);
  if (!session->waiting_) return;
  session->expired_ = true;
  session->stream_->cancel();
}

void H1Session::write_expired(void* self) {
  auto* session = static_cast<H1Session*>(self);
  session->expired_ = true;
  session->stream_->cancel();
}

void H1Session::set_deadline(std::chrono::milliseconds after) noexcept {
  read_watchdog_.set(worker_.clock.now() + after);
}

void H1Session::begin_drain() noexcept {
  if (phase_ == Phase::idle) shorten_idle();
}

/// A client that was served a moment ago may be sending its next request right now: closing under
/// it would lose it.
void H1Session::shorten_idle() noexcept {
  const TimePoint soonest = worker_.clock.now() + kLastLook;
  const TimePoint end = std::max(idle_since_ + worker_.drain_grace, soonest);
  if (end < read_watchdog_.due()) read_watchdog_.set(end);
}

void H1Session::kill() noexcept {
  killed_ = aborted_ = true;
  bool destroyed = false;
  destroyed_ = &destroyed;
  stream_->close(!tunnel_);  // what it ends may be all that the session waited for
  if (destroyed) return;
  destroyed_ = nullptr;
  if (gone_ != nullptr) gone_(gone_context_, Fault::drain_deadline);
}

void H1Session::abort() noexcept {
  if (waiting_ || writing_) stream_->cancel();
}

void H1Session::post_read() {
  if (reading_ || in_.space().size() < kRoomMin) return;
  read_ = {};
  reading_ = true;
  roomed_ = false;
  stream_->begin_read({&H1Session::make_room, this}, read_);
}

/// For a read that was posted ahead of its need, when something has come.
std::span<char> H1Session::make_room(void* self) {
  auto* session = static_cast<H1Session*>(self);
  session->roomed_ = true;
  if (session->in_.capacity() == 0) session->in_.reserve(kFirstCapacity);
  return session->in_.space();
}

/// Between requests a connection holds no memory that it can do without.
void H1Session::rest() {
  if (reading_ && roomed_) return;
  in_.release();
  worker_.give_back(std::move(head_.headers));
  if (reading_) return;
  read_ = {};
  reading_ = true;
  roomed_ = false;
  stream_->begin_read({&H1Session::make_room, this}, read_);
}

/// Reads more into `buffer` (in_ or more_); ok with 0 bytes when it is full at `capacity_max`. It
/// is awaited at once.
class H1Session::Fill {
 public:
  Fill(H1Session& session, Buffer& buffer, std::size_t capacity_max) noexcept
      : session_(session), buffer_(buffer), capacity_max_(capacity_max) {}
  [[nodiscard]] bool await_ready() {
    waits_ = session_.begin_fill(buffer_, capacity_max_);
    return !waits_ || session_.read_.done;
  }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { session_.read_.waiter = waiter; }
  net::IoResult await_resume() noexcept {
    return waits_ ? session_.end_fill(buffer_) : net::IoResult{};
  }

 private:
  H1Session& session_;
  Buffer& buffer_;
  std::size_t capacity_max_;
  bool waits_ = false;
};

H1Session::Fill H1Session::fill(Buffer& buffer, std::size_t capacity_max) noexcept {
  return {*this, buffer, capacity_max};
}

/// False: there is no room.
bool H1Session::begin_fill(Buffer& buffer, std::size_t capacity_max) {
  if (phase_ == Phase::idle && in_.empty()) rest();
  if (!reading_) {
    if (buffer.empty()) buffer.clear();
    if (buffer.space().empty()) buffer.compact();
    if (buffer.space().empty()) {
      if (buffer.capacity() >= capacity_max) return false;
      buffer.reserve(std::min(std::max(4 * buffer.capacity(), kFirstCapacity), capacity_max));
    }
    read_ = {};
    reading_ = true;
    roomed_ = true;
    stream_->begin_read(buffer.space(), read_);
  }
  waiting_ = true;
  return true;
}

net::IoResult H1Session::end_fill(Buffer& buffer) noexcept {
  const net::IoResult result = read_.result;
  waiting_ = reading_ = false;
  if (result.ok()) buffer.commit(result.bytes);
  return result;
}

/// The listener as it is configured now; false when a reload has removed it.
bool H1Session::load_settings() noexcept {
  const upstream::SnapshotListener* listener = find_listener(*pinned()->snapshot);
  if (listener == nullptr) return false;
  timeouts_ = listener->settings.timeouts;
  body_limits_ = listener->settings.limits;
  desync_mode_ = listener->settings.desync;
  limits_.first_line_bytes_max = body_limits_.request_line_bytes_max;
  limits_.line_bytes_max = body_limits_.header_bytes_max;
  limits_.head_bytes_max = body_limits_.headers_bytes_max;
  limits_.headers_max = body_limits_.headers_max;
  return true;
}

Task<> H1Session::run() {
  while (!killed_ && load_settings()) {
    const Fault fault = co_await read_head();
    if (fault == Fault::closed) break;
    if (fault != Fault::none) {
      co_await refuse(fault);
      break;
    }
    co_await serve();
    if (!keep_alive_ || killed_ || aborted_) break;
    prepare_next();
  }
  co_await close();
}

/// After a request: leftovers of a chunked body are the start of the next request.
void H1Session::prepare_next() {
  if (body_in_more_) {
    const std::string_view rest = more_.view();
    if (!rest.empty()) in_.append(rest);
    more_.release();
    body_in_more_ = false;
  }
}

/// Where the head ends, 0 when more of it must come; empty lines before it are skipped.
Result<std::size_t, Fault> H1Session::scan_head() {
  while (in_.view().starts_with("\r\n")) {
    if (++empty_lines_ > kEmptyLinesMax) return Fault::client_protocol;
    in_.consume(2);
    scanner_.reset();
  }
  return scanner_.scan(in_.view());
}

Fault H1Session::parse_head(std::size_t size) {
  // The read that notices the client leaving needs room behind the head; made before there are
  // views.
  if (!reading_ && in_.space().size() < kRoomMin) in_.reserve(in_.size() + kFirstCapacity);
  if (head_.headers.capacity() == 0) head_.headers = worker_.take_fields();
  Fault fault = http::parse_request_head(in_.view().substr(0, size), head_);
  if (fault == Fault::none) fault = judge(desync_mode_, head_);
  vouch_for_certificate(client_, head_);
  const std::string_view bytes = in_.view();
  in_.consume(size);
  return fault == Fault::none ? fault : refused(fault, head_.desync, bytes);
}

/// Most heads are whole by the time they are looked at and never get here.
void H1Session::head_began() {
  if (phase_ != Phase::idle || in_.empty()) return;
  phase_ = Phase::head;
  set_deadline(timeouts_.request_head);
}

/// Why no head comes of a read that ended like this.
Fault H1Session::head_fault(const net::IoResult& result) const noexcept {
  if (killed_) return Fault::closed;
  if (result.ok()) return result.bytes > 0 ? Fault::none : Fault::header_too_large;
  const bool late = result.fault == Fault::cancelled && expired_ && !in_.empty();
  return late ? Fault::client_timeout : Fault::closed;
}

/// none: head_ is a request. closed: the client left, or was idle too long. Else: what to refuse it
/// with; nothing of a request before is left in head_ then.
Task<Fault> H1Session::read_head() {
  scanner_.reset();
  empty_lines_ = 0;
  phase_ = Phase::idle;
  idle_since_ = worker_.clock.now();
  read_watchdog_.set(idle_since_ + (requests_ > 0 ? timeouts_.idle : timeouts_.request_head));
  if (draining_ || worker_.draining) shorten_idle();
  Fault fault = Fault::none;
  while (fault == Fault::none) {
    const Result<std::size_t, Fault> end = scan_head();
    if (end && *end > 0) co_return parse_head(*end);
    if (!end) {
      fault = end.error();
      break;
    }
    head_began();
    const net::IoResult result = co_await fill(in_, limits_.head_bytes_max + 4096);
    fault = head_fault(result);
  }
  using http::DesyncReason;
  const bool malformed = fault == Fault::client_protocol;
  co_return refused(fault, malformed ? DesyncReason::bad_line_end : DesyncReason::none, in_.view());
}

Task<> H1Session::serve() {
  phase_ = Phase::exchange;
  ++requests_;
  body_.start(head_.framing);
  body_bytes_ = 0;
  body_waited_ = {};
  response_done_ = false;
  continue_owed_ = head_.expect_continue;
  keep_alive_ = head_.keep_alive && !head_.alone && !head_.wants_upgrade && !draining_ &&
                !worker_.draining &&
                (body_limits_.requests_per_connection_max == 0 ||
                 requests_ < body_limits_.requests_per_connection_max);
  const boost::local_shared_ptr<Pinned> held = pinned();
  if (const upstream::SnapshotListener* listener = find_listener(*held->snapshot)) {
    client_.trusted = is_trusted(client_.peer, listener->trusted);
    Exchange exchange(worker_, *this, *listener, *held);
    co_await exchange.run();
  } else {
    keep_alive_ = false;
  }
  unwatch();
  // A response before the end of the request's body: what follows cannot be told from a new
  // request.
  if (!body_.done() || !response_done_) keep_alive_ = false;
  // Or before the next one was looked at.
  const bool more_came =
      !in_.empty() || !more_.empty() || (reading_ && read_.done && read_.result.ok());
  linger_ = !tunnel_ && (!body_.done() || more_came);
}

Task<> H1Session::refuse(Fault fault) {
  phase_ = Phase::exchange;
  keep_alive_ = false;
  expired_ = false;
  linger_ = true;
  body_.start({});
  const boost::local_shared_ptr<Pinned> held = pinned();
  if (const upstream::SnapshotListener* listener = find_listener(*held->snapshot)) {
    co_await refuse_request(worker_, *this, *listener, fault);
  }
}

/// Says goodbye so that the client sees the response: half-close, then read and drop for a moment
/// (RFC 9112 §9.6).
Task<> H1Session::close() {
  phase_ = Phase::closing;
  if (!killed_ && !aborted_ && linger_) {
    expired_ = false;
    stream_->shutdown_write();
    set_deadline(kLinger);
    std::size_t dropped = 0;
    while (!killed_ && dropped < kLingerBytesMax) {
      if (!reading_) in_.clear();
      const net::IoResult result = co_await fill(in_, kFirstCapacity);
      if (!result.ok() || result.bytes == 0) break;
      dropped += result.bytes;
      in_.consume(result.bytes);
    }
  }
  read_watchdog_.cancel();
  // A cut response must not look like a whole one; where its length tells, a plain end is enough.
  stream_->close(requests_ > 0 && !response_done_ && response_until_close_);
  if (reading_) co_await net::Finished(read_);
  reading_ = false;
}

Error H1Session::client_error(const net::IoResult& result) const noexcept {
  if (killed_) return {Fault::drain_deadline, Side::self, false};
  if (expired_) return {Fault::client_timeout, Side::client, false};
  if (result.fault == Fault::cancelled) return {Fault::cancelled, Side::self, false};
  return {Fault::client_gone, Side::client, false};
}

BodyPiece H1Session::buffered_body() {
  // Chunked bodies are left to read_body: their framing must not be lost when the piece is sent
  // again on a retry.
  if (body_.kind() != Framing::Kind::length || body_.done()) return {{}, body_.done()};
  const http::BodyReader::Step step = body_.step(in_.view());
  in_.consume(step.consumed);
  body_bytes_ += step.data.size();
  if (!step.data.empty()) continue_owed_ = false;
  return {step.data, body_.done()};
}

Task<Result<BodyPiece>> H1Session::read_body() {
  read_.notify = nullptr;
  for (;;) {
    if (body_.done()) co_return BodyPiece{{}, true};
    Buffer& source = !body_in_more_ && !in_.empty() ? in_ : more_;
    const http::BodyReader::Step step = body_.step(source.view());
    source.consume(step.consumed);
    body_bytes_ += step.data.size();
    if (step.bad || step.bad_trailer) {
      keep_alive_ = false;
      head_.desync = step.bad ? http::DesyncReason::bad_chunk : http::DesyncReason::bad_trailer;
      co_return Error{Fault::client_protocol, Side::client, false};
    }
    if (!tunnel_ && body_limits_.body_bytes_max > 0 && body_bytes_ > body_limits_.body_bytes_max) {
      co_return Error{Fault::body_too_large, Side::client, false};
    }
    if (!step.data.empty() || body_.done()) {
      co_return BodyPiece{step.data, body_.done(), body_.trailers()};
    }
    const Result<void> got = co_await read_more_body();
    if (!got && tunnel_ && client_ended_) body_.start({});
    if (!got && !body_.done()) co_return got.error();
  }
}

/// A read that was posted while the client was watched brings what comes next, into in_; from then
/// on more_ takes the body.
Task<Result<void>> H1Session::read_more_body() {
  const TimePoint since = worker_.clock.now();
  const std::uint32_t rate_min = tunnel_ ? 0 : body_limits_.body_bytes_per_second_min;
  const Duration patience =
      body_patience(timeouts_.body_idle, rate_min, {body_bytes_, body_waited_});
  read_watchdog_.set(since + patience);
  if (reading_) {
    const net::IoResult posted = co_await fill(in_, 0);
    body_waited_ += worker_.clock.now() - since;
    client_ended_ = posted.fault == Fault::closed;
    if (!posted.ok()) co_return client_error(posted);
    co_return Result<void>();
  }
  body_in_more_ = true;
  // Never past the end of the body where that is known: what follows belongs to the next request.
  std::size_t capacity = kBodyCapacityMax;
  if (body_.kind() == Framing::Kind::length && body_.remaining() < capacity) {
    capacity = static_cast<std::size_t>(body_.remaining());
  }
  if (more_.empty()) more_.clear();
  if (more_.capacity() == 0) more_.reserve(std::min<std::size_t>(capacity, 16 * 1024));
  std::span<char> room = more_.space();
  if (body_.kind() == Framing::Kind::length && room.size() > capacity) room = room.first(capacity);
  waiting_ = true;
  const net::IoResult result = co_await stream_->read(room);
  waiting_ = false;
  body_waited_ += worker_.clock.now() - since;
  client_ended_ = result.fault == Fault::closed;
  if (!result.ok()) co_return client_error(result);
  more_.commit(result.bytes);
  if (result.bytes == more_.capacity() && more_.capacity() < kBodyCapacityMax) {
    more_.reserve(kBodyCapacityMax);  // a bulk body: bigger pieces from now on
  }
  co_return Result<void>();
}

void H1Session::watch(Gone gone, void* context) {
  gone_ = gone;
  gone_context_ = context;
  if (body_.done()) watch_on();
}

void H1Session::look_ahead() {
  if (!body_.done() && !body_in_more_) watch_on();
}

/// The read that notices the client leaving is the one that brings the rest of its body, or its
/// next request.
void H1Session::watch_on() {
  // Leftovers of a body come before what such a read brings: then there is no watching.
  if (!more_.empty()) return;
  for (;;) {
    post_read();
    if (!reading_) return;
    if (!read_.done) break;
    if (!read_ahead_ended()) return;
  }
  read_.context = this;
  read_.notify = &H1Session::read_ended;
}

/// What a read ahead of its need has brought. True: look for more.
bool H1Session::read_ahead_ended() {
  if (read_.result.ok()) {
    if (body_.done()) return false;  // a pipelined request; it waits its turn
    in_.commit(read_.result.bytes);
    reading_ = false;
    return true;
  }
  // Called off by ourselves: whoever did it knows.
  if (read_.result.fault == Fault::cancelled && !killed_) return false;
  aborted_ = true;
  if (gone_ != nullptr) gone_(gone_context_, killed_ ? Fault::drain_deadline : Fault::client_gone);
  return false;
}

void H1Session::unwatch() noexcept {
  gone_ = nullptr;
  read_.notify = nullptr;
}

void H1Session::read_ended(void* self) {
  auto* session = static_cast<H1Session*>(self);
  if (session->read_ahead_ended()) session->watch_on();
}

}  // namespace lbd::proxy
