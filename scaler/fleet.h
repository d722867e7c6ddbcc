// The instances of one scaling group as a pure state machine. It makes no calls and reads no clock:
// reports, health, drain counts and times go in, one next step comes out. Truth is what the
// provider reports; memory only says what we wanted.
//
//   launching -> pending -> warming -> in_service -> draining -> terminating -> (gone)
//                   any of them -> lost, when the provider no longer knows it
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "lbd/base/clock.h"
#include "scaler/breaker.h"
#include "scaler/measures.h"
#include "scaler/plan.h"
#include "scaler/provider.h"

namespace lbd::scaler {

enum class InstanceState : std::uint8_t {
  launching,    // asked for; the provider has not given it an id yet
  pending,      // has an id; no health check has passed yet
  warming,      // gets requests; not yet counted in the signals
  in_service,   // gets requests
  draining,     // gets no new requests; ends when the last one is done
  terminating,  // the provider was told, or ends it by itself
  lost,         // gone without our doing; kept a while for the reader
};
[[nodiscard]] std::string_view state_name(InstanceState state);

enum class Health : std::uint8_t { unknown, up, down };

struct Instance {
  std::string id;  // empty while launching
  std::string token;
  std::string zone;
  std::string address;
  std::uint16_t port = 0;
  InstanceState state = InstanceState::launching;
  TimePoint since{};               // in this state
  TimePoint born{};                // known to us
  std::optional<TimePoint> asked;  // launched by this process
  WallTime launched{};
  ReportedState reported = ReportedState::pending;
  std::string reason;  // why it is in this state, a sentence

  Health health = Health::unknown;
  TimePoint health_since{};
  std::string health_reason;
  std::uint32_t in_flight = 0;
  bool drained = true;                      // no request in flight on any worker
  std::optional<TimePoint> running_since;   // the provider said running
  std::optional<TimePoint> serving_since;   // first passing check; earlier for an adopted one
  std::optional<TimePoint> impaired_since;  // the provider's status checks
  std::string unhealthy;                    // why it must be replaced; empty: it need not

  TimePoint drain_until{};
  bool moving = false;               // drained to be launched again in another zone
  bool adopted = false;              // it ran before this process knew it
  bool in_call = false;              // a launch or terminate call is under way
  bool unsure = false;               // launching: may have happened; look, then ask again
  std::uint32_t looks = 0;           // launching: reports without it, after it should be visible
  TimePoint answered{};              // when the last call ended
  std::uint32_t calls = 0;           // terminate calls made
  bool terminate_confirmed = false;  // the provider accepted it, or shows it ending
  bool seen = false;                 // in some describe
  TimePoint seen_at{};               // the last of them
  std::uint32_t missing = 0;         // describes in a row without it
};

/// How long launches wait after a refusal, twice as long each time in a row.
struct LaunchHold {
  Duration least{};
  Duration most{};
};

/// Times that are not the admin's to set; tests and the simulation shorten them.
struct FleetTimings {
  Duration visibility = std::chrono::seconds(30);  // until a launch surely shows in describe
  Duration unhealthy_hold = std::chrono::seconds(15);
  Duration impaired_hold = std::chrono::minutes(2);
  Duration unhealthy_drain = std::chrono::seconds(30);  // what a failing one gets to finish
  Duration drain_settle = std::chrono::seconds(2);      // until every worker knows of the drain
  Duration terminate_again = std::chrono::seconds(10);
  Duration lost_shown = std::chrono::minutes(2);
  Duration trial_wait = std::chrono::minutes(2);    // mass failure at the maximum: until one goes
  Duration trial_again = std::chrono::minutes(10);  // between launches that only try
  LaunchHold account_hold{std::chrono::minutes(1), std::chrono::minutes(10)};
  LaunchHold throttled_hold{std::chrono::seconds(2), std::chrono::minutes(1)};
  LaunchHold admin_hold{std::chrono::seconds(30), std::chrono::minutes(5)};  // denied, invalid
  std::uint32_t missing_max = 3;
};

/// Something that happened, for the log and the history.
struct FleetEvent {
  // adopted, in_service, lost, ended, launch_failed, unhealthy, zone_down …
  std::string_view kind;
  std::string instance;
  std::string token;
  std::string zone;
  std::string sentence;
  IntentState launch_intent = IntentState::sent;  // what became of the launch, when it is settled
};

enum class StepKind : std::uint8_t { none, launch, launch_again, undrain, drain, terminate };

/// The one next thing to do, or why there is nothing.
struct FleetStep {
  StepKind kind = StepKind::none;
  std::string_view word;  // machine word for the history: launch, replace, rebalance, drain, …
  std::string instance;
  std::string zone;
  std::string token;
  std::string sentence;
};

/// What the balancer knows of an instance.
struct InstanceDemand {
  std::string instance;
  double requests_per_second = 0;
  std::uint32_t in_flight = 0;
  double latency_seconds = 0;  // mean of the last second
  double failed_share = 0;     // of 5xx
  Health health = Health::unknown;
  TimePoint health_since{};
  std::string health_reason;
  /// No request in flight on any worker, all of which know that it drains (or never had it).
  bool drained = true;
};

struct Observation {
  const std::vector<ReportedInstance>& instances;
  TimePoint asked_at{};
  TimePoint now{};
  WallTime wall{};
};

struct FleetCounts {
  std::uint32_t alive = 0;      // may be running at the provider: what max bounds
  std::uint32_t good = 0;       // launching, pending, warming, in service; not unhealthy
  std::uint32_t coming = 0;     // of those, launching or pending
  std::uint32_t warming = 0;    // of those
  std::uint32_t serving = 0;    // of those, warming or in service
  std::uint32_t unhealthy = 0;  // to be replaced, not draining yet
  std::uint32_t draining = 0;
  std::uint32_t terminating = 0;  // not confirmed
};

/// Thread: none of its own; a value with methods. Nothing here fails: odd reports become events.
class Fleet {
 public:
  Fleet(const config::ScalingGroup& group, FleetTimings timings);

