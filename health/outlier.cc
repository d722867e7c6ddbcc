#include "health/outlier.h"

#include <fmt/format.h>

#include <algorithm>

namespace lbd::health {

bool Outliers::is_ejected(const std::string& target) const {
  const auto found = memory_.find(target);
  return found != memory_.end() && found->second.ejected;
}

bool Outliers::any_ejected() const {
  return std::any_of(memory_.begin(), memory_.end(),
                     [](const auto& entry) { return entry.second.ejected; });
}

void Outliers::readmit(const std::string& target) {
  const auto found = memory_.find(target);
  if (found != memory_.end()) found->second.until = TimePoint::min();
}

std::vector<OutlierChange> Outliers::observe(const config::Passive& settings, TimePoint now,
                                             std::span<const OutlierSample> samples) {
  std::vector<OutlierChange> changes;
  for (const OutlierSample& sample : samples) {
    if (forgive(settings, now, sample)) {
      changes.push_back({.target = sample.target, .reason = "its ejection is over"});
    }
  }
  std::erase_if(memory_, [&](const auto& entry) {
    return std::none_of(samples.begin(), samples.end(),
                        [&](const OutlierSample& sample) { return sample.target == entry.first; });
  });
  if (settings.enabled) eject(settings, now, samples, changes);
  return changes;
}

/// Lets time heal: ends an ejection that is over (true), and forgets one after a clean while.
bool Outliers::forgive(const config::Passive& settings, TimePoint now,
                       const OutlierSample& sample) {
  Memory& memory = memory_[sample.target];
  const bool over = memory.ejected && (now >= memory.until || !settings.enabled);
  if (over) {
    memory.ejected = false;
    memory.clean_since = now;
    memory.connect_base = sample.connect_failures;
    memory.error_base = sample.errors;
  }
  if (!memory.ejected && memory.ejections > 0 && now - memory.clean_since >= settings.ejection) {
    --memory.ejections;
    memory.clean_since = now;
  }
  return over;
}

void Outliers::eject(const config::Passive& settings, TimePoint now,
                     std::span<const OutlierSample> samples, std::vector<OutlierChange>& changes) {
  const auto most = std::max<std::size_t>(
      1,
      static_cast<std::size_t>(settings.ejected_share_max * static_cast<double>(samples.size())));
  const auto is_out = [this](const OutlierSample& sample) { return is_ejected(sample.target); };
  auto ejected = static_cast<std::size_t>(std::count_if(samples.begin(), samples.end(), is_out));
  auto usable = static_cast<std::size_t>(
      std::count_if(samples.begin(), samples.end(),
                    [&](const OutlierSample& sample) { return sample.usable && !is_out(sample); }));
  for (const OutlierSample& sample : samples) {
    Memory& memory = memory_[sample.target];
    if (memory.ejected || !sample.usable) continue;
    OutlierChange change = fault_of(settings, memory, sample);
    if (change.reason.empty()) continue;
    if (ejected >= most || usable <= 1) break;
    const Duration length =
        std::min<Duration>(settings.ejection * (memory.ejections + 1), settings.ejection_max);
    memory.ejected = true;
    memory.until = now + length;
    ++memory.ejections;
    ++ejected;
    --usable;
    change.duration = length;
    changes.push_back(std::move(change));
  }
}

OutlierChange Outliers::fault_of(const config::Passive& settings, const Memory& memory,
                                 const OutlierSample& sample) {
  OutlierChange change{.target = sample.target, .ejected = true};
  const std::uint64_t connects =
      std::min(sample.connect_streak, sample.connect_failures - memory.connect_base);
  const std::uint64_t errors = std::min(sample.error_streak, sample.errors - memory.error_base);
  if (connects >= settings.consecutive_connect_errors) {
    change.cause = EjectionCause::connect_errors;
    change.reason = fmt::format("{} connect errors in a row", connects);
  } else if (errors >= settings.consecutive_5xx) {
    change.cause = EjectionCause::failed_responses;
    change.reason = fmt::format("{} failed responses in a row", errors);
  }
  return change;
}

}  // namespace lbd::health
