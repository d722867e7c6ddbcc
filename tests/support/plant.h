// A data plane in a test: workers on threads of their own, one listener, one target group, told
// what to serve by the test as the control plane would.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lbd/net/acceptor.h"
#include "lbd/upstream/snapshot.h"
#include "lbd/worker/worker.h"

namespace lbd {

/// Keeps what of each record a test asks about.
class RecordList final : public proxy::RecordSink {
 public:
  struct Kept {
    int status = 0;
    Fault reason = Fault::none;
    bool by_target = false;
    bool cut = false;
    std::uint32_t attempts = 0;
    std::uint64_t request_bytes = 0;
    std::uint64_t response_bytes = 0;
    std::string method;
    std::string target;
    std::string last_target;  // address; empty when none was tried
    std::string id;
    std::uint64_t generation = 0;
  };
  void write(const proxy::RequestRecord& record) noexcept override {
    const std::size_t last = std::min<std::size_t>(record.attempt_count, record.attempts.size());
    const std::string_view address =
        last > 0 ? record.attempts[last - 1].target : std::string_view();
    const std::lock_guard lock(mutex_);
    kept_.push_back({record.status, record.reason, record.by_target, record.cut,
                     record.attempt_count, record.request_bytes, record.response_bytes,
                     std::string(record.method), std::string(record.target), std::string(address),
                     std::string(record.id), record.generation});
  }
  [[nodiscard]] std::vector<Kept> all() const {
    const std::lock_guard lock(mutex_);
    return kept_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Kept> kept_;
};

/// Waits up to ten seconds for `holds`.
inline bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 2000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return holds();
}

class Plant {
 public:
  /// `sink`: gets the records instead of `records`.
  explicit Plant(std::size_t count = 1, proxy::RecordSink* sink = nullptr) : live(count) {
    group.name = "web";
    group.balance = config::Balance::round_robin;
    listener.name = "public";
    listener.otherwise = config::Forward{"web"};
    for (std::size_t i = 0; i < count; ++i) {
      workers.push_back(std::make_unique<worker::Worker>(
          worker::WorkerSettings{.index = i,
                                 .seed = 7 + i,
                                 .connections_max = 1000,
                                 .records = sink != nullptr ? sink : &records}));
    }
  }
  ~Plant() {
    for (auto& worker : workers) worker->stop();
  }
  Plant(const Plant&) = delete;
  Plant& operator=(const Plant&) = delete;

  void target(std::uint16_t port, upstream::TargetState state = upstream::TargetState::healthy) {
    targets.push_back({{"127.0.0.1", port}, "", 1, state});
  }

  /// Publishes the settings as they are now; listens and starts the workers the first time.
  void publish() {
    if (descriptors_.empty()) start();
    auto snapshot = std::make_shared<upstream::Snapshot>();
    snapshot->serial = ++serial_;
    snapshot->generation = 1;
    snapshot->groups.push_back(upstream::compile_group(group, targets, own_zone, live));
    std::map<std::string, std::size_t> places{{"web", 0}};
    if (shadow) {
      places["shadow"] = snapshot->groups.size();
      snapshot->groups.push_back(upstream::compile_group(*shadow, shadow_targets, own_zone, live));
    }
    snapshot->listeners.push_back(upstream::compile_listener(listener, places, live));
    for (std::size_t i = 0; i < workers.size(); ++i) {
      workers[i]->adopt(snapshot, {{live.listener(listener.name), "test", descriptors_[i]}});
    }
  }
  void publish_and_wait() {
    publish();
    ASSERT_TRUE(eventually([this] { return adopted() == serial_; }));
  }
  [[nodiscard]] std::uint64_t adopted() const {
    std::uint64_t oldest = UINT64_MAX;
    for (const auto& worker : workers) oldest = std::min(oldest, worker->adopted());
    return oldest;
  }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::shared_ptr<upstream::LiveTarget> live_target(std::uint16_t at) {
    return live.target("web", "127.0.0.1:" + std::to_string(at), "");
  }
  /// Nothing is in flight at any target or in the group: every lease came back.
  [[nodiscard]] bool idle() {
    for (const auto& [key, each] : live.targets()) {
      if (each->in_flight() != 0) return false;
    }
    for (const upstream::GroupLoad& load : live.group("web")->loads) {
      if (load.in_flight.get() != 0) return false;
    }
    return true;
  }

  upstream::LiveState live;
  config::TargetGroup group;
  std::optional<config::TargetGroup> shadow;  // "shadow", for mirrors
  config::Listener listener;
  std::vector<upstream::TargetInput> targets;
  std::vector<upstream::TargetInput> shadow_targets;
  std::string own_zone;
  RecordList records;
  std::vector<std::unique_ptr<worker::Worker>> workers;

 private:
  void start() {
    auto address = *net::SocketAddress::parse("127.0.0.1", 0);
    for (auto& worker : workers) {
      const Outcome<int> fd = net::listen_tcp(address);
      if (!fd) throw std::runtime_error(fd.error().message);
      descriptors_.push_back(std::make_shared<const worker::Descriptor>(*fd));
      address = net::SocketAddress::local_of(*fd);
      worker->start();
    }
    port_ = address.port();
  }

  std::vector<std::shared_ptr<const worker::Descriptor>> descriptors_;
  std::uint64_t serial_ = 0;
  std::uint16_t port_ = 0;
};

}  // namespace lbd