  /// New bounds and times at run time; the instances stay.
  void configure(const config::ScalingGroup& group);
  void set_zones(const std::vector<std::string>& zones);
  void set_desired(std::uint32_t desired) noexcept { desired_ = desired; }
  [[nodiscard]] std::uint32_t desired() const noexcept { return desired_; }

  // ---- inputs
  /// Live intents of an earlier life, before the first `observe`.
  void restore(const std::vector<Intent>& live, TimePoint now);
  void launch_started(const std::string& token, const std::string& zone, TimePoint now);
  void launch_answered(const std::string& token, const LaunchReply& reply, TimePoint now);
  void terminate_started(const std::string& id, TimePoint now);
  void terminate_answered(const std::string& id, const TerminateReply& reply, TimePoint now);
  void observe(const Observation& seen);
  void hear(const std::vector<InstanceDemand>& demand, TimePoint now);
  /// Deadlines: grace, launch timeout, warm-up. Call once a tick, after `hear`.
  void advance(TimePoint now);
  void start_drain(const std::string& id, TimePoint now, const std::string& why);
  /// A drain that makes room for a launch in another zone: not taken back while that is possible.
  void start_move(const std::string& id, TimePoint now, const std::string& why);
  void undrain(const std::string& id, TimePoint now);

  // ---- outputs
  /// `spare`: at the maximum one instance may go before its successor in another zone serves.
  [[nodiscard]] FleetStep next_step(TimePoint now, bool spare = true) const;
  /// The zone the next launch goes to; empty when none may be used.
  [[nodiscard]] std::string launch_zone(TimePoint now) const;
  [[nodiscard]] FleetCounts count() const;
  /// Healthy instances in service for at least `warm_up`: those whose figures count.
  [[nodiscard]] std::vector<const Instance*> counted(TimePoint now, Duration warm_up) const;
  [[nodiscard]] const std::vector<Instance>& instances() const noexcept { return instances_; }
  [[nodiscard]] const std::vector<ZoneBreaker>& zones() const noexcept { return zones_; }
  [[nodiscard]] const Instance* find(std::string_view id) const;
  [[nodiscard]] bool observed() const noexcept { return observed_; }
  [[nodiscard]] const FleetMeasures& measures() const noexcept { return measures_; }
  [[nodiscard]] std::vector<FleetEvent> take_events();

