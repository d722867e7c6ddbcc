// Connections to targets, and the idle ones a worker keeps.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/buffer.h"
#include "lbd/base/clock.h"
#include "lbd/base/task.h"
#include "lbd/net/stream.h"
#include "lbd/upstream/snapshot.h"

namespace lbd::upstream {

class IdleConnections;

/// A connection to one target with its read buffer. A read is kept posted whenever there is room:
/// while the connection is idle it notices the target closing, during a request it brings the
/// response.
///
/// Thread: one worker. The owner calls `co_await retire()` (or gives it back to IdleConnections)
/// before destroying it.
class Connection {
 public:
  Connection(std::unique_ptr<net::Stream> stream, std::shared_ptr<LiveTarget> target,
             BufferPool& pool, Clock& clock);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  [[nodiscard]] net::Stream& stream() noexcept { return *stream_; }
  [[nodiscard]] LiveTarget& target() noexcept { return *target_; }
  [[nodiscard]] Buffer& in() noexcept { return in_; }
  /// Whom it carries requests of; empty: of anyone.
  [[nodiscard]] const std::string& owner() const noexcept { return owner_; }
  void set_owner(std::string owner) noexcept { owner_ = std::move(owner); }
  /// Requests sent on it before this one.
  [[nodiscard]] bool reused() const noexcept { return reused_; }

  /// Waits for more bytes after `in()`'s content (posting a read if none is). Grows the buffer when
  /// it is full, up to `capacity_max`; with no room left it returns ok with 0 bytes. With no
  /// deadline met the read is cancelled: the result is `cancelled` and `expired()` tells why.
  class Fill;
  [[nodiscard]] Fill fill(std::size_t capacity_max) noexcept;
  /// Posts the read that the next `fill` waits for.
  void post_read();
  /// Every wait of this connection ends at `due`. Cheap to move. One that passed while nobody
  /// waited (the client was slow to take what we had) is forgotten.
  void set_deadline(TimePoint due) noexcept {
    expired_ = false;
    watchdog_.set(due);
  }
  /// Nothing ends its waits but `abort`.
  void clear_deadline() noexcept {
    expired_ = false;
    watchdog_.cancel();
  }
  [[nodiscard]] bool expired() const noexcept { return expired_; }
  /// Ends whatever waits on it, now and later, with `cancelled`.
  void abort() noexcept;
  [[nodiscard]] bool aborted() const noexcept { return aborted_; }
  /// Closes it and waits for its read to end. Then it may be destroyed.
  Task<> retire();

 private:
  friend class IdleConnections;
  bool begin_fill(std::size_t capacity_max, net::IoResult& now);
  net::IoResult end_fill() noexcept;
  static void expire(void* self);

  std::unique_ptr<net::Stream> stream_;
  std::shared_ptr<LiveTarget> target_;
  std::string owner_;
  Buffer in_;
  net::IoWait read_;
  Timer watchdog_;
  bool reading_ = false;
  bool filled_ = false;  // the last read took all the room it had
  bool expired_ = false;
  bool aborted_ = false;
  bool reused_ = false;
  // While idle.
  IdleConnections* pool_ = nullptr;
  Connection* next_ = nullptr;  // of the same target
  Connection* previous_ = nullptr;
};

/// `co_await connection.fill(…)`, without a frame of its own.
class Connection::Fill {
 public:
  Fill(Connection& connection, std::size_t capacity_max) noexcept
      : connection_(connection), capacity_max_(capacity_max) {}
  [[nodiscard]] bool await_ready() {
    waits_ = connection_.begin_fill(capacity_max_, now_);
    return !waits_ || connection_.read_.done;
  }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { connection_.read_.waiter = waiter; }
  net::IoResult await_resume() noexcept { return waits_ ? connection_.end_fill() : now_; }

 private:
  Connection& connection_;
  std::size_t capacity_max_;
  net::IoResult now_;
  bool waits_ = false;
};

inline Connection::Fill Connection::fill(std::size_t capacity_max) noexcept {
  return {*this, capacity_max};
}

/// What a connection must be to carry a request.
struct ConnectionUse {
  const net::TlsClient* tls = nullptr;  // whose settings it goes by; null: plain
  std::string_view owner;               // Connection::owner
};

/// One worker's idle connections, newest first per target (the newest is the least likely to be
/// closed by the target). Thread: the worker's. `shut_down` must have run, and its tasks ended,
/// before it is destroyed.
class IdleConnections {
 public:
  IdleConnections(std::size_t worker, Clock& clock, TaskGroup& tasks)
      : worker_(worker), clock_(clock), tasks_(tasks) {}

  /// The newest idle connection of this use to the target, or nothing. Those that go by other TLS
  /// settings are closed.
  [[nodiscard]] std::unique_ptr<Connection> take(LiveTarget& target, const ConnectionUse& use);
  /// Keeps a connection whose response is complete for at most `idle`; closes it instead when the
  /// target drains, has `most` already, or has sent bytes nobody asked for. One with an owner takes
  /// the place of the one that is unused the longest.
  void give_back(std::unique_ptr<Connection> connection, Duration idle, std::uint32_t most);
  /// Closes every idle connection whose target is closed to new requests, or not among `kept`
  /// (sorted).
  void purge(const std::vector<const LiveTarget*>& kept);
  void shut_down();
  [[nodiscard]] std::size_t size() const noexcept { return count_; }

 private:
  static void read_ended(void* connection);
  static void idle_expired(void* connection);
  void unlink(Connection& connection) noexcept;
  void drop(Connection& connection);
  void drop_oldest(TargetLoad& load);
  static Task<> close(std::unique_ptr<Connection> connection);

  std::size_t worker_;
  Clock& clock_;
  TaskGroup& tasks_;
  std::size_t count_ = 0;
  std::vector<std::shared_ptr<LiveTarget>> targets_;  // those that ever had an idle connection here
  friend class Connection;
};

}  // namespace lbd::upstream
