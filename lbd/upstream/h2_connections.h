// A worker's HTTP/2 connections to targets, and those under way.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/event.h"
#include "lbd/base/task.h"
#include "lbd/net/tcp_stream.h"
#include "lbd/upstream/connection.h"
#include "lbd/upstream/h2_connection.h"
#include "lbd/upstream/snapshot.h"

namespace lbd::upstream {

/// A request that waits for a connection under way. Lives in its request, and is left or over
/// before it dies.
struct H2Seat {
  explicit H2Seat(H2Carried& request) : user(request) {}
  H2Carried& user;
  Event over;
  H2Connection* connection = nullptr;  // reserved for it; null: `failure` says why not
  bool made = false;                   // the first whom the connection serves
  net::DialFailure failure;
  H2Opening* opening = nullptr;  // while it waits
};

/// Many streams on few connections: a new one is made only when all that there are have no room,
/// and requests that come meanwhile wait for it. It is open when the target's settings have come:
/// until then nothing of a request was sent.
///
/// Thread: the worker's. `shut_down` must have run, and its tasks ended, before it is destroyed.
class H2Connections {
 public:
  H2Connections(std::size_t worker, net::Loop& loop, BufferPool& buffers, TaskGroup& tasks);
  ~H2Connections();
  H2Connections(const H2Connections&) = delete;
  H2Connections& operator=(const H2Connections&) = delete;

  /// One with room for `use`, or null. Those that go by other TLS settings get no more requests.
  [[nodiscard]] H2Connection* find(LiveTarget& target, const ConnectionUse& use);

  struct Wanted {
    const SnapshotTarget& target;
    const SnapshotGroup& group;
    std::string_view owner;  // ConnectionUse::owner, and the greeting
  };
  /// `seat.over` is set when there is a connection for it, or none can be made within the group's
  /// timeouts.connect of the first that waits for the same one; maybe inside this call.
  void wait(H2Seat& seat, const Wanted& wanted);
  /// Sets `seat.over` with a failure that says nothing; not once it is over.
  void leave(H2Seat& seat);

  /// No more requests on connections whose target is closed, or not among `kept` (sorted).
  void purge(const std::vector<const LiveTarget*>& kept);
  /// Ends all at once.
  void shut_down();
  [[nodiscard]] bool empty() const noexcept { return all_.empty(); }

 private:
  friend class H2Connection;
  static Task<> dial(H2Connections& pool, std::shared_ptr<H2Opening> opening);
  static Task<> run(H2Connections& pool, std::unique_ptr<H2Connection> connection);
  void start(std::shared_ptr<H2Opening> opening);
  void forget(const H2Opening& opening);
  void fail(H2Opening& opening, const net::DialFailure& failure);
  void opened(H2Connection& connection);
  void closed(H2Connection& connection);

  std::size_t worker_;
  net::Loop& loop_;
  BufferPool& buffers_;
  TaskGroup& tasks_;
  std::vector<H2Connection*> all_;
  std::vector<std::shared_ptr<H2Opening>> openings_;
};

}  // namespace lbd::upstream
