#include "lbd/proxy/h2_session.h"

#include <algorithm>

#include "lbd/proxy/believed.h"
#include "lbd/proxy/h2_stream.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {
namespace {

static_assert(upstream::kHttp2Floods == static_cast<std::size_t>(http::H2Flood::kCount));

constexpr std::size_t kIdleCapacity = 1024;
constexpr std::size_t kReadCapacity = 16 * 1024;
constexpr std::size_t kWriteMax = 48 * 1024;  // then what is left waits for the socket
constexpr int kReadsPerTurn = 4;              // in a row, without waiting
constexpr std::size_t kFreeStreamsMax = 128;
/// Of all open streams. A head may be a few references to the compression table that come out as
/// limits.headers_bytes_max.
constexpr std::size_t kHeadBytesMax = 1 << 20;
constexpr std::chrono::milliseconds kKeepStreams{1000};  // for the next requests; then given back
constexpr std::chrono::milliseconds kLinger{1000};
constexpr std::size_t kLingerBytesMax = 1 << 20;
/// A client hears of a drain before its next request is refused.
constexpr std::chrono::milliseconds kNotice{100};

}  // namespace

http::H2Limits H2Session::limits_of(const upstream::SnapshotListener* listener) {
  http::H2Limits limits;
  if (listener == nullptr) return limits;
  const config::ListenerLimits& configured = listener->settings.limits;
  limits.streams_max = listener->settings.http2.streams_max;
  limits.stream_window = listener->settings.http2.stream_window;
  limits.connection_window = listener->settings.http2.connection_window;
  limits.websocket = listener->settings.upgrade == config::Upgrade::websocket;
  limits.head.first_line_bytes_max = configured.request_line_bytes_max;
  limits.head.line_bytes_max = configured.header_bytes_max;
  limits.head.head_bytes_max = configured.headers_bytes_max;
  limits.head.headers_max = configured.headers_max;
  return limits;
}

H2Session::H2Session(WorkerContext& worker, std::unique_ptr<net::Stream> stream, ClientInfo client,
                     std::shared_ptr<upstream::LiveListener> listener)
    : Session(worker, std::move(listener)),
      stream_(std::move(stream)),
      client_(std::move(client)),
      in_(worker.buffers),
      out_(worker.buffers),
      codec_(limits_of(find_listener(*pinned()->snapshot)), *this),
      turn_end_(worker.loop, this, &H2Session::turn_ended),
      next_turn_(worker.loop),
      write_watchdog_(worker.clock, this, &H2Session::write_expired),
      idle_(worker.clock, this, &H2Session::idle_expired),
      drain_timer_(worker.clock, this, &H2Session::drain_expired) {}

H2Session::~H2Session() {
  if (destroyed_ != nullptr) *destroyed_ = true;
}

bool H2Session::load_settings() noexcept {
  const upstream::SnapshotListener* listener = find_listener(*pinned()->snapshot);
  if (listener == nullptr) return false;
  client_.trusted = is_trusted(client_.peer, listener->trusted);
  timeouts_ = listener->settings.timeouts;
  body_limits_ = listener->settings.limits;
  return true;
}

Task<> H2Session::run() {
  live_->loads[worker_.index].http2_connections.add(1);
  if (load_settings()) {
    idle_since_ = worker_.clock.now();
    set_idle();
    if (draining_ || worker_.draining) begin_drain();
    co_await read_all();
  }
  co_await close();
}

Task<> H2Session::read_all() {
  turn_end_.ask();
  int in_a_row = 0;
  if (!in_.empty() && !take(in_.view())) co_return;
  while (!stopped_) {
    in_.clear();
    const std::size_t wanted = streams_.empty() ? kIdleCapacity : kReadCapacity;
    if (in_.capacity() < wanted) in_.reserve(wanted);
    net::IoWait read;
    if (!stream_->begin_read(in_.space(), read)) {
      in_a_row = 0;
      reading_ = true;
      co_await net::Finished(read);
      reading_ = false;
    } else if (++in_a_row == kReadsPerTurn) {
      in_a_row = 0;
      net::NextTurn::Wait others = next_turn_.wait();
      co_await others;
    }
    if (!read.result.ok() || stopped_) break;
    in_.commit(read.result.bytes);
    if (!take(in_.view())) break;
    if (streams_.empty() && in_.capacity() > kIdleCapacity) in_.release();
  }
}

