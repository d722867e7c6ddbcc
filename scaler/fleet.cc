// Inputs of the fleet: what the provider, the health checks and the clock say.
#include "scaler/fleet.h"

#include <fmt/format.h>

#include <algorithm>

namespace lbd::scaler {
namespace {

/// Somebody asked EC2 for it (the API's stateReason codes): says nothing about the zone.
bool ended_through_the_api(const ReportedInstance& report) {
  return report.state_reason.starts_with("Client.UserInitiatedShutdown");
}

bool ended_by_admin(const ReportedInstance& report) {
  return ended_through_the_api(report) ||
         report.state_reason.starts_with("Client.InstanceInitiatedShutdown");
}

using std::chrono::minutes;
using std::chrono::seconds;

constexpr Duration kGoneRemembered = minutes(30);

bool alive(ReportedState state) {
  return state == ReportedState::pending || state == ReportedState::running;
}

LaunchHold hold_for(CallError error, const FleetTimings& timings) {
  switch (error) {
    case CallError::account_limit:
      return timings.account_hold;
    case CallError::throttled:
      return timings.throttled_hold;
    default:
      return timings.admin_hold;
  }
}

}  // namespace

std::string_view state_name(InstanceState state) {
  switch (state) {
    case InstanceState::launching:
      return "launching";
    case InstanceState::pending:
      return "pending";
    case InstanceState::warming:
      return "warming";
    case InstanceState::in_service:
      return "in_service";
    case InstanceState::draining:
      return "draining";
    case InstanceState::terminating:
      return "terminating";
    case InstanceState::lost:
      return "lost";
  }
  return "?";
}

Fleet::Fleet(const config::ScalingGroup& group, FleetTimings timings)
    : group_(group), timings_(timings) {}

void Fleet::configure(const config::ScalingGroup& group) { group_ = group; }

void Fleet::set_zones(const std::vector<std::string>& zones) {
  std::vector<ZoneBreaker> next;
  for (const std::string& zone : zones) {
    const auto known = std::find_if(zones_.begin(), zones_.end(),
                                    [&](const ZoneBreaker& each) { return each.zone == zone; });
    if (known != zones_.end()) {
      next.push_back(*known);
    } else {
      ZoneBreaker fresh;
      fresh.zone = zone;
      next.push_back(std::move(fresh));
    }
  }
  zones_ = std::move(next);
}

Instance* Fleet::edit(std::string_view id) {
  if (id.empty()) return nullptr;
  for (Instance& each : instances_) {
    if (each.id == id) return &each;
  }
  return nullptr;
}

const Instance* Fleet::find(std::string_view id) const {
  return const_cast<Fleet*>(this)->edit(id);
}

Instance* Fleet::edit_token(std::string_view token) {
  if (token.empty()) return nullptr;
  for (Instance& each : instances_) {
    if (each.token == token && each.state != InstanceState::lost) return &each;
  }
  return nullptr;
}

void Fleet::enter(Instance& instance, InstanceState state, TimePoint now, std::string reason) {
  instance.state = state;
  instance.since = now;
  instance.reason = std::move(reason);
}

void Fleet::event(std::string_view kind, const Instance& instance, std::string sentence) {
  FleetEvent made;
  made.kind = kind;
  made.instance = instance.id;
  made.token = instance.token;
  made.zone = instance.zone;
  made.sentence = std::move(sentence);
  events_.push_back(std::move(made));
}

void Fleet::settle_launch(const Instance& instance, IntentState outcome) {
  if (instance.token.empty()) return;
  FleetEvent made;
  made.kind = "launch_settled";
  made.instance = instance.id;
  made.token = instance.token;
  made.launch_intent = outcome;
  made.sentence = instance.reason;
  events_.push_back(std::move(made));
}

void Fleet::launch_failed(const Instance& instance, std::string_view reason) {
  ++measures_.launch_failures[{instance.zone, std::string(reason)}];
}

void Fleet::time(PhaseHistogram& phase, const Instance& instance, TimePoint now) {
  if (instance.asked) phase.record(now - *instance.asked);
}

std::vector<FleetEvent> Fleet::take_events() { return std::exchange(events_, {}); }

void Fleet::restore(const std::vector<Intent>& live, TimePoint now) {
  restored_at_ = now;
  for (const Intent& intent : live) {
    if (intent.kind == IntentKind::launch || !intent.open()) continue;
    IntentKind& kind = restored_.try_emplace(intent.instance, intent.kind).first->second;
    if (intent.kind == IntentKind::terminate) kind = IntentKind::terminate;
  }
  for (const Intent& intent : live) {
    if (intent.kind != IntentKind::launch) continue;
    launch_started(intent.token, intent.zone, now);
    Instance& instance = instances_.back();
    instance.in_call = false;
    instance.answered = now;
    instance.asked.reset();
    if (intent.open()) {
      instance.unsure = true;
      instance.reason = "asked for before a restart; looking whether it happened";
      continue;
    }
    instance.id = intent.instance;
    instance.launched = intent.created;
    instance.adopted = true;
    instance.seen = true;
    enter(instance, InstanceState::pending, now, "launched before a restart");
    resume_ending(instance, now);
  }
}

/// Goes on with the drain or termination an earlier life had begun.
void Fleet::resume_ending(Instance& instance, TimePoint now) {
  const auto earlier = restored_.find(instance.id);
  if (earlier == restored_.end()) return;
  if (earlier->second == IntentKind::terminate) {
    enter(instance, InstanceState::terminating, now, "was being terminated before a restart");
    return;
  }
  enter(instance, InstanceState::draining, now, "was draining before a restart");
  instance.drain_until = now + Duration(group_.drain_deadline);
}

void Fleet::launch_started(const std::string& token, const std::string& zone, TimePoint now) {
  Instance* known = edit_token(token);
  if (known == nullptr) {
    instances_.emplace_back();
    known = &instances_.back();
    known->token = token;
    known->zone = zone;
    known->born = now;
    known->asked = now;
    last_launch_ = now;
    enter(*known, InstanceState::launching, now, "asked for");
  }
  known->in_call = true;
  known->looks = 0;
}

void Fleet::launch_answered(const std::string& token, const LaunchReply& reply, TimePoint now) {
  Instance* instance = edit_token(token);
  if (instance == nullptr) return;
  instance->in_call = false;
  instance->answered = now;
  if (instance->state != InstanceState::launching) return;  // describe was faster
  if (!reply.failure) {
    instance->unsure = false;
    instance->born = now;
    instance->id = reply.instance.id;
    instance->address = reply.instance.address;
    instance->port = reply.instance.port;
    instance->launched = reply.instance.launched;
    instance->reported = ReportedState::pending;
    holds_ = 0;
    enter(*instance, InstanceState::pending, now, "launched");
    time(measures_.launch.api, *instance, now);
    settle_launch(*instance, IntentState::acked);
    return;
  }
  const CallFailure& failure = *reply.failure;
  instance->reason = fmt::format("{}: {}", failure.code, failure.message);
  if (failure.error == CallError::unknown || failure.error == CallError::transient) {
    instance->unsure = true;
    settle_launch(*instance, IntentState::sent);
    return;
  }
  if (failure.error == CallError::capacity) {
    if (!failure.zone_has_room) trip(instance->zone, now, instance->reason);
  } else {
    const LaunchHold hold = hold_for(failure.error, timings_);
    launches_held_until_ =
        now + std::min(hold.least * (std::int64_t{1} << std::min(holds_, 16u)), hold.most);
    ++holds_;
    hold_reason_ = instance->reason;
    hold_word_ = failure.error == CallError::account_limit ? "quota" : "held";
  }
  settle_launch(*instance, IntentState::failed);
  launch_failed(*instance, call_error_name(failure.error));
  instances_.erase(instances_.begin() + (instance - instances_.data()));
}

void Fleet::terminate_started(const std::string& id, TimePoint now) {
  Instance* instance = edit(id);
  if (instance == nullptr) return;
  if (instance->state == InstanceState::draining) measures_.drain.record(now - instance->since);
  if (instance->state != InstanceState::terminating) {
    std::string why = instance->unhealthy.empty() ? instance->reason : instance->unhealthy;
    enter(*instance, InstanceState::terminating, now, std::move(why));
  }
  instance->in_call = true;
  instance->terminate_confirmed = false;
  ++instance->calls;
}

void Fleet::terminate_answered(const std::string& id, const TerminateReply& reply, TimePoint now) {
  Instance* instance = edit(id);
  if (instance == nullptr) return;
  instance->in_call = false;
  instance->answered = now;
  if (!reply.failure) {
    instance->terminate_confirmed = true;
    return;
  }
  // Right after a launch "not found" only means "not visible yet".
  const bool old = instance->seen || now - instance->born >= timings_.visibility;
  if (reply.failure->error == CallError::not_found && old) instance->terminate_confirmed = true;
  instance->reason = fmt::format("{}: {}", reply.failure->code, reply.failure->message);
}

void Fleet::observe(const Observation& seen) {
  observed_ = true;
  asked_at_ = std::max(asked_at_, seen.asked_at);
  for (const ReportedInstance& report : seen.instances) see(report, seen);
  look_for_missing(seen);
  settle_restored(seen);
  for (Instance& instance : instances_) {
    if (instance.state == InstanceState::launching && instance.unsure && !instance.in_call &&
        seen.asked_at >= instance.answered + timings_.visibility) {
      ++instance.looks;
    }
  }
  drop_gone(seen.now);
}

/// What an earlier life was ending and nobody reports any more has ended.
void Fleet::settle_restored(const Observation& seen) {
  if (restored_.empty() || seen.asked_at < restored_at_ + timings_.visibility) return;
  for (const auto& [id, kind] : std::exchange(restored_, {})) {
    if (find(id) != nullptr) continue;
    FleetEvent made;
    made.kind = "terminated";
    made.instance = id;
    made.sentence = fmt::format("instance {} ended while lbd was away", id);
    events_.push_back(std::move(made));
  }
}

void Fleet::see(const ReportedInstance& report, const Observation& seen) {
  Instance* instance = edit(report.id);
  if (instance == nullptr) {
    Instance* asked = edit_token(report.client_token);
    if (asked != nullptr && asked->state == InstanceState::launching) {
      asked->id = report.id;
      asked->born = seen.now;
      asked->unsure = false;
      asked->launched = report.launched;
      if (!asked->in_call) asked->answered = seen.now;
      enter(*asked, InstanceState::pending, seen.now, "launched; found by its token");
      if (alive(report.state)) settle_launch(*asked, IntentState::acked);
      instance = asked;
    }
  }
  if (instance != nullptr) return update(*instance, report, seen);
  if (alive(report.state) && !gone_.contains(report.id)) adopt(report, seen);
}

void Fleet::adopt(const ReportedInstance& report, const Observation& seen) {
  const bool twin = edit_token(report.client_token) != nullptr;
  Instance instance;
  instance.id = report.id;
  instance.token = twin ? std::string() : report.client_token;
  instance.zone = report.zone;
  instance.born = seen.now;
  instance.launched = report.launched;
  instance.seen = true;
  instance.adopted = true;
  if (twin) {
    enter(instance, InstanceState::terminating, seen.now, "a second instance of one launch");
  } else {
    enter(instance, InstanceState::pending, seen.now, "adopted: it carries our tag");
    resume_ending(instance, seen.now);
  }
  instances_.push_back(std::move(instance));
  Instance& added = instances_.back();
  event(
      "adopted", added,
      fmt::format("found instance {} of ours in zone {}: {}", added.id, added.zone, added.reason));
  update(added, report, seen);
}

void Fleet::update(Instance& instance, const ReportedInstance& report, const Observation& seen) {
  instance.missing = 0;
  instance.seen = true;
  instance.seen_at = seen.now;
  if (!report.address.empty()) instance.address = report.address;
  if (report.port != 0) instance.port = report.port;
  if (!report.zone.empty()) instance.zone = report.zone;
  // A report from before our last answer must not turn time back.
  if (alive(report.state) || instance.reported != ReportedState::terminated) {
    instance.reported = report.state;
  }
  if (instance.state == InstanceState::lost && alive(report.state)) {
    enter(instance, InstanceState::pending, seen.now, "found again");
    instance.adopted = true;
    event("adopted", instance, fmt::format("instance {} is visible again", instance.id));
  }
  if (report.status_impaired && report.state == ReportedState::running) {
    if (!instance.impaired_since) instance.impaired_since = seen.now;
  } else {
    instance.impaired_since.reset();
  }
  switch (report.state) {
    case ReportedState::pending:
      break;
    case ReportedState::running:
      runs(instance, seen);
      break;
    case ReportedState::stopping:
      if (instance.state != InstanceState::terminating) {
        const std::string zone = instance.zone;
        enter(instance, InstanceState::terminating, seen.now,
              fmt::format("ended by another hand: {}", report.state_reason));
        event("ended", instance,
              fmt::format("instance {} in zone {} is stopping and we did not ask for it: {}",
                          instance.id, zone, report.state_reason));
        if (!ended_by_admin(report)) check_zone(zone, seen.now);
      }
      instance.terminate_confirmed = true;
      break;
    case ReportedState::terminated:
      ended(instance, report, seen.now);
      break;
  }
}

void Fleet::runs(Instance& instance, const Observation& seen) {
  if (!instance.running_since) {
    instance.running_since = seen.now;
    time(measures_.launch.boot, instance, seen.now);
    if (instance.state == InstanceState::draining) {
      // Begun by an earlier life; the balancer hears of it only now that we know its address.
      instance.since = seen.now;
      instance.drain_until = seen.now + Duration(group_.drain_deadline);
    }
  }
  if (instance.terminate_confirmed && !instance.in_call && instance.calls > 0 &&
      seen.asked_at - instance.answered >= 6 * timings_.terminate_again) {
    instance.terminate_confirmed = false;  // accepted long ago and still running: ask again
  }
}

void Fleet::ended(Instance& instance, const ReportedInstance& report, TimePoint now) {
  const bool asked = instance.state == InstanceState::terminating;
  const bool served = instance.serving_since.has_value();
  const std::string zone = instance.zone;
  gone_[instance.id] = now;
  if (asked || instance.state == InstanceState::lost) {
    event("terminated", instance,
          fmt::format("instance {} in zone {} has ended", instance.id, zone));
  } else if (!served && instance.state == InstanceState::pending) {
    settle_launch(instance, IntentState::failed);
    if (instance.adopted) {  // launched by an earlier life, in which it may well have served
      event("ended", instance,
            fmt::format("instance {} in zone {} ended while lbd was away: {}", instance.id, zone,
                        report.state_reason));
      instance.state = InstanceState::lost;
      instance.reported = ReportedState::terminated;
      return;
    }
    instance.reason = fmt::format("never came into service: {}", report.state_reason);
    launch_failed(instance, "ended");
    event("launch_failed", instance,
          fmt::format("instance {} in zone {} ended before it came into service: {}", instance.id,
                      zone, report.state_reason));
    // One that shuts itself down before it serves may do so for ever; an admin does it once.
    if (!ended_through_the_api(report)) trip(zone, now, instance.reason);
  } else {
    event("ended", instance,
          fmt::format("instance {} in zone {} ended by itself: {}", instance.id, zone,
                      report.state_reason));
  }
  instance.state = InstanceState::lost;
  instance.reported = ReportedState::terminated;
  if (!asked && served && !ended_by_admin(report)) check_zone(zone, now);
}

void Fleet::look_for_missing(const Observation& seen) {
  for (Instance& instance : instances_) {
    if (instance.id.empty() || instance.in_call || instance.state == InstanceState::lost) continue;
    const bool reported =
        std::any_of(seen.instances.begin(), seen.instances.end(),
                    [&](const ReportedInstance& report) { return report.id == instance.id; });
    if (!reported) missed(instance, seen);
  }
}

/// A report without it; too many of them mean that it is gone.
void Fleet::missed(Instance& instance, const Observation& seen) {
  if (seen.asked_at < std::max(instance.answered, instance.born)) return;
  // Launched just before a restart it may not be visible yet.
  if (instance.adopted && seen.asked_at < restored_at_ + timings_.visibility) return;
  ++instance.missing;
  const bool lately = instance.seen && seen.asked_at < instance.seen_at + timings_.visibility;
  if (instance.missing < timings_.missing_max || lately) return;
  if (instance.state == InstanceState::terminating) {
    const bool invisible_still = !instance.seen && seen.now - instance.born < timings_.visibility;
    if (invisible_still || (!instance.seen && !instance.terminate_confirmed)) return;
    gone_[instance.id] = seen.now;
    event("terminated", instance,
          fmt::format("instance {} in zone {} has ended", instance.id, instance.zone));
    instance.reported = ReportedState::terminated;
    instance.state = InstanceState::lost;
  } else if (instance.seen) {
    const bool served = instance.serving_since.has_value();
    enter(instance, InstanceState::lost, seen.now, "the provider no longer reports it");
    event("lost", instance,
          fmt::format("instance {} in zone {} is lost: missing from {} reports in a row",
                      instance.id, instance.zone, instance.missing));
    if (served) check_zone(instance.zone, seen.now);
  } else if (instance.missing == timings_.missing_max) {
    event("not_visible", instance,
          fmt::format("instance {} in zone {} was launched but is in none of {} reports yet",
                      instance.id, instance.zone, instance.missing));
  }
}

void Fleet::drop_gone(TimePoint now) {
  std::erase_if(instances_, [&](const Instance& each) {
    if (each.state != InstanceState::lost) return false;
    return each.reported == ReportedState::terminated || now - each.since >= timings_.lost_shown;
  });
  std::erase_if(gone_, [&](const auto& each) { return now - each.second >= kGoneRemembered; });
}

}  // namespace lbd::scaler
