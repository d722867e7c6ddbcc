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
  std::size_t ejected = 0;
  std::size_t usable = 0;
  for (const OutlierSample& sample : samples) {
    Memory& memory = memory_[sample.target];
    if (memory.ejected && (now >= memory.until || !settings.enabled)) {
      memory.ejected = false;
      memory.clean_since = now;
      memory.connect_base = sample.connect_failures;
      memory.error_base = sample.errors;
      changes.push_back({sample.target, false, "its ejection is over", {}});
    }
    if (!memory.ejected && memory.ejections > 0 && now - memory.clean_since >= settings.ejection) {
      --memory.ejections;
      memory.clean_since = now;
    }
    ejected += memory.ejected ? 1 : 0;
    usable += sample.usable && !memory.ejected ? 1 : 0;
  }
  std::erase_if(memory_, [&](const auto& entry) {
    return std::none_of(samples.begin(), samples.end(),
                        [&](const OutlierSample& sample) { return sample.target == entry.first; });
  });
  if (!settings.enabled) return changes;
  const auto most = std::max<std::size_t>(
      1,
      static_cast<std::size_t>(settings.ejected_share_max * static_cast<double>(samples.size())));
  for (const OutlierSample& sample : samples) {
    Memory& memory = memory_[sample.target];
    if (memory.ejected || !sample.usable) continue;
    const std::uint64_t connects =
        std::min(sample.connect_streak, sample.connect_failures - memory.connect_base);
    const std::uint64_t errors = std::min(sample.error_streak, sample.errors - memory.error_base);
    const bool by_connect = connects >= settings.consecutive_connect_errors;
    if (!by_connect && errors < settings.consecutive_5xx) continue;
    if (ejected >= most || usable <= 1) break;
    const Duration length =
        std::min<Duration>(settings.ejection * (memory.ejections + 1), settings.ejection_max);
    memory.ejected = true;
    memory.until = now + length;
    ++memory.ejections;
    ++ejected;
    --usable;
    changes.push_back({sample.target, true,
                       by_connect ? fmt::format("{} connect errors in a row", connects)
                                  : fmt::format("{} failed responses in a row", errors),
                       length});
  }
  return changes;
}

}  // namespace lbd::health
