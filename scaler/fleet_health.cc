// The fleet's view of who serves: health, deadlines, zones, drains.
#include <fmt/format.h>

#include <algorithm>

#include "scaler/fleet.h"

namespace lbd::scaler {

using std::chrono::seconds;

void Fleet::hear(const std::vector<InstanceDemand>& demand, TimePoint now) {
  for (Instance& instance : instances_) {
    if (instance.id.empty()) continue;
    const auto heard = std::find_if(demand.begin(), demand.end(), [&](const InstanceDemand& each) {
      return each.instance == instance.id;
    });
    if (heard == demand.end()) {
      instance.in_flight = 0;
      instance.drained = true;
      continue;
    }
    instance.health = heard->health;
    instance.health_since = heard->health_since;
    instance.health_reason = heard->health_reason;
    instance.in_flight = heard->in_flight;
    instance.drained = heard->drained;
    const bool first = instance.state == InstanceState::pending &&
                       instance.reported == ReportedState::running && instance.health == Health::up;
    if (first) first_pass(instance, now);
  }
}

void Fleet::first_pass(Instance& instance, TimePoint now) {
  instance.unhealthy.clear();
  // One that ran long before we adopted it is warm already.
  instance.serving_since =
      instance.adopted ? std::min(now, instance.born) - Duration(group_.warm_up) : now;
  enter(instance, InstanceState::warming, now, "passed its first health check");
  time(measures_.launch.first_healthy, instance, now);
  event("in_service", instance,
        fmt::format("instance {} in zone {} is in service", instance.id, instance.zone));
  for (ZoneBreaker& breaker : zones_) {
    if (breaker.zone == instance.zone && !instance.adopted) breaker.close();
  }
}

void Fleet::advance(TimePoint now) {
  for (Instance& instance : instances_) judge(instance, now);
  watch_mass_failure(now);
  std::erase_if(instances_, [](const Instance& each) {
    return each.state == InstanceState::lost && each.id.empty();
  });
  drop_gone(now);
}

void Fleet::judge(Instance& instance, TimePoint now) {
  if (instance.state == InstanceState::launching) return give_up_launch(instance, now);
  const bool serving =
      instance.state == InstanceState::warming || instance.state == InstanceState::in_service;
  if (instance.state != InstanceState::pending && !serving) return;
  if (instance.state == InstanceState::warming &&
      now - *instance.serving_since >= Duration(group_.warm_up)) {
    enter(instance, InstanceState::in_service, now, "warm-up is over");
    time(measures_.launch.in_service, instance, now);
  }
  std::string unhealthy = serving ? serving_fault(instance, now) : pending_fault(instance, now);
  const bool newly = instance.unhealthy.empty() && !unhealthy.empty();
  instance.unhealthy = std::move(unhealthy);
  if (!newly) return;
  if (instance.asked && !instance.serving_since) launch_failed(instance, "never_healthy");
  event("unhealthy", instance,
        fmt::format("instance {} in zone {} must be replaced: {}", instance.id, instance.zone,
                    instance.unhealthy));
  if (instance.serving_since) check_zone(instance.zone, now);
}

void Fleet::give_up_launch(Instance& instance, TimePoint now) {
  if (instance.in_call || instance.looks < timings_.missing_max) return;
  if (asked_at_ < instance.born + Duration(group_.launch_timeout)) return;
  instance.reason = "given up: neither answered nor visible within the launch timeout";
  settle_launch(instance, IntentState::abandoned);
  launch_failed(instance, "timeout");
  trip(instance.zone, now, instance.reason);
  instance.state = InstanceState::lost;
}

/// Why an instance that has never served must be replaced; empty: it need not.
std::string Fleet::pending_fault(const Instance& instance, TimePoint now) const {
  if (!instance.running_since) {
    const bool late = asked_at_ >= instance.born + Duration(group_.launch_timeout);
    return late ? "not running within the launch timeout" : "";
  }
  if (now - *instance.running_since < Duration(group_.grace)) return {};
  return fmt::format("no health check passed within the grace period ({})",
                     instance.health_reason.empty() ? "none answered" : instance.health_reason);
}

/// The same for one that serves.
std::string Fleet::serving_fault(const Instance& instance, TimePoint now) const {
  if (!group_.replace_unhealthy) return {};
  if (instance.health == Health::down && now - instance.health_since >= timings_.unhealthy_hold) {
    return fmt::format("health checks fail: {}", instance.health_reason);
  }
  const bool impaired =
      instance.impaired_since && now - *instance.impaired_since >= timings_.impaired_hold;
  return impaired ? "the provider's status checks fail" : "";
}

/// When more than half fail their checks at once, the check or our own line is as likely to be the
/// cause as they are, and the balancer may still be serving from them. Whoever the provider itself
/// calls impaired is believed. A new instance that passes is the proof that the others are sick.
void Fleet::watch_mass_failure(TimePoint now) {
  std::uint32_t served = 0;
  std::uint32_t failing = 0;
  bool proof = false;
  for (const Instance& each : instances_) {
    const bool there = each.state == InstanceState::pending ||
                       each.state == InstanceState::warming ||
                       each.state == InstanceState::in_service;
    if (!there || each.impaired_since || !(each.serving_since || each.adopted)) continue;
    ++served;
    if (!each.unhealthy.empty()) ++failing;
    proof = proof || (mass_failure_since_ && each.unhealthy.empty() && each.serving_since &&
                      each.health == Health::up && *each.serving_since >= *mass_failure_since_);
  }
  if (failing * 2 <= served) {
    mass_failure_since_.reset();
    braked_ = false;
    return;
  }
  mass_failure_ =
      fmt::format("{} of {} instances fail their health checks at once", failing, served);
  braked_ = !proof;
  if (mass_failure_since_) return;
  mass_failure_since_ = now;
  FleetEvent made;
  made.kind = "mass_failure";
  made.sentence = mass_failure_ + ": none is ended for it until a new one has passed";
  events_.push_back(std::move(made));
}

void Fleet::trip(const std::string& zone, TimePoint now, const std::string& reason) {
  for (ZoneBreaker& breaker : zones_) {
    if (breaker.zone != zone || breaker.open(now)) continue;
    breaker.trip(now, group_.zone_pause, group_.zone_pause_max);
    breaker.reason = reason;
    FleetEvent made;
    made.kind = "zone_closed";
    made.sentence =
        fmt::format("no launches in zone {} for {} s: {}", zone,
                    std::chrono::ceil<seconds>(breaker.open_until - now).count(), reason);
    events_.push_back(std::move(made));
  }
}

void Fleet::check_zone(const std::string& zone, TimePoint now) {
  bool elsewhere = false;
  for (const Instance& each : instances_) {
    const bool serves =
        (each.state == InstanceState::warming || each.state == InstanceState::in_service) &&
        each.unhealthy.empty();
    if (!serves) continue;
    if (each.zone == zone) return;
    elsewhere = true;
  }
  if (elsewhere) trip(zone, now, "every instance there went down, while others elsewhere serve");
}

void Fleet::start_drain(const std::string& id, TimePoint now, const std::string& why) {
  Instance* instance = edit(id);
  if (instance == nullptr) return;
  Duration deadline = Duration(group_.drain_deadline);
  if (!instance->unhealthy.empty()) deadline = std::min(deadline, timings_.unhealthy_drain);
  instance->drain_until = now + deadline;
  enter(*instance, InstanceState::draining, now, why);
}

void Fleet::start_move(const std::string& id, TimePoint now, const std::string& why) {
  start_drain(id, now, why);
  if (Instance* instance = edit(id)) instance->moving = true;
}

void Fleet::undrain(const std::string& id, TimePoint now) {
  Instance* instance = edit(id);
  if (instance == nullptr || instance->state != InstanceState::draining) return;
  if (!instance->serving_since) instance->serving_since = now;  // it served an earlier life of ours
  instance->moving = false;
  const bool warm = now - *instance->serving_since >= Duration(group_.warm_up);
  enter(*instance, warm ? InstanceState::in_service : InstanceState::warming, now,
        "taken back from draining");
}

}  // namespace lbd::scaler
