// A cloud made of values: instances that boot slowly, hide, fail and die as one seed says, and the
// balancer's view of them. It also checks, at every call, what a scaler must never do.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lbd/base/event.h"
#include "lbd/base/rng.h"
#include "lbd/base/task.h"
#include "scaler/loop.h"
#include "scaler/provider.h"
#include "tests/support/manual_clock.h"

namespace lbd::sim {

using scaler::CallError;
using scaler::CallFailure;

/// How often which fault strikes; all zero: a perfect cloud.
struct Faults {
  double lost_reply = 0;  // the call happened, the answer did not come
  double refused = 0;     // transient failure, nothing happened
  double throttled = 0;
  double capacity = 0;          // per launch, on top of closed zones
  double denied = 0;            // per minute: for a while no call is permitted
  double invalid = 0;           // per minute: for a while the launch template is wrong
  double quota = 0;             // per minute: for a while the account may not have more
  double never_boots = 0;       // pending -> terminated
  double sick = 0;              // runs, but never passes a health check
  double dies = 0;              // per instance and minute
  double fails_health = 0;      // per instance and minute: impaired for good
  double zone_dies = 0;         // per minute
  double blind = 0;             // per minute: for a while every check fails, though all serve
  double describe_gap = 0;      // a known instance is missing from one report
  double crash = 0;             // of the scaler, per minute
  double crash_on_save = 0;     // of the scaler, per write
  double wall_jump = 0;         // per minute
  double reload = 0;            // per minute: another provider setting, or another number wanted
  double cpu_noise = 0;         // how far a figure may be off
  bool ignores_tokens = false;  // as moto: the same token launches again
  Duration visible_after_max{};
};

struct SimInstance {
  std::string id;
  std::string token;
  std::string zone;
  scaler::ReportedState state = scaler::ReportedState::pending;
  TimePoint visible_at{};
  TimePoint running_at{};
  TimePoint healthy_at{};
  TimePoint ended_at{};
  WallTime launched{};
  bool boots = true;
  bool sick = false;
  bool impaired = false;
  std::optional<TimePoint> down_since;  // failing its checks without a break
  std::optional<TimePoint> seen_down;   // last time
  bool ever_up = false;
  TimePoint first_up{};
  std::optional<TimePoint> draining_since;  // as published to the balancer
  Duration drain_takes{};
  bool published = false;
  std::uint32_t gaps = 0;    // reports in a row it was missing from
  Duration metered_every{};  // as CloudWatch has some each minute and some every five
  std::map<TimePoint, std::pair<double, int>> metered;  // by the end of each span: sum and count

  [[nodiscard]] bool alive() const {
    return state == scaler::ReportedState::pending || state == scaler::ReportedState::running;
  }
};

/// The world outside the scaler; it outlives the scaler's crashes.
class SimCloud {
 public:
  SimCloud(ManualClock& clock, std::uint64_t seed, std::function<scaler::Store&()> store,
           const config::ScalingGroup& group)
      : clock_(clock), rng_(seed), store_(std::move(store)), group_(group) {}

  Faults faults;
  double load = 1;              // in fully used instances
  bool launches_twice = false;  // the canary's: every launch makes two
  bool blames_all = false;      // the canary's: whoever fails a check is called impaired
  bool verbose = false;
  bool late_cpu = false;  // CPU figures are means of spans, told some seconds after their end
  std::vector<std::string> zones{"a", "b", "c"};

  // ---- the provider's side
  scaler::LaunchReply run(const scaler::LaunchRequest& request);
  scaler::TerminateReply terminate(const std::string& id);
  scaler::DescribeReply describe();
  [[nodiscard]] scaler::CpuReply cpu();

  // ---- the balancer's side
  [[nodiscard]] std::vector<scaler::InstanceDemand> demand(TimePoint checks_since);
  void publish(const std::vector<scaler::InstanceTarget>& targets);
  [[nodiscard]] std::uint64_t unserved() const { return load > 0 && serving() == 0 ? 1 : 0; }
  /// The balancer's process has ended.
  void forget_targets();

