#include "scaler/group.h"

#include <fmt/format.h>

#include <algorithm>

namespace lbd::scaler {
namespace {

using std::chrono::seconds;

constexpr Duration kLateMax = std::chrono::minutes(10);  // CloudWatch: see fresh_for

Duration warm_up_of(const config::Policy& policy, const config::ScalingGroup& group) {
  return policy.warm_up ? Duration(*policy.warm_up) : Duration(group.warm_up);
}

FleetTimings timings_for(FleetTimings timings, const Provider& provider) {
  timings.visibility = provider.visibility_delay();
  return timings;
}

}  // namespace

Group::Group(ScalerParts& parts, std::uint64_t& last_decision, const config::ScalingGroup& config)
    : parts_(parts),
      last_decision_(last_decision),
      config_(config),
      provider_(parts.make_provider(config)),
      fleet_(config, timings_for(parts.timings, *provider_)) {
  watch_policies();
}

void Group::configure(const config::ScalingGroup& config) {
  config_ = config;
  fleet_.configure(config);
  watch_policies();
  if (!loaded_) return;
  const std::uint32_t desired = fleet_.desired();
  const std::uint32_t bounded =
      std::clamp(desired, config_.min, std::max(config_.min, config_.max));
  if (bounded == desired) return;
  fleet_.set_desired(bounded);
  open_activity();
  Batch batch;
  batch.decisions.push_back(
      make_decision("bounds",
                    fmt::format("desired {} -> {}: the bounds are now {} to {}", desired, bounded,
                                config_.min, config_.max),
                    true));
  batch.groups.push_back(make_state());
  if (!commit(batch)) unsaved_.groups.push_back(make_state());
}

void Group::watch_policies() {
  std::vector<Watched> next;
  for (const config::Policy& policy : config_.policies) {
    // By figures that come late for some, scale-in looks further back than scale-out.
    const bool late = policy.signal == config::Signal::cpu;
    Watched fresh{policy, Series(span_of(policy) + (late ? kLateMax : Duration(0))), 0, {}, 0, {}};
    for (const Watched& old : watched_) {
      if (old.policy.name == policy.name && old.policy.signal == policy.signal &&
          old.policy.statistic == policy.statistic) {
        fresh.series.take_over(old.series);
        fresh.counted = old.counted;
        fresh.late = old.late;
        fresh.late_version = old.late_version;
        fresh.joined = old.joined;
      }
    }
    next.push_back(std::move(fresh));
  }
  watched_ = std::move(next);
}

/// Reads the plan of an earlier life. Without it nothing may be done: it could be done twice.
bool Group::load() {
  Outcome<SavedGroup> saved = parts_.store.load(config_.name);
  if (!saved) {
    if (store_error_ != saved.error().message) {
      parts_.log.error("the scaler's plan cannot be read; nothing is launched or ended",
                       {{"group", config_.name}, {"reason", saved.error().message}});
    }
    store_error_ = saved.error().message;
    return false;
  }
  if (!store_error_.empty()) {
    parts_.log.warning("the scaler's plan can be read again", {{"group", config_.name}});
    fleet_ = Fleet(config_, timings_for(parts_.timings, *provider_));  // seen without the plan
    fleet_.set_zones(provider_->zones());
  }
  store_error_.clear();
  last_decision_ = std::max(last_decision_, parts_.store.last_decision());
  loaded_ = true;
  restore(*saved);
  return true;
}

void Group::restore(const SavedGroup& saved) {
  const TimePoint now = parts_.clock.now();
  const WallTime wall = parts_.clock.wall();
  const std::uint32_t most = std::max(config_.min, config_.max);
  std::uint32_t desired = config_.desired.value_or(config_.min);
  if (saved.state) {
    desired = saved.state->desired;
    if (saved.state->activity_finished) {
      activity_.finished = now - std::max<Duration>(wall - *saved.state->activity_finished, {});
    }
    if (saved.state->paused_until && *saved.state->paused_until > wall) {
      paused_until_ = now + (*saved.state->paused_until - wall);
    }
  }
  fleet_.set_desired(std::clamp(desired, config_.min, most));
  for (const Intent& each : saved.live) live_[each.key()] = each;
  served_ = saved.served;
  publish_saved();
  fleet_.restore(saved.live, now);
  counted_changed_ = now;
  last_request_ = now;
  if (!activity_.finished) open_activity();
}

/// Without the plan nothing may be launched or ended, but what runs can be found and served.
void Group::hold() {
  totals_.kind = "no_plan";
  totals_.sentence = fmt::format("nothing is launched or ended: {}", store_error_);
  start_calls();
  if (!started_) return;
  const TimePoint now = parts_.clock.now();
  hear_demand();
  fleet_.advance(now);
  for (const FleetEvent& each : fleet_.take_events()) {
    if (!each.sentence.empty()) parts_.log.info(each.sentence, {{"group", config_.name}});
  }
  publish();
}

void Group::tick() {
  if (stopped_) return;
  if (!loaded_ && !load()) return hold();
  start_calls();
  if (!started_) {  // why not is worth reading, too
    take_events();
    commit({});
    return;
  }
  const TimePoint now = parts_.clock.now();
  hear_demand();
  fleet_.advance(now);
  feed_signals();
  take_events();
  if (fleet_.observed()) track_activity();
  decide();
  publish();
  if (fleet_.observed()) keep_served();
  commit({});
}

bool Group::paused() const { return paused_until_ && parts_.clock.now() < *paused_until_; }

GroupView Group::view() const {
  const TimePoint now = parts_.clock.now();
  const FleetCounts counts = fleet_.count();
  GroupView view;
  view.now = now;
  view.desired = fleet_.desired();
  view.min = config_.min;
  view.max = config_.max;
  view.present = counts.good + counts.unhealthy;
  view.shrinking = counts.draining + counts.terminating > 0;
  view.activity_open = activity_.open || (activity_.cut_short && counts.coming > 0);
  view.activity_finished = activity_.finished;
  view.changed_at = counted_changed_;
  view.cooldown = Duration(config_.cooldown);
  view.unserved = unserved_;
  view.idle_for = now - last_request_;
  for (const Watched& each : watched_) {
    const Duration warm_up = warm_up_of(each.policy, config_);
    PolicyView policy;
    policy.policy = &each.policy;
    policy.series = &each.series;
    policy.counted = each.counted;
    policy.late = each.late;
    policy.joined = each.joined;
    policy.warming = counts.coming > 0 || each.counted < counts.serving ||
                     (counts.warming > 0 && warm_up > Duration(0));
    view.policies.push_back(policy);
  }
  return view;
}

void Group::decide() {
  totals_.decided.evaluated = parts_.clock.wall();
  if (!fleet_.observed()) {
    return note_quiet("starting", "waiting for the provider's first report");
  }
  if (paused()) {
    const auto left = std::chrono::ceil<seconds>(*paused_until_ - parts_.clock.now()).count();
    return note_quiet("paused", fmt::format("paused for {} s more", left));
  }
  if (!store_error_.empty() && !commit({})) {
    return note_quiet(
        "store", fmt::format("nothing is done while the plan cannot be written: {}", store_error_));
  }
  const GroupView seen = view();
  const Recommendation advice = recommend(seen);
  verdicts_ = advice.verdicts;
  const std::uint32_t before = fleet_.desired();
  fleet_.set_desired(advice.desired);
  const FleetStep step = fleet_.next_step(parts_.clock.now(), spares_one(seen));
  fleet_.set_desired(before);
  if (advice.direction != Direction::none || step.kind != StepKind::none) {
    return act(advice, step);
  }
  // What keeps the fleet from its number says more than what the policies say of the number.
  if (!step.sentence.empty()) return note_quiet(step.word, step.sentence);
  note_quiet(advice.kind, advice.sentence);
}

void Group::act(const Recommendation& advice, const FleetStep& step) {
  const bool resized = advice.direction != Direction::none;
  std::string sentence = resized ? advice.sentence : step.sentence;
  if (resized && !step.sentence.empty()) sentence += "; " + step.sentence;
  Decision decision = make_decision(resized ? advice.kind : step.word, std::move(sentence), true);
  std::string token = step.token;
  if (step.kind == StepKind::launch) {
    token = client_token({parts_.store.identity(), config_.name, decision.id, step.zone, 0});
  }
  const std::uint32_t before = fleet_.desired();
  const Activity activity_before = activity_;
  fleet_.set_desired(advice.desired);
  if (resized) open_activity();
  Batch batch = plan_of(decision, step, token);
  if (resized) batch.groups.push_back(make_state());
  if (!commit(batch)) {
    fleet_.set_desired(before);
    activity_ = activity_before;
    return;
  }
  for (const Intent& each : batch.intents) {
    if (each.live()) {
      live_[each.key()] = each;
    } else {
      live_.erase(each.key());
    }
  }
  recent_[decision.id] = decision;
  while (recent_.size() > 256) recent_.erase(recent_.begin());
  carry_out(step, token, decision.id);
}

/// What must be on disk before the step is taken.
Batch Group::plan_of(Decision& decision, const FleetStep& step, const std::string& token) {
  Batch batch;
  Intent intent;
  switch (step.kind) {
    case StepKind::none:
      break;
    case StepKind::launch:
      intent = make_intent(IntentKind::launch, decision.id);
      intent.token = token;
      intent.zone = step.zone;
      batch.intents.push_back(intent);
      break;
    case StepKind::launch_again:
      break;  // its intent is on disk
    case StepKind::undrain:
      intent = make_intent(IntentKind::drain, decision.id);
      intent.instance = step.instance;
      intent.state = IntentState::abandoned;
      intent.outcome = "taken back";
      batch.intents.push_back(intent);
      decision.outcome = "serving again";
      break;
    case StepKind::drain:
    case StepKind::terminate:
      intent = make_intent(step.kind == StepKind::drain ? IntentKind::drain : IntentKind::terminate,
                           decision.id);
      intent.instance = step.instance;
      intent.zone = step.zone;
      batch.intents.push_back(intent);
      break;
  }
  batch.decisions.push_back(decision);
  return batch;
}

void Group::carry_out(const FleetStep& step, const std::string& token, std::uint64_t decision) {
  const TimePoint now = parts_.clock.now();
  switch (step.kind) {
    case StepKind::none:
      break;
    case StepKind::launch:
    case StepKind::launch_again: {
      const bool fail_over = step.word != "rebalance";
      fleet_.launch_started(token, step.zone, now);
      calls_.spawn(launch(Attempt{token, step.zone, decision, 0, fail_over}));
      break;
    }
    case StepKind::undrain:
      fleet_.undrain(step.instance, now);
      break;
    case StepKind::drain:
      if (step.word == "rebalance") {
        fleet_.start_move(step.instance, now, step.sentence);
      } else {
        fleet_.start_drain(step.instance, now, step.sentence);
      }
      break;
    case StepKind::terminate:
      fleet_.terminate_started(step.instance, now);
      calls_.spawn(terminate(step.instance, decision));
      break;
  }
}

void Group::open_activity() {
  activity_.open = true;
  activity_.cut_short = false;
  activity_.failures = fleet_.measures().failed_launches();
}

/// An activity ends when the fleet is what was wanted; simple policies' cooldowns start then. It
/// ends, too, when nothing is under way any more because a launch failed (a failed activity of EC2
/// Auto Scaling's): or no simple policy could act for as long as there is no capacity. Launches go
/// on being tried; one that succeeds later is what the next cooldown is counted from.
void Group::track_activity() {
  const TimePoint now = parts_.clock.now();
  const std::size_t counted = fleet_.counted(now, Duration(config_.warm_up)).size();
  if (counted != counted_last_) {
    counted_last_ = counted;
    counted_changed_ = now;
  }
  if (!activity_.open && !activity_.cut_short) return;
  const FleetCounts counts = fleet_.count();
  if (counts.coming > 0 || counts.draining > 0 || counts.terminating > 0) return;
  const bool done = counts.good == fleet_.desired();
  const bool failed = activity_.open && fleet_.measures().failed_launches() > activity_.failures;
  if (!done && !failed) return;
  activity_.open = false;
  activity_.cut_short = !done;
  activity_.finished = now;
  unsaved_.groups.push_back(make_state());
}

std::vector<InstanceTarget> Group::targets() const {
  std::vector<InstanceTarget> list;
  for (const Instance& each : fleet_.instances()) {
    if (each.id.empty() || each.address.empty() || each.state == InstanceState::lost) continue;
    if (each.reported == ReportedState::pending || each.reported == ReportedState::terminated) {
      continue;
    }
    const bool ends =
        each.state == InstanceState::draining || each.state == InstanceState::terminating;
    // Ended before it ever was a target: it need not become one now.
    const bool was_target = each.serving_since ||
                            (each.adopted && each.state == InstanceState::draining) ||
                            std::any_of(published_.begin(), published_.end(),
                                        [&](const auto& known) { return known.id == each.id; });
    if (ends && !was_target) continue;
    list.push_back({each.id, each.address, each.port, each.zone,
                    ends ? TargetState::draining : TargetState::serving});
  }
  std::sort(list.begin(), list.end(),
            [](const InstanceTarget& a, const InstanceTarget& b) { return a.id < b.id; });
  return list;
}

/// Instances outlive us and their provider's API: what was in service is offered again before the
/// first report, which may be long in coming. Health checks decide who gets requests.
void Group::publish_saved() {
  if (fleet_.observed() || served_.empty() || !published_.empty()) return;
  for (const ServedInstance& each : served_) {
    published_.push_back({each.instance, each.address, each.port, each.zone, TargetState::serving});
  }
  parts_.publish(config_.name, published_);
}

/// Keeps on disk who is in service and where.
void Group::keep_served() {
  std::vector<ServedInstance> now;
  for (const InstanceTarget& each : published_) {
    const Instance* instance = fleet_.find(each.id);
    // After a restart it has to pass a check first; until then it stays as it was.
    const bool known = std::any_of(served_.begin(), served_.end(),
                                   [&](const auto& before) { return before.instance == each.id; });
    const bool serves = each.state == TargetState::serving && instance != nullptr &&
                        (instance->serving_since || known);
    if (serves) now.push_back({each.id, each.zone, each.address, each.port});
  }
  if (now == served_) return;
  served_ = std::move(now);
  unsaved_.served = {{config_.name, served_}};
}

void Group::publish() {
  if (!fleet_.observed()) return;
  std::vector<InstanceTarget> now = targets();
  if (published_once_ && now == published_) return;
  published_once_ = true;
  published_ = std::move(now);
  parts_.publish(config_.name, published_);
}

Outcome<void> Group::set_desired(std::uint32_t desired, std::string_view by) {
  if (desired < config_.min || desired > config_.max) {
    return failure(fmt::format("ValidationError: desired {} is outside the bounds {} to {} of {}",
                               desired, config_.min, config_.max, config_.name));
  }
  if (!loaded_) return failure("the plan is not loaded yet");
  const std::uint32_t before = fleet_.desired();
  Batch batch;
  batch.decisions.push_back(make_decision(
      "set_desired", fmt::format("desired {} -> {}: set by {}", before, desired, by), true));
  const Activity activity_before = activity_;
  fleet_.set_desired(desired);
  open_activity();
  batch.groups.push_back(make_state());
  if (!commit(batch)) {
    fleet_.set_desired(before);
    activity_ = activity_before;
    return failure(store_error_);
  }
  return {};
}

Outcome<void> Group::pause(Duration span, std::string_view by) {
  const std::optional<TimePoint> before = paused_until_;
  paused_until_.reset();
  if (span > Duration(0)) paused_until_ = parts_.clock.now() + span;
  Batch batch;
  batch.decisions.push_back(make_decision(
      span > Duration(0) ? "pause" : "resume",
      span > Duration(0)
          ? fmt::format("paused for {} s by {}", std::chrono::ceil<seconds>(span).count(), by)
          : fmt::format("resumed by {}", by),
      true));
  batch.groups.push_back(make_state());
  if (!commit(batch)) {
    paused_until_ = before;
    return failure(store_error_);
  }
  return {};
}

}  // namespace lbd::scaler
