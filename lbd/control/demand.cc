#include "lbd/control/demand.h"

#include <algorithm>
#include <set>
#include <utility>

namespace lbd::control {
namespace {

/// A rate over less than this is noise; the last one is given again.
constexpr std::chrono::milliseconds kLeastSpan{500};

/// Healthy only if every group that has it says so; unhealthy if any does.
void merge_health(scaler::InstanceDemand& row, const health::Verdict* verdict, Clock& clock,
                  bool first) {
  using scaler::Health;
  Health health = Health::up;  // a group without checks has no doubts
  TimePoint since = clock.now();
  std::string reason;
  if (verdict != nullptr) {
    if (!verdict->checked) {
      health = Health::unknown;
    } else if (!verdict->up) {
      health = verdict->checks == verdict->failures ? Health::unknown : Health::down;
      reason = std::string(health::check_failure_name(verdict->last.failure)) + ": " +
               verdict->last.detail;
    }
    since = clock.now() - std::chrono::duration_cast<Duration>(clock.wall() - verdict->since);
  }
  const bool worse =
      health == Health::down || (health == Health::unknown && row.health == Health::up);
  if (first || worse) {
    row.health = health;
    row.health_since = since;
    row.health_reason = std::move(reason);
  }
}

}  // namespace

Demand::Totals Demand::totals_of(const std::string& group, const std::string& address) const {
  Totals totals;
  const auto found = live_.targets().find({group, address});
  if (found == live_.targets().end()) return totals;
  for (const upstream::TargetLoad& load : found->second->loads()) {
    totals.requests += load.requests.get();
    totals.failed += load.responses[5].get() + load.broken.get();
    totals.response_us += load.response.sum_us();
    for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i)
      totals.responses += load.response.bucket(i);
    totals.in_flight += load.in_flight.get();
  }
  return totals;
}

void Demand::published() {
  std::set<std::pair<std::string, std::string>> draining;
  for (const auto& [group, rows] : targets_.rows()) {
    for (const TargetRow& row : rows) {
      if (row.state != upstream::TargetState::draining) continue;
      const std::pair key(group, row.address.text());
      draining.insert(key);
      draining_since_.try_emplace(key, publisher_.serial());
    }
  }
  std::erase_if(draining_since_,
                [&](const auto& entry) { return !draining.contains(entry.first); });
}

bool Demand::is_closed(const TargetRow& row) const {
  const auto since = draining_since_.find({row.group, row.address.text()});
  return since != draining_since_.end() && publisher_.adopted() >= since->second;
}

std::uint64_t Demand::unserved(const config::Config& config, const std::string& scaling_group) {
  std::uint64_t sum = 0;
  for (const auto& [name, group] : live_.groups()) {
    const auto settings = config.target_groups.find(name);
    if (settings == config.target_groups.end() || settings->second.scaling_group != scaling_group)
      continue;
    std::uint64_t total = 0;
    for (const upstream::GroupLoad& load : group->loads) {
      total += load.failures[static_cast<std::size_t>(Fault::no_healthy_target)].get();
    }
    const std::uint64_t before = std::exchange(unserved_[name], total);
    sum += total - std::min(total, before);
  }
  return sum;
}

std::vector<scaler::InstanceDemand> Demand::of(const config::Config& config,
                                               health::Checker& checker,
                                               const std::string& scaling_group) {
  const TimePoint now = clock_.now();
  std::map<std::string, std::pair<scaler::InstanceDemand, Totals>> rows;
  for (const auto& [group, targets] : targets_.rows()) {
    const auto settings = config.target_groups.find(group);
    if (settings == config.target_groups.end() || settings->second.scaling_group != scaling_group)
      continue;
    for (const TargetRow& target : targets) {
      if (target.instance.empty()) continue;
      const auto [entry, first] = rows.try_emplace(target.instance);
      auto& [row, sum] = entry->second;
      row.instance = target.instance;
      const bool closed = is_closed(target);  // before the count: from then on it can only fall
      const Totals totals = totals_of(group, target.address.text());
      sum.requests += totals.requests;
      sum.failed += totals.failed;
      sum.response_us += totals.response_us;
      sum.responses += totals.responses;
      sum.in_flight += totals.in_flight;
      row.drained = (first || row.drained) && closed && totals.in_flight == 0;
      merge_health(row, checker.find({group, target.address.text()}), clock_, first);
    }
  }
  std::vector<scaler::InstanceDemand> out;
  for (auto& [instance, entry] : rows) {
    auto& [row, sum] = entry;
    row.in_flight = sum.in_flight;
    Last& last = last_[instance];
    const Duration span = now - last.at;
    if (last.at != TimePoint{} && span >= kLeastSpan) {
      const double seconds = std::chrono::duration<double>(span).count();
      const std::uint64_t requests = sum.requests - std::min(sum.requests, last.totals.requests);
      const std::uint64_t responses =
          sum.responses - std::min(sum.responses, last.totals.responses);
      row.requests_per_second = static_cast<double>(requests) / seconds;
      row.latency_seconds = responses == 0
                                ? 0
                                : static_cast<double>(sum.response_us - last.totals.response_us) /
                                      static_cast<double>(responses) / 1e6;
      row.failed_share = requests == 0 ? 0
                                       : static_cast<double>(sum.failed - last.totals.failed) /
                                             static_cast<double>(requests);
    } else if (last.at != TimePoint{}) {
      row.requests_per_second = last.row.requests_per_second;
      row.latency_seconds = last.row.latency_seconds;
      row.failed_share = last.row.failed_share;
    }
    if (last.at == TimePoint{} || span >= kLeastSpan) last = {sum, now, row};
    out.push_back(row);
  }
  std::erase_if(last_,
                [&](const auto& entry) { return now - entry.second.at > std::chrono::minutes(5); });
  return out;
}

}  // namespace lbd::control