/// False: the connection is to end.
bool H2Session::take(std::string_view bytes) {
  const std::uint64_t block_before = codec_.header_block();
  const bool alive = codec_.receive(bytes, worker_.clock.now());
  for (H2Stream* each : starting_) each->begin(alive);  // none is added meanwhile
  starting_.clear();
  turn_end_.ask();
  if (!alive) {
    note_flood();
    return false;
  }
  const std::uint64_t block = codec_.header_block();
  if (block != 0 && block != block_before) block_since_ = worker_.clock.now();
  if (block != 0) set_idle();
  return true;
}

void H2Session::note_flood() const noexcept {
  const auto kind = static_cast<std::size_t>(codec_.flood());
  if (kind > 0) live_->loads[worker_.index].http2_floods[kind].add(1);
}

http::H2Stream* H2Session::open_stream() {
  // Exchanges may take a moment to end after their streams.
  const std::size_t most = 2ULL * codec_.limits().streams_max;
  if (stopped_ || ended_ || streams_.size() >= most || head_bytes_ > kHeadBytesMax) return nullptr;
  if (!load_settings()) return nullptr;
  ++requests_;
  const std::uint64_t requests_max = body_limits_.requests_per_connection_max;
  if (requests_max > 0 && requests_ >= requests_max) finish_drain();
  std::unique_ptr<H2Stream> stream;
  if (free_.empty()) {
    stream = std::make_unique<H2Stream>(*this);
  } else {
    stream = std::move(free_.back());
    free_.pop_back();
  }
  stream->start();
  streams_.push_back(std::move(stream));
  return streams_.back().get();
}

// ---- output: all of a turn at once

void H2Session::turn_ended(void* self) { static_cast<H2Session*>(self)->flush(); }

/// The session may be gone on return.
void H2Session::flush() {
  while (!writing_ && !failed_) {
    do {
      codec_.send(out_, kWriteMax);
    } while (tell_sent() && out_.size() < kWriteMax);
    if (out_.empty()) break;
    const std::string_view bytes = out_.view();
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    write_ = {};
    if (!stream_->begin_write({&piece, 1}, write_)) {
      writing_ = true;
      write_.context = this;
      write_.notify = &H2Session::write_ended;
      write_watchdog_.set(worker_.clock.now() + timeouts_.write_idle);
    } else {
      failed_ = !write_.result.ok();
      out_.clear();
    }
  }
  if (!writing_) out_.release();
  reap();
  if (failed_ || codec_.over() || (ended_ && streams_.empty() && !writing_)) stop_reading();
}

/// True: there may be more to send.
bool H2Session::tell_sent() {
  if (sent_.empty()) return false;
  for (std::size_t i = 0; i < sent_.size(); ++i) sent_[i]->sent();
  sent_.clear();
  return true;
}

void H2Session::write_ended(void* self) { static_cast<H2Session*>(self)->written(); }

void H2Session::written() {
  writing_ = false;
  write_watchdog_.cancel();
  out_.clear();
  failed_ |= !write_.result.ok();
  flush();
}

/// The client reads nothing at all.
void H2Session::write_expired(void* self) {
  auto* session = static_cast<H2Session*>(self);
  session->why_ = Fault::client_timeout;
  session->failed_ = true;
  session->stream_->cancel();
}

void H2Session::reap() noexcept {
  const bool any = !streams_.empty();
  for (std::size_t i = 0; i < streams_.size();) {
    if (!streams_[i]->idle()) {
      ++i;
      continue;
    }
    std::erase(sent_, streams_[i].get());  // what it is next has sent nothing
    head_bytes_ -= streams_[i]->head_bytes();
    std::swap(streams_[i], streams_.back());
    if (free_.size() < kFreeStreamsMax) free_.push_back(std::move(streams_.back()));
    streams_.pop_back();
  }
  if (any && streams_.empty()) {
    idle_since_ = worker_.clock.now();
    set_idle();
  }
}

