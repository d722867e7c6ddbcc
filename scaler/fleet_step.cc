// The fleet's one decision: given what is, what is the next thing to do?
#include <fmt/format.h>

#include <algorithm>

#include "scaler/fleet.h"

namespace lbd::scaler {
namespace {

using std::chrono::seconds;

FleetStep step(StepKind kind, std::string_view word, std::string sentence) {
  FleetStep made;
  made.kind = kind;
  made.word = word;
  made.sentence = std::move(sentence);
  return made;
}

FleetStep step_for_instance(StepKind kind, std::string_view word, const Instance& instance,
                            const std::string& sentence) {
  FleetStep made = step(kind, word, sentence);
  made.instance = instance.id;
  made.zone = instance.zone;
  made.token = instance.token;
  return made;
}

bool good(const Instance& each) {
  switch (each.state) {
    case InstanceState::launching:
    case InstanceState::pending:
    case InstanceState::warming:
    case InstanceState::in_service:
      return each.unhealthy.empty();
    default:
      return false;
  }
}

/// Whether it may have served anybody: what an earlier life launched probably has.
bool served(const Instance& each) { return each.serving_since || each.adopted; }

/// Whether it may go in a mass failure too: nobody loses it, or the provider says it is broken.
bool condemned(const Instance& each) { return !served(each) || each.impaired_since; }

bool can_undrain(const Instance& each) {
  return each.state == InstanceState::draining && each.unhealthy.empty() &&
         each.reported == ReportedState::running && each.health == Health::up;
}

}  // namespace

FleetCounts Fleet::count() const {
  FleetCounts counts;
  for (const Instance& each : instances_) {
    const bool owned = each.state != InstanceState::lost &&
                       !(each.state == InstanceState::terminating && each.terminate_confirmed);
    if (owned) ++counts.alive;
    if (each.state == InstanceState::draining) ++counts.draining;
    if (each.state == InstanceState::terminating && owned) ++counts.terminating;
    if (good(each)) {
      ++counts.good;
      const bool coming =
          each.state == InstanceState::launching || each.state == InstanceState::pending;
      coming ? ++counts.coming : ++counts.serving;
      if (each.state == InstanceState::warming) ++counts.warming;
    } else if (!each.unhealthy.empty() && owned && each.state != InstanceState::draining &&
               each.state != InstanceState::terminating) {
      ++counts.unhealthy;
    }
  }
  return counts;
}

std::vector<const Instance*> Fleet::counted(TimePoint now, Duration warm_up) const {
  std::vector<const Instance*> list;
  for (const Instance& each : instances_) {
    const bool serves =
        each.state == InstanceState::warming || each.state == InstanceState::in_service;
    if (serves && good(each) && each.serving_since && now - *each.serving_since >= warm_up) {
      list.push_back(&each);
    }
  }
  return list;
}

std::map<std::string, std::uint32_t> Fleet::per_zone() const {
  std::map<std::string, std::uint32_t> counts;
  for (const ZoneBreaker& each : zones_) counts[each.zone] = 0;
  for (const Instance& each : instances_) {
    if (good(each)) ++counts[each.zone];
  }
  return counts;
}

std::string Fleet::launch_zone(TimePoint now) const {
  const std::map<std::string, std::uint32_t> counts = per_zone();
  const ZoneBreaker* best = nullptr;
  for (const ZoneBreaker& each : zones_) {
    if (each.open(now)) continue;
    if (best == nullptr || counts.at(each.zone) < counts.at(best->zone)) best = &each;
  }
  return best == nullptr ? std::string() : best->zone;
}

std::uint32_t Fleet::replace_at_once() const { return std::max(1u, desired_ / 10); }

const Instance* Fleet::victim() const {
  const std::map<std::string, std::uint32_t> counts = per_zone();
  const Instance* best = nullptr;
  const auto before = [&](const Instance& a, const Instance& b) {
    const std::uint32_t in_a = counts.at(a.zone);
    const std::uint32_t in_b = counts.at(b.zone);
    if (in_a != in_b) return in_a > in_b;
    const bool pending_a = a.state == InstanceState::pending;
    const bool pending_b = b.state == InstanceState::pending;
    if (pending_a != pending_b) return pending_a;  // it serves nobody yet
    if (a.in_flight != b.in_flight) return a.in_flight < b.in_flight;
    if (a.launched != b.launched) return a.launched < b.launched;
    return a.id < b.id;
  };
  for (const Instance& each : instances_) {
    if (!good(each) || each.id.empty()) continue;
    if (best == nullptr || before(each, *best)) best = &each;
  }
  return best;
}

const Instance* Fleet::worst() const {
  const Instance* worst = nullptr;
  const auto before = [](const Instance& a, const Instance& b) {
    if (served(a) != served(b)) return served(b);
    if (condemned(a) != condemned(b)) return condemned(a);
    return a.in_flight < b.in_flight;
  };
  for (const Instance& each : instances_) {
    const bool candidate = !each.unhealthy.empty() && (each.state == InstanceState::pending ||
                                                       each.state == InstanceState::warming ||
                                                       each.state == InstanceState::in_service);
    if (candidate && (worst == nullptr || before(each, *worst))) worst = &each;
  }
  return worst;
}

/// Taken back it would only be moved again.
bool Fleet::moves_on(const Instance& instance, TimePoint now) const {
  if (!instance.moving) return false;
  const std::string zone = launch_zone(now);
  if (zone.empty()) return false;
  const std::map<std::string, std::uint32_t> per = per_zone();
  const auto own = per.find(instance.zone);
  return own != per.end() && per.at(zone) < own->second;
}

FleetStep Fleet::next_step(TimePoint now, bool spare) const {
  if (!observed_) {
    return step(StepKind::none, "starting", "waiting for the provider's first report");
  }
  const FleetCounts counts = count();
  if (counts.good < desired_) {
    for (const Instance& each : instances_) {
      if (!can_undrain(each) || moves_on(each, now)) continue;
      return step_for_instance(
          StepKind::undrain, "undrain", each,
          fmt::format("take instance {} back from draining: {} wanted, {} there", each.id, desired_,
                      counts.good));
    }
  }
  FleetStep finish = finish_step(now);
  if (finish.kind != StepKind::none) return finish;
  if (counts.good < desired_) return grow_step(counts, now);
  if (counts.unhealthy > 0) {
    FleetStep replace = replace_step(counts);
    if (replace.kind != StepKind::none) return replace;
  }
  if (counts.serving > desired_ || counts.alive - counts.draining > group_.max) {
    return shrink_step(counts);
  }
  return rebalance_step(counts, now, spare);
}

/// Ends what must end, and asks again for a launch whose answer was lost.
FleetStep Fleet::finish_step(TimePoint now) const {
  for (const Instance& each : instances_) {
    if (each.in_call) continue;
    FleetStep made;
    if (each.state == InstanceState::terminating) made = terminate_step(each, now);
    if (each.state == InstanceState::draining) made = drained_step(each, now);
    if (each.state == InstanceState::launching && each.unsure &&
        each.looks >= timings_.missing_max && now >= launches_held_until_) {
      made = step_for_instance(
          StepKind::launch_again, "launch_again", each,
          fmt::format("ask again for launch {} in zone {}: no answer, and not in the reports",
                      each.token, each.zone));
    }
    if (made.kind != StepKind::none) return made;
  }
  return {};
}

FleetStep Fleet::terminate_step(const Instance& each, TimePoint now) const {
  const Duration wait = timings_.terminate_again * (each.calls > 5 ? 6 : 1);
  if (each.terminate_confirmed || (each.calls > 0 && now - each.answered < wait)) return {};
  return step_for_instance(StepKind::terminate, "terminate", each,
                           fmt::format("terminate instance {}{}: {}", each.id,
                                       each.calls > 0 ? " again" : "", each.reason));
}

FleetStep Fleet::drained_step(const Instance& each, TimePoint now) const {
  if (each.adopted && !each.running_since) return {};  // not yet found again
  const bool done = each.drained && now - each.since >= timings_.drain_settle;
  if (!done && now < each.drain_until) return {};
  return step_for_instance(
      StepKind::terminate, "terminate", each,
      done ? fmt::format("terminate instance {}: drained, no request in flight", each.id)
           : fmt::format("terminate instance {}: the drain deadline passed with {} in flight",
                         each.id, each.in_flight));
}

FleetStep Fleet::grow_step(const FleetCounts& counts, TimePoint now) const {
  const bool only_unhealthy = counts.good + counts.unhealthy >= desired_;
  const std::uint32_t ending = counts.draining + counts.terminating;
  const Instance* first = worst();
  // One that never served makes room for the next try; or each try would take another place.
  if (only_unhealthy && first != nullptr && !served(*first) && ending < replace_at_once()) {
    return step_for_instance(
        StepKind::drain, "replace", *first,
        fmt::format("drain instance {}, to launch another: {}", first->id, first->unhealthy));
  }
  const bool braked = braked_ && (first == nullptr || !condemned(*first));
  if (only_unhealthy && braked) return trial_step(counts, now);
  const std::uint32_t under_way = counts.coming + counts.terminating;
  if (only_unhealthy && under_way >= replace_at_once()) {
    return step(StepKind::none, "replacing",
                fmt::format("{} unhealthy; {} being replaced, at most {} at once", counts.unhealthy,
                            under_way, replace_at_once()));
  }
  return counts.alive < group_.max ? launch_step(counts, now) : full_step(counts);
}

/// At the maximum the room has to be made first.
FleetStep Fleet::full_step(const FleetCounts& counts) const {
  const Instance* first = worst();
  if (first != nullptr && counts.draining == 0 && (!braked_ || condemned(*first))) {
    return step_for_instance(
        StepKind::drain, "replace", *first,
        fmt::format("drain instance {} to replace it (the group is at its maximum of {}): {}",
                    first->id, group_.max, first->unhealthy));
  }
  return step(StepKind::none, "full",
              fmt::format("{} wanted, but {} instances still end and the maximum is {}", desired_,
                          counts.alive - counts.good, group_.max));
}

/// In a mass failure: one launch to see whether a new instance passes, and nothing else. At the
/// maximum one has to go for it, once, when waiting has not helped.
FleetStep Fleet::trial_step(const FleetCounts& counts, TimePoint now) const {
  const bool tried = last_launch_ > *mass_failure_since_;
  TimePoint due = tried ? last_launch_ + timings_.trial_again : *mass_failure_since_;
  const bool room = counts.alive < group_.max;
  if (!room) due = std::max(due, *mass_failure_since_ + timings_.trial_wait);
  const bool under_way = counts.coming + counts.draining + counts.terminating > 0;
  if (under_way || now < due) {
    return step(
        StepKind::none, "mass_failure",
        fmt::format("{}: nothing is replaced; {}", mass_failure_,
                    under_way ? "a new one shows whether the check can be passed"
                              : fmt::format("the next try is in {} s",
                                            std::chrono::ceil<seconds>(due - now).count())));
  }
  const Instance* first = worst();
  FleetStep trial;
  if (room || first == nullptr) {
    trial = launch_step(counts, now);
  } else {
    trial = step_for_instance(StepKind::drain, "replace", *first,
                              fmt::format("drain instance {} (the group is at its maximum of {})",
                                          first->id, group_.max));
  }
  if (trial.kind != StepKind::none) {
    trial.sentence +=
        fmt::format("; {}: one new instance shows whether the check can be passed", mass_failure_);
  }
  return trial;
}

FleetStep Fleet::launch_step(const FleetCounts& counts, TimePoint now) const {
  if (now < launches_held_until_) {
    return step(
        StepKind::none, hold_word_,
        fmt::format("{} wanted, {} there; launches wait: {}", desired_, counts.good, hold_reason_));
  }
  std::string zone = launch_zone(now);
  if (zone.empty()) {
    std::string reasons;
    for (const ZoneBreaker& each : zones_) {
      reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", each.zone, each.reason);
    }
    return step(StepKind::none, "no_zone",
                fmt::format("{} wanted, {} there; no zone may be launched in ({})", desired_,
                            counts.good, reasons));
  }
  const bool replacing = counts.unhealthy > 0;
  FleetStep launch =
      step(StepKind::launch, replacing ? "replace" : "launch",
           fmt::format("launch 1 in zone {}: {} wanted, {} there{}", zone, desired_, counts.good,
                       replacing ? fmt::format(" ({} more unhealthy)", counts.unhealthy) : ""));
  launch.zone = std::move(zone);
  return launch;
}

FleetStep Fleet::replace_step(const FleetCounts& counts) const {
  if (counts.draining + counts.terminating >= replace_at_once()) return {};
  const Instance* first = worst();
  if (first == nullptr) return {};
  if (served(*first) && counts.serving < desired_) return {};  // its replacement comes first
  return step_for_instance(
      StepKind::drain, "replace", *first,
      fmt::format("drain instance {}: {}; its replacement serves", first->id, first->unhealthy));
}

FleetStep Fleet::shrink_step(const FleetCounts& counts) const {
  const Instance* chosen = victim();
  if (chosen == nullptr) return {};
  return step_for_instance(
      StepKind::drain, "drain", *chosen,
      fmt::format("drain instance {}: {} there, {} wanted; zone {} has most, {} in flight",
                  chosen->id, counts.good, desired_, chosen->zone, chosen->in_flight));
}

FleetStep Fleet::rebalance_step(const FleetCounts& counts, TimePoint now, bool spare) const {
  const bool calm = counts.coming == 0 && counts.warming == 0 && counts.unhealthy == 0 &&
                    counts.draining == 0 && counts.terminating == 0;
  if (!calm || now < launches_held_until_) return {};
  const std::map<std::string, std::uint32_t> per = per_zone();
  std::uint32_t most = 0;
  for (const auto& [zone, instances] : per) most = std::max(most, instances);
  std::string zone = launch_zone(now);
  if (zone.empty() || most - per.at(zone) <= 1) return {};
  if (counts.alive >= group_.max) return move_step(zone, now, spare);
  FleetStep launch = step(StepKind::launch, "rebalance",
                          fmt::format("launch 1 in zone {} to even out the zones: it has {}, the "
                                      "fullest has {}; the surplus is drained afterwards",
                                      zone, per.at(zone), most));
  launch.zone = std::move(zone);
  return launch;
}

/// At the maximum one has to go first, so it must be spared, and where it is to be launched should
/// work: a zone that failed and may be tried again is given as long as a breaker can last.
FleetStep Fleet::move_step(const std::string& zone, TimePoint now, bool spare) const {
  const Instance* chosen = victim();
  if (chosen == nullptr) return {};
  const std::string uneven =
      fmt::format("zone {} has {} instances, zone {} has {}", zone, per_zone().at(zone),
                  chosen->zone, per_zone().at(chosen->zone));
  const auto breaker = std::find_if(zones_.begin(), zones_.end(),
                                    [&](const ZoneBreaker& each) { return each.zone == zone; });
  const bool shaky =
      breaker->failures > 0 && now < breaker->open_until + Duration(group_.zone_pause_max);
  if (!spare || shaky) {
    return step(StepKind::none, "uneven",
                fmt::format("{}; the group is at its maximum of {} and {}", uneven, group_.max,
                            shaky ? "launches there failed not long ago"
                                  : "no instance can be spared for a move"));
  }
  return step_for_instance(
      StepKind::drain, "rebalance", *chosen,
      fmt::format("drain instance {} to launch one in zone {}: {}, and the group is at its maximum "
                  "of {}",
                  chosen->id, zone, uneven, group_.max));
}

}  // namespace lbd::scaler
