// The scaler's memory across restarts: the plan (intents), each group's wishes, and the history of
// decisions. A seam, so that the simulation can crash it between any two writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lbd/base/clock.h"
#include "lbd/base/result.h"
#include "scaler/plan.h"

namespace lbd::scaler {

/// One figure a decision was made on.
struct SignalInput {
  std::string policy;
  std::string signal;
  std::optional<double> value;  // cpu as a ratio, latency in seconds; absent: no data
  double threshold = 0;
};

struct DecisionInputs {
  std::uint32_t counted = 0;  // instances whose figures count
  std::uint32_t alive = 0;    // at the provider, as far as known
  std::uint32_t desired = 0;  // before the decision
  std::uint32_t min = 0;
  std::uint32_t max = 0;
  std::vector<SignalInput> signals;
};

/// One row of history: something done, something that happened, or (coalesced) why nothing was.
struct Decision {
  std::uint64_t id = 0;
  std::string group;
  bool acted = false;
  std::string kind;  // scale_out, launch, drain, terminate, lost, at_max, guard, steady, …
  std::string sentence;
  std::string outcome;  // what came of it; empty while open
  DecisionInputs inputs;
  WallTime first{};
  WallTime last{};
  std::uint64_t repeats = 1;  // ticks in a row with this kind, for what was not done
};

struct GroupState {
  std::string group;
  std::uint32_t desired = 0;
  std::optional<WallTime> activity_finished;  // absent: it goes on, or there was none yet
  std::optional<WallTime> paused_until;
};

/// An instance in service and where it is: what a start can offer the balancer, behind health
/// checks, until the provider has answered.
struct ServedInstance {
  std::string instance;
  std::string zone;
  std::string address;
  std::uint16_t port = 0;  // 0: the target group's
  friend bool operator==(const ServedInstance&, const ServedInstance&) = default;
};

struct ServedList {
  std::string group;
  std::vector<ServedInstance> instances;
};

/// Written all or nothing.
struct Batch {
  std::vector<Decision> decisions;  // replaces the row of the same id
  std::vector<Intent> intents;      // replaces the row of the same key
  std::vector<GroupState> groups;
  std::vector<ServedList> served;  // replaces the whole list of the group

  [[nodiscard]] bool empty() const noexcept {
    return decisions.empty() && intents.empty() && groups.empty() && served.empty();
  }
};

struct SavedGroup {
  std::optional<GroupState> state;
  std::vector<Intent> live;  // Intent::live
  std::vector<ServedInstance> served;
};

struct HistoryQuery {
  std::string group;            // empty: all
  std::uint64_t before_id = 0;  // 0: from the newest
  std::uint32_t rows_max = 100;
  bool acted_only = false;
};

/// Thread: the control loop. `save` returns when the batch is durable (one fsync).
class Store {
 public:
  virtual ~Store() = default;
  /// Random, made with the store: part of every client token, so that a store started anew never
  /// repeats one.
  [[nodiscard]] virtual const std::string& identity() const = 0;
  [[nodiscard]] virtual std::uint64_t last_decision() const = 0;
  [[nodiscard]] virtual Outcome<SavedGroup> load(const std::string& group) = 0;
  [[nodiscard]] virtual Outcome<void> save(const Batch& batch) = 0;
  /// Newest first.
  [[nodiscard]] virtual Outcome<std::vector<Decision>> decisions(const HistoryQuery& query) = 0;
  [[nodiscard]] virtual Outcome<std::optional<Decision>> decision(std::uint64_t id) = 0;
  [[nodiscard]] virtual Outcome<std::optional<Intent>> intent(const std::string& key) = 0;
  /// Drops history and intents no longer live, last touched before `oldest`, and the oldest rows
  /// over `rows_max`. The newest row always stays: its id keeps tokens from repeating.
  [[nodiscard]] virtual Outcome<void> prune(WallTime oldest, std::uint64_t rows_max) = 0;
};

}  // namespace lbd::scaler