// ---- ends

void H2Session::set_idle() noexcept {
  TimePoint due = TimePoint::max();
  if (streams_.empty())
    due = idle_since_ + (requests_ > 0 ? timeouts_.idle : timeouts_.request_head);
  if (streams_.empty() && !free_.empty()) due = std::min(due, idle_since_ + kKeepStreams);
  if (codec_.header_block() != 0) due = std::min(due, block_since_ + timeouts_.request_head);
  if (due != TimePoint::max()) idle_.set(due);
}

void H2Session::idle_expired(void* self) {
  auto* session = static_cast<H2Session*>(self);
  const TimePoint now = session->worker_.clock.now();
  const config::ListenerTimeouts& timeouts = session->timeouts_;
  if (session->stopped_) {
    session->stream_->cancel();  // lingering
    return;
  }
  if (session->streams_.empty()) session->free_.clear();
  const auto over = [now](TimePoint since, std::chrono::milliseconds most) {
    return now >= since + most;
  };
  if (session->codec_.header_block() != 0 && over(session->block_since_, timeouts.request_head)) {
    session->why_ = Fault::client_timeout;
    session->codec_.end(http::H2Error::enhance_your_calm);
  } else if (session->streams_.empty() &&
             over(session->idle_since_,
                  session->requests_ > 0 ? timeouts.idle : timeouts.request_head)) {
    session->codec_.end(http::H2Error::no_error);
  } else {
    session->set_idle();
    return;
  }
  session->stop_reading();
}

void H2Session::begin_drain() noexcept {
  if (announced_ || ended_ || stopped_) return;
  announced_ = true;
  codec_.announce_end();
  turn_end_.ask();
  drain_timer_.set(worker_.clock.now() + std::max<Duration>(kNotice, worker_.drain_grace));
}

void H2Session::drain_expired(void* self) { static_cast<H2Session*>(self)->finish_drain(); }

void H2Session::finish_drain() noexcept {
  if (ended_ || stopped_) return;
  announced_ = ended_ = true;
  codec_.end(http::H2Error::no_error);
  turn_end_.ask();
}

/// `run` goes on from here: the session may be gone on return of the stream's next turn.
void H2Session::stop_reading() noexcept {
  stopped_ = true;
  if (reading_) stream_->cancel();
}

void H2Session::lose_streams(Fault why) noexcept {
  for (std::size_t i = 0; i < streams_.size(); ++i) streams_[i]->lose(why);
}

void H2Session::kill() noexcept {
  killed_ = stopped_ = failed_ = true;
  bool destroyed = false;
  destroyed_ = &destroyed;
  lose_streams(Fault::drain_deadline);
  if (!destroyed) stream_->close(true);
  if (!destroyed) destroyed_ = nullptr;
}

Task<> H2Session::close() {
  stopped_ = true;
  idle_.cancel();
  drain_timer_.cancel();
  if (why_ == Fault::client_gone && !codec_.going()) why_ = Fault::client_protocol;
  lose_streams(killed_ ? Fault::drain_deadline : why_);
  co_await last_words();
  co_await exchanges_.join();
  if (!failed_) co_await linger();
  stream_->close(killed_);
  if (writing_) co_await net::Finished(write_);
  writing_ = false;
}

/// Why the connection ends, as far as the client takes it.
Task<> H2Session::last_words() {
  flush();
  while (writing_) {
    write_watchdog_.set(worker_.clock.now() + kLinger);
    co_await net::Finished(write_);
    written();
  }
}

/// So that the client reads our last frames before a reset reaches it.
Task<> H2Session::linger() {
  stream_->shutdown_write();
  idle_.set(worker_.clock.now() + kLinger);
  if (in_.capacity() == 0) in_.reserve(kIdleCapacity);
  for (std::size_t dropped = 0; dropped < kLingerBytesMax && !killed_;) {
    in_.clear();
    const net::IoResult result = co_await stream_->read(in_.space());
    if (!result.ok()) break;
    dropped += result.bytes;
  }
  idle_.cancel();
}

}  // namespace lbd::proxy
