#include "lbd/upstream/h2_connection.h"

#include <algorithm>
#include <cerrno>

#include "lbd/upstream/h2_connections.h"

namespace lbd::upstream {
namespace {

constexpr std::size_t kIdleCapacity = 1024;
constexpr std::size_t kReadCapacity = 16 * 1024;
constexpr std::size_t kWriteMax = 48 * 1024;  // then what is left waits for the socket
constexpr int kReadsPerTurn = 4;              // in a row, without waiting
/// Of a response, until its client takes it: the memory of a slow client.
constexpr std::uint32_t kStreamWindow = 128 * 1024;
/// Opened again as bytes come, so that slow clients cannot hold up the others.
constexpr std::uint32_t kConnectionWindow = 4 * 1024 * 1024;
/// A target that was silent for longer has to show that it is alive, and gets so long for it.
constexpr std::chrono::seconds kSilence{5};
constexpr std::chrono::seconds kProof{5};
constexpr std::chrono::milliseconds kLastWords{200};

}  // namespace

H2Ways::H2Ways(const config::TargetGroup& group)
    : idle(group.timeouts.idle),
      stalled(group.timeouts.body_idle),
      connections_max(group.limits.idle_connections_max) {
  limits.streams_max = group.limits.streams_per_connection;
  limits.stream_window = kStreamWindow;
  limits.connection_window = kConnectionWindow;
  limits.head.first_line_bytes_max = limits.head.line_bytes_max = limits.head.head_bytes_max =
      group.limits.response_headers_bytes_max;
  limits.head.headers_max = group.limits.response_headers_max;
}

H2Connection::H2Connection(H2Connections& pool, Made made)
    : pool_(pool),
      made_(std::move(made)),
      clock_(pool.loop_.clock()),
      in_(pool.buffers_),
      out_(pool.buffers_),
      codec_(made_.ways.limits),
      turn_end_(pool.loop_, this, &H2Connection::turn_ended),
      next_turn_(pool.loop_),
      write_watchdog_(clock_, this, &H2Connection::write_expired),
      idle_(clock_, this, &H2Connection::idle_expired),
      doubt_(clock_, this, &H2Connection::doubt_expired),
      heard_(clock_.now()) {}

H2Connection::~H2Connection() = default;

bool H2Connection::has_room() const noexcept {
  return !stopped_ && !failed_ && !retired_ && codec_.has_room() &&
         codec_.open() + reserved_ < codec_.streams_max();
}

// ---- users

void H2Connection::reserve(H2Carried& user) {
  users_.push_back(&user);
  user.asked_ = false;
  ++reserved_;
  idle_.cancel();
  // Not while others wait here: servers of gRPC hang up after three PINGs that they have sent
  // nothing between.
  if (users_.size() == 1 && clock_.now() - heard_ > kSilence) doubt();
}

bool H2Connection::open(H2Carried& user, const http::H2Client::Request& request) {
  if (stopped_ || failed_ || !codec_.submit(user, request)) return false;
  user.asked_ = true;
  --reserved_;
  turn_end_.ask();
  return true;
}

void H2Connection::release(H2Carried& user) {
  std::erase(sent_, &user);
  std::erase(users_, &user);
  if (!user.asked_) --reserved_;
  turn_end_.ask();
  if (users_.empty()) set_idle();
}

void H2Connection::set_idle() noexcept {
  if (opening_ != nullptr) return;
  const TargetLoad& load = made_.target->load(pool_.worker_);
  const bool spare = load.http2_connections.get() > made_.ways.connections_max;
  if (spare || retired_ || codec_.ending() ||
      made_.target->closed.load(std::memory_order_relaxed)) {
    retire();
  } else {
    idle_.set(clock_.now() + made_.ways.idle);
  }
}

void H2Connection::doubt() {
  if (doubt_.is_set() || stopped_) return;
  codec_.ping();
  doubt_.set(clock_.now() + kProof);
  turn_end_.ask();
}

void H2Connection::doubt_expired(void* self) {
  auto* connection = static_cast<H2Connection*>(self);
  connection->failed_ = true;  // nobody reads what we write
  connection->stop();
}

void H2Connection::retire() {
  retired_ = true;
  turn_end_.ask();
}

/// In `turn_ended`: `run` goes on in a later turn.
void H2Connection::leave_if_over() {
  const bool unused = users_.empty() && opening_ == nullptr;
  if (unused && !said_goodbye_ && (retired_ || codec_.ending())) {
    said_goodbye_ = true;
    codec_.end(http::H2Error::no_error);
    turn_end_.ask();
    return;
  }
  // A target that takes no more may have answered before: what it sent is still read.
  if (codec_.over() || (unused && said_goodbye_ && !writing_)) stop();
}

void H2Connection::stop() noexcept {
  stopped_ = true;
  if (reading_) made_.stream->cancel();
}

// ---- input

Task<> H2Connection::run() {
  co_await read_all();
  co_await close();
}

Task<> H2Connection::read_all() {
  turn_end_.ask();
  int in_a_row = 0;
  while (!stopped_) {
    in_.clear();
    const std::size_t wanted = users_.empty() ? kIdleCapacity : kReadCapacity;
    if (in_.capacity() < wanted) in_.reserve(wanted);
    net::IoWait read;
    if (!made_.stream->begin_read(in_.space(), read)) {
      in_a_row = 0;
      reading_ = true;
      co_await net::Finished(read);
      reading_ = false;
    } else if (++in_a_row == kReadsPerTurn) {
      in_a_row = 0;
      net::NextTurn::Wait others = next_turn_.wait();
      co_await others;
    }
    read_result_ = read.result;
    if (!read.result.ok() || stopped_) break;
    in_.commit(read.result.bytes);
    take(in_.view());
    if (users_.empty() && in_.capacity() > kIdleCapacity) in_.release();
  }
}

void H2Connection::take(std::string_view bytes) {
  heard_ = clock_.now();
  doubt_.cancel();
  const bool alive = codec_.receive(bytes, heard_);
  turn_end_.ask();
  if (!alive) {
    stopped_ = true;
  } else if (opening_ != nullptr && codec_.ready()) {
    idle_.cancel();
    pool_.opened(*this);
    if (users_.empty()) set_idle();
  }
}

// ---- output: all of a turn at once

void H2Connection::turn_ended(void* self) { static_cast<H2Connection*>(self)->flush(); }

void H2Connection::flush() {
  while (!writing_ && !failed_) {
    do {
      codec_.send(out_, kWriteMax);
    } while (tell_sent() && out_.size() < kWriteMax);
    if (out_.empty()) break;
    const std::string_view bytes = out_.view();
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    write_ = {};
    if (!made_.stream->begin_write({&piece, 1}, write_)) {
      writing_ = true;
      write_.context = this;
      write_.notify = &H2Connection::write_ended;
      write_watchdog_.set(clock_.now() + made_.ways.stalled);
    } else {
      failed_ = !write_.result.ok();
      out_.clear();
    }
  }
  if (!writing_) out_.release();
  leave_if_over();
}

/// True: there may be more to send.
bool H2Connection::tell_sent() {
  if (sent_.empty()) return false;
  while (!sent_.empty()) {
    H2Carried* user = sent_.back();
    sent_.pop_back();
    user->sent();
  }
  return true;
}

void H2Connection::write_ended(void* self) {
  auto* connection = static_cast<H2Connection*>(self);
  connection->writing_ = false;
  connection->write_watchdog_.cancel();
  connection->out_.clear();
  connection->failed_ |= !connection->write_.result.ok();
  connection->flush();
}

/// The target reads nothing at all.
void H2Connection::write_expired(void* self) {
  auto* connection = static_cast<H2Connection*>(self);
  connection->failed_ = true;
  connection->made_.stream->cancel();
  connection->stop();
}

// ---- ends

void H2Connection::idle_expired(void* self) {
  auto* connection = static_cast<H2Connection*>(self);
  if (connection->opening_ != nullptr) {
    connection->expired_ = true;
    connection->stop();
  } else {
    connection->retire();
  }
}

/// Why it was not opened.
net::DialFailure H2Connection::failure() const {
  if (expired_) return {Fault::connect_timeout, ETIMEDOUT, {}};
  if (!codec_.going()) return {Fault::bad_response, EPROTO, {}};
  if (read_result_.fault == Fault::tls_failed) {
    return {Fault::tls_failed,
            EPROTO,
            {net::TlsFault::client_certificate, made_.stream->failure_text()}};
  }
  return {Fault::connect_failed, read_result_.error != 0 ? read_result_.error : ECONNRESET, {}};
}

Task<> H2Connection::close() {
  stopped_ = true;
  idle_.cancel();
  doubt_.cancel();
  flush();  // what the codec thinks of the target, as far as it takes it
  pool_.closed(*this);
  const bool broke_rules = !codec_.going();
  while (!users_.empty()) {
    H2Carried* user = users_.back();
    users_.pop_back();
    std::erase(sent_, user);
    user->disconnected(broke_rules);
  }
  if (writing_) {
    write_watchdog_.set(clock_.now() + kLastWords);
    write_.notify = nullptr;
    co_await net::Finished(write_);
    writing_ = false;
    write_watchdog_.cancel();
  }
  made_.stream->close();
}

}  // namespace lbd::upstream
