// Compiles snapshots and hands them, with the listening sockets, to the workers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "lbd/base/log.h"
#include "lbd/base/result.h"
#include "lbd/control/certificates.h"
#include "lbd/control/targets.h"
#include "lbd/upstream/snapshot.h"
#include "lbd/worker/worker.h"

namespace lbd::control {

/// Thread: the control loop.
class Publisher {
 public:
  /// `via`: Snapshot::via.
  Publisher(upstream::LiveState& live, std::vector<std::unique_ptr<worker::Worker>>& workers,
            const Certificates& certificates, std::string via = "1.1 lbd");
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// Binds what a configuration needs and is not bound yet, one socket per worker and address. On
  /// failure nothing has changed. Sockets no longer needed are closed by `commit`.
  Outcome<void> prepare(const config::Config& config);
  /// Makes the prepared configuration the one that is published.
  void commit(std::shared_ptr<const config::Config> config, std::uint64_t generation,
              std::string own_zone);
  /// Undoes `prepare`.
  void rollback();
  /// Lets go of the listening sockets: they close when the workers drain. For good.
  void close_listeners() { sockets_.clear(); }

  /// Compiles the named groups (all others are shared with the last snapshot) and publishes.
  void publish(const Targets& targets, const std::set<std::string>& groups);
  /// Forces every group to be compiled at the next publish.
  void set_own_zone(std::string zone) { own_zone_ = std::move(zone); }

  [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
  /// As they were published last.
  [[nodiscard]] const auto& listeners() const noexcept { return listeners_; }
  [[nodiscard]] const std::string& own_zone() const noexcept { return own_zone_; }
  /// Blocks until every worker uses what was published last. False: one has not by `until`.
  [[nodiscard]] bool await_adoption(TimePoint until);
  /// The oldest snapshot serial any worker may still pick from.
  [[nodiscard]] std::uint64_t adopted() const noexcept;
  /// "public 0.0.0.0:80", for each bound address.
  [[nodiscard]] std::vector<std::string> bound() const;

 private:
  struct Socket {
    std::string listener;
    std::string address;  // as configured
    std::string bound;    // as bound (a port for port 0)
    std::vector<std::shared_ptr<const worker::Descriptor>> descriptors;  // one per worker
  };
  upstream::LiveState& live_;
  std::string via_;
  std::vector<std::unique_ptr<worker::Worker>>& workers_;
  const Certificates& certificates_;
  std::shared_ptr<const config::Config> config_;
  std::string own_zone_;
  std::uint64_t generation_ = 0;
  std::uint64_t serial_ = 0;
  std::map<std::string, Socket> sockets_;   // by address
  std::map<std::string, Socket> prepared_;  // new ones
  std::map<std::string, std::shared_ptr<const upstream::SnapshotGroup>> groups_;
  std::vector<std::shared_ptr<const upstream::SnapshotListener>> listeners_;
};

}  // namespace lbd::control