 private:
  Instance* edit(std::string_view id);
  Instance* edit_token(std::string_view token);
  void enter(Instance& instance, InstanceState state, TimePoint now, std::string reason);
  void event(std::string_view kind, const Instance& instance, std::string sentence);
  void settle_launch(const Instance& instance, IntentState outcome);
  void launch_failed(const Instance& instance, std::string_view reason);
  static void time(PhaseHistogram& phase, const Instance& instance, TimePoint now);
  void see(const ReportedInstance& report, const Observation& seen);
  void adopt(const ReportedInstance& report, const Observation& seen);
  void update(Instance& instance, const ReportedInstance& report, const Observation& seen);
  void runs(Instance& instance, const Observation& seen);
  void ended(Instance& instance, const ReportedInstance& report, TimePoint now);
  void look_for_missing(const Observation& seen);
  void missed(Instance& instance, const Observation& seen);
  void first_pass(Instance& instance, TimePoint now);
  void judge(Instance& instance, TimePoint now);
  void give_up_launch(Instance& instance, TimePoint now);
  [[nodiscard]] std::string pending_fault(const Instance& instance, TimePoint now) const;
  [[nodiscard]] std::string serving_fault(const Instance& instance, TimePoint now) const;
  void watch_mass_failure(TimePoint now);
  void trip(const std::string& zone, TimePoint now, const std::string& reason);
  void check_zone(const std::string& zone, TimePoint now);
  void drop_gone(TimePoint now);
  void settle_restored(const Observation& seen);
  void resume_ending(Instance& instance, TimePoint now);
  [[nodiscard]] FleetStep finish_step(TimePoint now) const;
  [[nodiscard]] FleetStep terminate_step(const Instance& each, TimePoint now) const;
  [[nodiscard]] FleetStep drained_step(const Instance& each, TimePoint now) const;
  [[nodiscard]] FleetStep grow_step(const FleetCounts& counts, TimePoint now) const;
  [[nodiscard]] FleetStep full_step(const FleetCounts& counts) const;
  [[nodiscard]] FleetStep trial_step(const FleetCounts& counts, TimePoint now) const;
  [[nodiscard]] FleetStep launch_step(const FleetCounts& counts, TimePoint now) const;
  [[nodiscard]] FleetStep replace_step(const FleetCounts& counts) const;
  [[nodiscard]] FleetStep shrink_step(const FleetCounts& counts) const;
  [[nodiscard]] FleetStep rebalance_step(const FleetCounts& counts, TimePoint now,
                                         bool spare) const;
  [[nodiscard]] FleetStep move_step(const std::string& zone, TimePoint now, bool spare) const;
  [[nodiscard]] bool moves_on(const Instance& instance, TimePoint now) const;
  [[nodiscard]] std::uint32_t replace_at_once() const;
  [[nodiscard]] const Instance* victim() const;
  /// The unhealthy one to go first: such as never served, then the least busy.
  [[nodiscard]] const Instance* worst() const;
  [[nodiscard]] std::map<std::string, std::uint32_t> per_zone() const;

  config::ScalingGroup group_;
  FleetTimings timings_;
  std::uint32_t desired_ = 0;
  std::vector<ZoneBreaker> zones_;
  std::vector<Instance> instances_;
  std::map<std::string, TimePoint> gone_;       // ended ids, so that a late report revives none
  std::map<std::string, IntentKind> restored_;  // instances an earlier life drained or ended
  TimePoint restored_at_{};
  TimePoint asked_at_{};  // of the last report: deadlines on reports count up to it, not to now
  std::vector<FleetEvent> events_;
  FleetMeasures measures_;
  TimePoint launches_held_until_{};
  std::uint32_t holds_ = 0;
  TimePoint last_launch_{};
  std::optional<TimePoint> mass_failure_since_;
  std::string mass_failure_;
  bool braked_ = false;  // a mass failure, and no new instance has passed since
  std::string hold_reason_;
  std::string_view hold_word_ = "held";
  bool observed_ = false;
};

}  // namespace lbd::scaler
