// A worker: one thread, one loop, its connections. Workers share nothing but what the snapshot
// refers to.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lbd/base/log.h"
#include "lbd/base/relaxed.h"
#include "lbd/proxy/record.h"
#include "lbd/upstream/snapshot.h"
#include "lbd/worker/recent.h"

namespace lbd::worker {

/// Owns a descriptor: closed when the last snapshot in flight that names it is done with it.
class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

/// A listening socket of one listener; each worker has its own descriptor of the address
/// (SO_REUSEPORT).
struct ListenSocket {
  std::shared_ptr<upstream::LiveListener> listener;
  std::string address;
  std::shared_ptr<const Descriptor> descriptor;
};

struct WorkerSettings {
  std::size_t index = 0;
  std::uint64_t seed = 0;
  std::uint32_t connections_max = 0;      // of this worker
  proxy::RecordSink* records = nullptr;   // outlives the worker; may be null
  std::chrono::milliseconds slow{1'000};  // requests that take so long are remembered
};

/// Thread: made, started, told and joined by the control thread; everything else happens on its
/// own.
class Worker {
 public:
  explicit Worker(WorkerSettings settings);
  /// Stops at once if it still runs.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void start();
  /// Makes it the worker's snapshot; requests under way keep theirs. `sockets`: all this worker
  /// shall listen on from now.
  void adopt(std::shared_ptr<const upstream::Snapshot> snapshot, std::vector<ListenSocket> sockets);
  /// Graceful stop: accepts what waits in the queues, closes listeners, ends each connection after
  /// its current request; one between requests after its next, or `idle_grace` after its last.
  /// `drained()` turns true when nothing is left.
  void drain(Duration idle_grace);
  /// What `Recent::find` has, told to `tell` on the worker's thread; never once it is stopped.
  using Tell = std::function<void(std::vector<KeptRecord>)>;
  void recall(std::string id, std::size_t most, Tell tell);
  /// Resets what is left, ends the thread and joins it.
  void stop();

  /// Serial of the newest snapshot in use for new requests. A target closed in it gets none from
  /// this worker any more: acquire this before reading the target's in-flight count.
  [[nodiscard]] std::uint64_t adopted() const noexcept {
    return adopted_.load(std::memory_order_acquire);
  }
  /// Blocks until it has adopted `serial` or a newer one. False: it has not by `until`.
  [[nodiscard]] bool await_adoption(std::uint64_t serial, TimePoint until);
  [[nodiscard]] bool drained() const noexcept { return drained_.load(std::memory_order_acquire); }
  /// Counts loop turns (one a second at least while healthy): a value that stands still means a
  /// stuck worker.
  [[nodiscard]] std::uint64_t heartbeat() const noexcept { return heartbeat_.get(); }
  [[nodiscard]] std::uint32_t connections() const noexcept { return connections_.get(); }

 private:
  struct Inside;  // what lives on the worker's thread
  void run();

  WorkerSettings settings_;
  std::atomic<std::uint64_t> adopted_{0};
  std::mutex adopting_;
  std::condition_variable adoption_;
  std::atomic<bool> drained_{false};
  Relaxed<std::uint64_t> heartbeat_;
  Relaxed<std::uint32_t> connections_;
  std::unique_ptr<Inside> inside_;
};

}  // namespace lbd::worker
