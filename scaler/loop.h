// The scaler of the daemon: every scaling group, one tick a second, on the control loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "lbd/base/clock.h"
#include "lbd/base/event.h"
#include "lbd/base/log.h"
#include "lbd/base/result.h"
#include "lbd/base/task.h"
#include "scaler/fleet.h"
#include "scaler/provider.h"
#include "scaler/status.h"
#include "scaler/store.h"

namespace lbd::scaler {

class Group;

enum class TargetState : std::uint8_t { serving, draining };

/// One instance as a target of the groups that name its scaling group.
struct InstanceTarget {
  std::string id;
  std::string address;
  std::uint16_t port = 0;  // 0: the target group's
  std::string zone;
  TargetState state = TargetState::serving;
  friend bool operator==(const InstanceTarget&, const InstanceTarget&) = default;
};

/// Everything the scaler needs from outside. Lifetime: outlives the Scaler.
struct ScalerParts {
  Clock& clock;
  Log& log;
  Store& store;
  /// Makes the provider of a group. Called at start and when a reload changes the provider.
  std::function<std::unique_ptr<Provider>(const config::ScalingGroup&)> make_provider;
  /// The balancer's view of a group's instances, as of now; called once a tick. Instances it does
  /// not know yet are left out.
  std::function<std::vector<InstanceDemand>(const std::string& group)> demand;
  /// Called when a group's targets change; before the provider's first report only with what an
  /// earlier life had in service, so that a restart or reload takes nothing away. Must not call
  /// back into the Scaler.
  std::function<void(const std::string& group, const std::vector<InstanceTarget>&)> publish;
  FleetTimings timings = {};
  /// Requests for a group's instances that found none, since the last call; called once a tick.
  std::function<std::uint64_t(const std::string& group)> unserved = {};
};

/// Thread: the control loop. Nothing blocks but the store's fsync, a few milliseconds per action.
class Scaler {
 public:
  explicit Scaler(ScalerParts parts);
  ~Scaler();
  Scaler(const Scaler&) = delete;
  Scaler& operator=(const Scaler&) = delete;

  /// Ticks until `stop`, then waits for the calls under way. Instances keep running: the next
  /// start adopts them.
  Task<> run();
  void stop() noexcept;

  /// The first configuration or a new one. Fleets stay; a changed provider is swapped and its
  /// instances adopted; a removed group is let go of with its instances running.
  void apply(const config::Config& config);

  /// One tick of every group. `run` calls it; tests may.
  void tick();

  /// A CPU figure from outside the provider (response header, scrape). Unknown instances are
  /// ignored.
  void report_cpu(const CpuSample& sample, config::CpuSource source);

  /// Sets the number wanted. Fails outside [min, max], for an unknown group, or when it cannot be
  /// stored.
  Outcome<void> set_desired(const std::string& group, std::uint32_t desired, std::string_view by);
  /// No action for this long (0: go on now). What the provider ends by itself is still seen.
  Outcome<void> pause(const std::string& group, Duration span, std::string_view by);

  [[nodiscard]] std::vector<GroupStatus> status() const;
  [[nodiscard]] std::optional<GroupStatus> status(const std::string& group) const;
  [[nodiscard]] std::vector<InstanceTarget> targets(const std::string& group) const;
  /// The history is read from the store given: `Store::decisions`, `Store::decision`.

 private:
  [[nodiscard]] std::unique_ptr<Group> make_group(const config::ScalingGroup& config);

  ScalerParts parts_;
  std::uint64_t last_decision_;
  std::map<std::string, std::unique_ptr<Group>> groups_;
  std::vector<std::unique_ptr<Group>> retiring_;
  Event stop_;
  TimePoint pruned_at_{};
};

}  // namespace lbd::scaler