  // ---- the world
  void step(Duration passed);  // moves lives on and strikes
  void heal();                 // no faults from now on; zones come back
  [[nodiscard]] bool strikes(double per_minute, Duration passed);
  [[nodiscard]] bool chance(double share) { return share > 0 && rng_.unit() < share; }
  [[nodiscard]] Duration within(Duration most);
  void violated(const std::string& what);
  void say(const std::string& what) const;
  [[nodiscard]] std::uint32_t alive() const;
  [[nodiscard]] const std::map<std::string, SimInstance>& instances() const { return instances_; }
  [[nodiscard]] const std::optional<std::string>& violation() const { return violation_; }
  [[nodiscard]] bool healthy(const SimInstance& instance) const;
  [[nodiscard]] bool blind() const { return clock_.now() < blind_until_; }
  /// What every call fails with now, or every launch only.
  [[nodiscard]] std::optional<CallFailure> forbidden(bool launch);
  [[nodiscard]] std::uint32_t serving() const;
  /// A new process knows nothing of what the one before has tried.
  void new_life() { ended_while_blind_ = 0; }
  [[nodiscard]] Rng& rng() { return rng_; }

  std::uint64_t launches = 0;
  std::uint64_t terminations = 0;
  std::map<CallError, std::uint64_t> launches_forbidden;

 private:
  void check_launch(const scaler::LaunchRequest& request);
  void check_bounds();
  void check_terminate(const SimInstance& instance);
  void check_blind(const SimInstance& instance);
  void check(SimInstance& instance, scaler::InstanceDemand& row);
  [[nodiscard]] double cpu_of(const SimInstance& instance, std::uint32_t share);
  void meter();
  void go_blind(Duration passed);
  void begin_spell(Duration passed);
  const SimInstance& boot(const scaler::LaunchRequest& request);
  [[nodiscard]] scaler::ReportedInstance report(const SimInstance& instance) const;
  void end(SimInstance& instance);

  ManualClock& clock_;
  Rng rng_;
  std::function<scaler::Store&()> store_;  // a reopened file is another object
  const config::ScalingGroup& group_;
  std::map<std::string, SimInstance> instances_;
  std::map<std::string, TimePoint> dead_zones_;  // until
  CallError spell_ = CallError::none;            // denied, invalid or account_limit
  TimePoint spell_until_{};
  TimePoint blind_since_{};
  TimePoint blind_until_{};
  std::uint32_t ended_while_blind_ = 0;
  std::optional<std::string> violation_;
  std::uint64_t made_ = 0;
};

/// One life of a scaler process: when it crashes, its calls come back at once and count for
/// nothing.
struct Life {
  bool dead = false;
  Event crashed;
  void crash() {
    dead = true;
    crashed.set();
  }
};

/// The cloud over a slow and lossy line.
class SimProvider final : public scaler::Provider {
 public:
  SimProvider(SimCloud& cloud, ManualClock& clock, Life& life)
      : cloud_(cloud), clock_(clock), life_(life) {}

  [[nodiscard]] const std::vector<std::string>& zones() const override { return cloud_.zones; }
  Task<std::optional<CallFailure>> start() override;
  Task<scaler::LaunchReply> launch(scaler::LaunchRequest request) override;
  Task<scaler::TerminateReply> terminate(std::string instance) override;
  Task<scaler::DescribeReply> describe() override;
  Task<scaler::CpuReply> cpu(std::vector<std::string> instances) override;
  [[nodiscard]] Duration describe_interval() const override { return std::chrono::seconds(2); }
  [[nodiscard]] Duration visibility_delay() const override { return std::chrono::seconds(6); }

 private:
  [[nodiscard]] std::optional<CallFailure> refusal(bool launch = false);

  SimCloud& cloud_;
  ManualClock& clock_;
  Life& life_;
};

}  // namespace lbd::sim
