#include "lbd/control/overdue.h"

#include <algorithm>

#include "lbd/upstream/waiting.h"

namespace lbd::control {
namespace {

constexpr std::chrono::milliseconds kLook{100};

bool is_overdue(const upstream::LiveTarget& target, TimePoint now) {
  return std::any_of(target.loads().begin(), target.loads().end(),
                     [now](const upstream::TargetLoad& load) {
                       const std::int64_t since = load.waiting_since_us.get();
                       if (since == 0) return false;
                       return now - TimePoint(std::chrono::microseconds(since)) >
                              upstream::overdue_after(load.latency_us.get());
                     });
}

bool has_requests(const upstream::LiveGroup& group) {
  return std::any_of(group.loads.begin(), group.loads.end(),
                     [](const upstream::GroupLoad& load) { return load.in_flight.get() > 0; });
}

}  // namespace

void Overdue::look() {
  const TimePoint now = clock_.now();
  if (now < next_) return;
  next_ = now + kLook;
  for (const auto& [name, group] : live_.groups()) {
    if (!has_requests(*group)) continue;
    // Targets are sorted by group, then address.
    for (auto at = live_.targets().lower_bound({name, ""});
         at != live_.targets().end() && at->first.first == name; ++at) {
      if (is_overdue(*at->second, now)) checker_.doubt(at->first);
    }
  }
}

}  // namespace lbd::control
