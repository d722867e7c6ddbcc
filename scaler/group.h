// One scaling group at work: feeds the fleet and the policies, writes down what they decide, and
// makes the provider's calls. Internal to scaler/; loop.h is the door.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scaler/loop.h"
#include "scaler/policy.h"
#include "scaler/window.h"

namespace lbd::scaler {

/// Thread: the control loop. Destroyed only when `idle()`.
class Group {
 public:
  /// `last_decision` is the scaler's counter of decision ids. Both outlive the group.
  Group(ScalerParts& parts, std::uint64_t& last_decision, const config::ScalingGroup& config);

  void configure(const config::ScalingGroup& config);
  void tick();
  /// No more actions; calls under way end without effect on us (the plan on disk has them).
  void stop() noexcept { stopped_ = true; }
  [[nodiscard]] bool idle() const noexcept { return calls_.running() == 0; }
  [[nodiscard]] TaskGroup& calls() noexcept { return calls_; }

  /// What the balancer has from the group that this one replaces stays until the first report.
  void succeed(const Group& before) { published_ = before.published_; }
  void report_cpu(const CpuSample& sample, config::CpuSource source);
  Outcome<void> set_desired(std::uint32_t desired, std::string_view by);
  Outcome<void> pause(Duration span, std::string_view by);
  [[nodiscard]] GroupStatus status() const;
  [[nodiscard]] std::vector<InstanceTarget> targets() const;
  [[nodiscard]] const config::ScalingGroup& config() const noexcept { return config_; }

 private:
  struct Watched {  // one policy and its past
    config::Policy policy;
    Series series;
    std::uint32_t counted = 0;
    std::optional<LateEnd> late;     // where the series ends, see PolicyView
    std::uint64_t late_version = 0;  // of the late figures the series was made of
    TimePoint joined{};              // see PolicyView
  };
  /// What a change of the number wanted has set going; cooldowns begin at its end.
  struct Activity {
    bool open = false;
    bool cut_short = false;      // its launches failed, and go on being tried
    std::uint64_t failures = 0;  // failed launches before it
    std::optional<TimePoint> finished;
  };
  struct CpuFigure {
    double ratio = 0;
    TimePoint at{};
    Duration span{};
  };
  struct CpuPast {  // of one instance, from one source
    CpuFigure newest;
    std::vector<CpuFigure> late;  // those with a span, oldest first; of the last kLatePast
    [[nodiscard]] const CpuFigure* covering(TimePoint at) const;  // nullptr: none in `late` does
  };
  struct Attempt {  // one launch call
    std::string token;
    std::string zone;
    std::uint64_t decision = 0;
    std::uint32_t number = 0;
    bool fail_over = true;
  };

  // group.cc: the tick
  bool load();
  void restore(const SavedGroup& saved);
  void hold();
  void watch_policies();
  [[nodiscard]] GroupView view() const;
  void decide();
  void act(const Recommendation& advice, const FleetStep& step);
  [[nodiscard]] Batch plan_of(Decision& decision, const FleetStep& step, const std::string& token);
  void carry_out(const FleetStep& step, const std::string& token, std::uint64_t decision);
  void open_activity();
  void track_activity();
  void publish();
  void publish_saved();
  void keep_served();
  [[nodiscard]] bool paused() const;

  // group_record.cc: history and plan
  [[nodiscard]] Decision make_decision(std::string_view kind, std::string sentence, bool acted);
  [[nodiscard]] Intent make_intent(IntentKind kind, std::uint64_t decision) const;
  [[nodiscard]] GroupState make_state() const;
  void note_quiet(std::string_view kind, const std::string& sentence);
  void take_events();
  void note_call(std::string_view kind, const std::string& sentence);
  void note_adopted(const FleetEvent& event);
  void settle(const std::string& key, IntentState state, const std::string& outcome,
              const std::string& instance);
  void set_outcome(std::uint64_t decision, const std::string& outcome);
  bool commit(const Batch& action);
  [[nodiscard]] DecisionInputs inputs() const;

  // group_signals.cc
  void hear_demand();
  void feed_signals();
  void feed(Watched& watched);
  void keep_late(CpuPast& past, const CpuFigure& figure);
  void feed_late(Watched& watched, const std::vector<const Instance*>& counted);
  [[nodiscard]] bool is_late(const Watched& watched,
                             const std::vector<const Instance*>& counted) const;
  [[nodiscard]] const CpuPast* cpu_past(const std::string& instance) const;
  [[nodiscard]] std::optional<double> cpu_of(const std::string& instance) const;
  struct Figure {
    double value = 0;
    bool complete = true;
  };
  [[nodiscard]] std::optional<Figure> measure(const config::Policy& policy,
                                              const std::vector<const Instance*>& counted) const;
  [[nodiscard]] std::optional<double> figure_of(config::Signal signal,
                                                const std::string& instance) const;
  [[nodiscard]] double mean_latency(const std::vector<const Instance*>& counted) const;
  [[nodiscard]] const InstanceDemand* demand_of(const std::string& instance) const;
  [[nodiscard]] bool wants_cpu() const;

  // group_calls.cc
  void start_calls();
  Task<> start_provider();
  Task<> describe();
  Task<> read_cpu();
  Task<> launch(Attempt attempt);
  Task<> terminate(std::string instance, std::uint64_t decision);
  [[nodiscard]] std::optional<Attempt> next_attempt(const Attempt& failed);
  void call_failed(std::string_view call, const CallFailure& failure);

  ScalerParts& parts_;
  std::uint64_t& last_decision_;
  config::ScalingGroup config_;
  std::unique_ptr<Provider> provider_;
  Fleet fleet_;
  std::vector<Watched> watched_;
  std::vector<InstanceDemand> demand_;
  std::uint64_t unserved_ = 0;
  TimePoint last_request_{};
  std::map<std::string, std::map<config::CpuSource, CpuPast>> cpu_;
  std::uint64_t late_version_ = 0;  // counts the late figures that came
  std::vector<Verdict> verdicts_;
  TaskGroup calls_;

  bool loaded_ = false;
  bool started_ = false;
  bool stopped_ = false;
  bool starting_ = false;
  bool describing_ = false;
  bool reading_cpu_ = false;
  TimePoint start_next_{};
  TimePoint describe_next_{};
  TimePoint cpu_next_{};
  std::uint32_t start_failures_ = 0;
  std::uint32_t describe_failures_ = 0;

  Activity activity_;
  std::optional<TimePoint> paused_until_;
  std::size_t counted_last_ = 0;
  TimePoint counted_changed_{};

  std::map<std::string, Intent> live_;        // by key
  std::map<std::uint64_t, Decision> recent_;  // acted, outcome still to come
  std::optional<Decision> quiet_;             // the coalesced row of non-decisions
  TimePoint quiet_saved_{};
  Batch unsaved_;
  std::map<std::string, TimePoint> noted_calls_;  // sentences of failed and repeated calls
  std::string provider_error_;
  std::string store_error_;
  GroupStatus totals_;  // kind, sentence, decision and the counters
  std::vector<InstanceTarget> published_;
  bool published_once_ = false;
  std::vector<ServedInstance> served_;  // as on disk, or about to be
};

}  // namespace lbd::scaler
