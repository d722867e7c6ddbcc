// What a group writes down: plan, history, status.
#include <fmt/format.h>

#include <algorithm>

#include "scaler/group.h"

namespace lbd::scaler {
namespace {

constexpr Duration kQuietSavedEvery = std::chrono::minutes(1);
constexpr std::size_t kUnsavedMax = 10'000;

}  // namespace

DecisionInputs Group::inputs() const {
  const FleetCounts counts = fleet_.count();
  DecisionInputs made;
  made.counted = static_cast<std::uint32_t>(counted_last_);
  made.alive = counts.alive;
  made.desired = fleet_.desired();
  made.min = config_.min;
  made.max = config_.max;
  for (const Verdict& each : verdicts_) {
    made.signals.push_back(
        {each.policy, std::string(signal_name(each.signal)), each.value, each.threshold});
  }
  return made;
}

Decision Group::make_decision(std::string_view kind, std::string sentence, bool acted) {
  Decision made;
  made.id = ++last_decision_;
  made.group = config_.name;
  made.acted = acted;
  made.kind = kind;
  made.sentence = std::move(sentence);
  made.inputs = inputs();
  made.first = parts_.clock.wall();
  made.last = made.first;
  if (acted) {
    parts_.log.info(made.sentence, {{"group", config_.name}, {"kind", made.kind}});
    ++totals_.decided.decisions[{made.kind, true}];
    totals_.kind = made.kind;
    totals_.sentence = made.sentence;
    totals_.decision = made.id;
  }
  return made;
}

Intent Group::make_intent(IntentKind kind, std::uint64_t decision) const {
  Intent made;
  made.kind = kind;
  made.group = config_.name;
  made.decision = decision;
  made.created = parts_.clock.wall();
  made.updated = made.created;
  return made;
}

GroupState Group::make_state() const {
  const TimePoint now = parts_.clock.now();
  const WallTime wall = parts_.clock.wall();
  const auto wall_at = [&](const std::optional<TimePoint>& at) -> std::optional<WallTime> {
    if (!at) return std::nullopt;
    return std::chrono::time_point_cast<WallTime::duration>(wall + (*at - now));
  };
  const auto finished = activity_.open ? std::nullopt : wall_at(activity_.finished);
  return {config_.name, fleet_.desired(), finished, wall_at(paused_until_)};
}

/// Non-decisions of one kind in a row share a row; it is written when it begins, each minute, and
/// when it ends.
void Group::note_quiet(std::string_view kind, const std::string& sentence) {
  const TimePoint now = parts_.clock.now();
  ++totals_.decided.decisions[{std::string(kind), false}];
  if (quiet_ && quiet_->kind == kind) {
    ++quiet_->repeats;
    quiet_->last = parts_.clock.wall();
    quiet_->sentence = sentence;
    if (now - quiet_saved_ >= kQuietSavedEvery) {
      quiet_->inputs = inputs();
      unsaved_.decisions.push_back(*quiet_);
      quiet_saved_ = now;
    }
  } else {
    if (quiet_ && quiet_->repeats > 1) unsaved_.decisions.push_back(*quiet_);
    quiet_ = make_decision(kind, sentence, false);
    unsaved_.decisions.push_back(*quiet_);
    quiet_saved_ = now;
  }
  totals_.kind = kind;
  totals_.sentence = sentence;
  totals_.decision = quiet_->id;
}

void Group::settle(const std::string& key, IntentState state, const std::string& outcome,
                   const std::string& instance) {
  const auto found = live_.find(key);
  if (found == live_.end()) return;
  Intent& intent = found->second;
  intent.state = state;
  intent.outcome = outcome;
  intent.updated = parts_.clock.wall();
  if (!instance.empty()) intent.instance = instance;
  unsaved_.intents.push_back(intent);
  const Intent settled = intent;
  if (!settled.live()) live_.erase(found);
  if (settled.open() || state == IntentState::ended) return;
  set_outcome(settled.decision,
              instance.empty() ? outcome : fmt::format("{}: {}", instance, outcome));
}

/// An adopted instance's launch, of which no plan of ours knew (a lost state directory).
void Group::note_adopted(const FleetEvent& event) {
  if (event.token.empty() || live_.contains("launch:" + event.token)) return;
  Intent intent = make_intent(IntentKind::launch, last_decision_);
  intent.state = IntentState::acked;
  intent.token = event.token;
  intent.zone = event.zone;
  intent.instance = event.instance;
  intent.outcome = event.sentence;
  live_[intent.key()] = intent;
  unsaved_.intents.push_back(std::move(intent));
}

void Group::set_outcome(std::uint64_t decision, const std::string& outcome) {
  const auto found = recent_.find(decision);
  if (found == recent_.end()) return;
  Decision& row = found->second;
  if (!row.outcome.empty()) row.outcome += "; ";
  row.outcome += outcome;
  row.last = parts_.clock.wall();
  unsaved_.decisions.push_back(row);
}

/// A row for what went wrong at the provider; the same sentence once a minute at most.
void Group::note_call(std::string_view kind, const std::string& sentence) {
  const TimePoint now = parts_.clock.now();
  std::erase_if(noted_calls_,
                [now](const auto& each) { return now - each.second >= kQuietSavedEvery; });
  if (!noted_calls_.try_emplace(sentence, now).second) return;
  unsaved_.decisions.push_back(make_decision(kind, sentence, false));
}

void Group::take_events() {
  for (const std::string& each : provider_->take_remarks()) note_call("call_repeated", each);
  for (const FleetEvent& each : fleet_.take_events()) {
    if (each.kind == "launch_settled") {
      settle("launch:" + each.token, each.launch_intent, each.sentence, each.instance);
      if (each.launch_intent == IntentState::acked) ++totals_.launches;
      continue;
    }
    const bool gone = each.kind == "terminated" || each.kind == "ended" || each.kind == "lost" ||
                      each.kind == "launch_failed";
    if (gone) {
      settle("drain:" + each.instance, IntentState::acked, each.sentence, {});
      settle("terminate:" + each.instance, IntentState::acked, each.sentence, {});
      settle("launch:" + each.token, IntentState::ended, each.sentence, {});
      cpu_.erase(each.instance);
    }
    if (each.kind == "adopted") note_adopted(each);
    if (each.kind == "terminated") ++totals_.terminations;
    unsaved_.decisions.push_back(make_decision(each.kind, each.sentence, false));
    parts_.log.info(each.sentence, {{"group", config_.name}, {"kind", std::string(each.kind)}});
  }
}

/// Writes what has gathered together with `action`, in one transaction. False: nothing of `action`
/// is written and it must not be done.
bool Group::commit(const Batch& action) {
  Batch batch = unsaved_;
  batch.decisions.insert(batch.decisions.end(), action.decisions.begin(), action.decisions.end());
  batch.intents.insert(batch.intents.end(), action.intents.begin(), action.intents.end());
  batch.groups.insert(batch.groups.end(), action.groups.begin(), action.groups.end());
  batch.served.insert(batch.served.end(), action.served.begin(), action.served.end());
  if (batch.empty()) return true;
  Outcome<void> saved = parts_.store.save(batch);
  if (saved) {
    unsaved_ = {};
    store_error_.clear();
    return true;
  }
  if (store_error_.empty()) {
    parts_.log.error("the scaler's plan cannot be written; nothing is launched or ended",
                     {{"group", config_.name}, {"reason", saved.error().message}});
  }
  store_error_ = saved.error().message;
  if (unsaved_.decisions.size() > kUnsavedMax) unsaved_.decisions.clear();
  return false;
}

GroupStatus Group::status() const {
  const TimePoint now = parts_.clock.now();
  GroupStatus made = totals_;
  made.name = config_.name;
  made.desired = fleet_.desired();
  made.min = config_.min;
  made.max = config_.max;
  made.counts = fleet_.count();
  made.provider_error = provider_error_;
  made.store_error = store_error_;
  made.fleet = fleet_.measures();
  made.paused = paused();
  if (made.paused) made.paused_for = *paused_until_ - now;
  for (const Instance& each : fleet_.instances()) {
    const InstanceDemand* demand = demand_of(each.id);
    InstanceStatus row{each.id,
                       each.token,
                       each.zone,
                       each.address,
                       each.port,
                       each.state,
                       now - each.since,
                       each.reason,
                       each.health,
                       each.health_reason,
                       each.unhealthy,
                       each.in_flight,
                       demand == nullptr ? 0 : demand->requests_per_second,
                       cpu_of(each.id)};
    made.instances.push_back(std::move(row));
  }
  for (const Watched& each : watched_) {
    SignalStatus row;
    row.policy = each.policy.name;
    row.signal = each.policy.signal;
    row.value = each.series.latest(each.late ? each.late->at : now);
    row.age = each.series.age(now);
    row.threshold = each.policy.kind == config::PolicyKind::target_tracking ? each.policy.target
                                                                            : each.policy.threshold;
    for (const Verdict& verdict : verdicts_) {
      if (verdict.policy != row.policy) continue;
      row.direction = verdict.direction;
      row.want = verdict.want;
    }
    made.signals.push_back(std::move(row));
  }
  for (const ZoneBreaker& each : fleet_.zones()) {
    ZoneStatus row{each.zone, 0, each.open(now), {}, each.reason};
    if (row.closed) row.closed_for = each.open_until - now;
    for (const InstanceStatus& instance : made.instances) {
      const bool counts = instance.zone == each.zone && instance.unhealthy.empty() &&
                          instance.state < InstanceState::draining;
      if (counts) ++row.instances;
    }
    made.zones.push_back(std::move(row));
  }
  return made;
}

}  // namespace lbd::scaler
