#include "lbd/upstream/connection.h"

#include <algorithm>

namespace lbd::upstream {
namespace {

/// A read is worth posting ahead only into this much room.
constexpr std::size_t kRoomMin = 512;
constexpr std::size_t kFirstCapacity = 4096;

}  // namespace

Connection::Connection(std::unique_ptr<net::Stream> stream, std::shared_ptr<LiveTarget> target,
                       BufferPool& pool, Clock& clock)
    : stream_(std::move(stream)),
      target_(std::move(target)),
      in_(pool),
      watchdog_(clock, this, &Connection::expire) {
  in_.reserve(kFirstCapacity);
}

void Connection::expire(void* self) {
  auto* connection = static_cast<Connection*>(self);
  if (connection->pool_ != nullptr) {
    IdleConnections::idle_expired(connection);
    return;
  }
  connection->expired_ = true;
  connection->stream_->cancel();
}

void Connection::abort() noexcept {
  aborted_ = true;
  stream_->cancel();
}

void Connection::post_read() {
  if (reading_ || in_.space().size() < kRoomMin) return;
  read_ = {};
  reading_ = true;
  stream_->begin_read(in_.space(), read_);
}

/// False: there is nothing to wait for, and `now` is the result.
bool Connection::begin_fill(std::size_t capacity_max, net::IoResult& now) {
  if (aborted_ || expired_) {
    now.fault = Fault::cancelled;
    return false;
  }
  if (!reading_) {
    if (in_.empty()) in_.clear();
    if (in_.space().size() < kRoomMin) in_.compact();
    // A read that took all the room had more to bring: a bulk body comes in few large pieces.
    const std::size_t wanted = in_.empty() && filled_ ? capacity_max : 4 * in_.capacity();
    if ((filled_ || in_.space().size() < kRoomMin) && in_.capacity() < capacity_max) {
      in_.reserve(std::min(wanted, capacity_max));
    }
    if (in_.space().empty()) return false;
    read_ = {};
    reading_ = true;
    stream_->begin_read(in_.space(), read_);
  }
  return true;
}

net::IoResult Connection::end_fill() noexcept {
  const net::IoResult result = read_.result;
  reading_ = false;
  filled_ = result.ok() && result.bytes == in_.space().size();
  if (result.ok()) in_.commit(result.bytes);
  return result;
}

Task<> Connection::retire() {
  watchdog_.cancel();
  stream_->close();
  if (reading_) {
    co_await net::Finished(read_);
    reading_ = false;
  }
}

std::unique_ptr<Connection> IdleConnections::take(LiveTarget& target, const ConnectionUse& use) {
  Connection* connection = target.load(worker_).idle;
  while (connection != nullptr) {
    Connection* next = connection->next_;
    if (connection->stream_->tls_client() != use.tls) {
      drop(*connection);
    } else if (connection->owner_ == use.owner) {
      break;
    }
    connection = next;
  }
  if (connection == nullptr) return nullptr;
  unlink(*connection);
  connection->pool_ = nullptr;
  connection->read_.notify = nullptr;
  connection->reused_ = true;
  return std::unique_ptr<Connection>(connection);
}

void IdleConnections::give_back(std::unique_ptr<Connection> connection, Duration idle,
                                std::uint32_t most) {
  TargetLoad& load = connection->target_->load(worker_);
  Connection& kept = *connection;
  const bool full = load.idle_count >= most;
  if (kept.target_->closed.load(std::memory_order_relaxed) || most == 0 ||
      (full && kept.owner_.empty()) || kept.expired_ || kept.aborted_ || !kept.in_.empty() ||
      (kept.reading_ && kept.read_.done)) {
    tasks_.spawn(close(std::move(connection)));
    return;
  }
  if (full) drop_oldest(load);
  if (!kept.reading_) {
    if (kept.in_.capacity() > kFirstCapacity) {  // idle, it needs no more
      kept.in_.release();
      kept.in_.reserve(kFirstCapacity);
    }
    kept.in_.clear();
    kept.filled_ = false;
    kept.post_read();
  }
  kept.read_.context = &kept;
  kept.read_.notify = &IdleConnections::read_ended;
  kept.pool_ = this;
  kept.watchdog_.set(clock_.now() + idle);
  kept.next_ = load.idle;
  kept.previous_ = nullptr;
  if (load.idle != nullptr) load.idle->previous_ = &kept;
  if (!load.idle_listed) {
    load.idle_listed = true;
    targets_.push_back(kept.target_);
  }
  load.idle = connection.release();
  ++load.idle_count;
  ++count_;
}

void IdleConnections::unlink(Connection& connection) noexcept {
  TargetLoad& load = connection.target_->load(worker_);
  if (connection.next_ != nullptr) connection.next_->previous_ = connection.previous_;
  if (connection.previous_ != nullptr) {
    connection.previous_->next_ = connection.next_;
  } else {
    load.idle = connection.next_;
  }
  connection.next_ = connection.previous_ = nullptr;
  --load.idle_count;
  --count_;
}

void IdleConnections::drop(Connection& connection) {
  unlink(connection);
  connection.pool_ = nullptr;
  connection.read_.notify = nullptr;
  tasks_.spawn(close(std::unique_ptr<Connection>(&connection)));
}

void IdleConnections::drop_oldest(TargetLoad& load) {
  Connection* oldest = load.idle;
  while (oldest->next_ != nullptr) oldest = oldest->next_;
  drop(*oldest);
}

void IdleConnections::read_ended(void* connection) {
  // The target closed it, or sent bytes that answer nothing: either way it cannot be used again.
  auto* ended = static_cast<Connection*>(connection);
  ended->pool_->drop(*ended);
}

void IdleConnections::idle_expired(void* connection) {
  auto* expired = static_cast<Connection*>(connection);
  expired->pool_->drop(*expired);
}

Task<> IdleConnections::close(std::unique_ptr<Connection> connection) {
  co_await connection->retire();
}

void IdleConnections::purge(const std::vector<const LiveTarget*>& kept) {
  std::erase_if(targets_, [&](const std::shared_ptr<LiveTarget>& target) {
    const bool stays = std::binary_search(kept.begin(), kept.end(), target.get());
    if (stays && !target->closed.load(std::memory_order_relaxed)) return false;
    while (Connection* connection = target->load(worker_).idle) drop(*connection);
    target->load(worker_).idle_listed = false;
    return true;
  });
}

void IdleConnections::shut_down() { purge({}); }

}  // namespace lbd::upstream
