// A client connection, whatever it speaks: what the worker's list of them needs, and what every
// protocol asks of the snapshot.
#pragma once

#include <boost/smart_ptr/local_shared_ptr.hpp>
#include <memory>

#include "lbd/base/task.h"
#include "lbd/http/message.h"
#include "lbd/upstream/snapshot.h"

namespace lbd::proxy {

struct Pinned;
struct WorkerContext;

/// Thread: its worker's. `run` ends when the connection is closed.
class Session {
 public:
  Session(WorkerContext& worker, std::shared_ptr<upstream::LiveListener> listener) noexcept
      : worker_(worker), live_(std::move(listener)) {}
  virtual ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] const upstream::LiveListener* listener() const noexcept { return live_.get(); }

  virtual Task<> run() = 0;
  /// Ends it after what is under way. Between requests: after the next, or when none comes within
  /// WorkerContext::drain_grace of the last. `last`: what it goes by until then when its listener
  /// is not in newer snapshots.
  void drain(boost::local_shared_ptr<Pinned> last = nullptr) noexcept;
  /// Ends it whatever it is doing.
  virtual void kill() noexcept = 0;

  // Of the worker's list of sessions.
  Session* next = nullptr;
  Session* previous = nullptr;

 protected:
  /// `draining_` has become true, or it was and a drain is asked for again.
  virtual void begin_drain() noexcept = 0;
  /// The listener as it is in a snapshot; null when a reload has removed it.
  [[nodiscard]] const upstream::SnapshotListener* find_listener(
      const upstream::Snapshot& snapshot) const noexcept;
  /// What a desync mode makes of a head that could be read: why it is refused, or none, and then
  /// perhaps `alone`.
  [[nodiscard]] static Fault judge(config::DesyncMode mode, http::RequestHead& head) noexcept;
  /// The snapshot to go by: the newest, or the last that has the listener.
  [[nodiscard]] const boost::local_shared_ptr<Pinned>& pinned() const noexcept;

  WorkerContext& worker_;
  std::shared_ptr<upstream::LiveListener> live_;
  bool draining_ = false;

 private:
  boost::local_shared_ptr<Pinned> last_;
};

}  // namespace lbd::proxy
