#include "lbd/balance/pick.h"

namespace lbd::balance {

std::size_t least_latency(std::span<const Candidate> candidates, Rng& rng) noexcept {
  if (candidates.empty()) return kNobody;
  const auto count = static_cast<std::uint32_t>(candidates.size());
  const std::uint32_t first = rng.below(count);
  if (count == 1) return first;
  const std::uint32_t second = (first + 1 + rng.below(count - 1)) % count;
  const float known = candidates[first].latency_us + candidates[second].latency_us;
  const auto cost = [known](const Candidate& each) {
    // Unknown counts as its rival's latency: then fewer in flight wins, and a new target is tried
    // at once.
    const float latency = each.latency_us > 0 ? each.latency_us : known;
    return (latency > 0 ? latency : 1.0F) * static_cast<float>(each.in_flight + 1) /
           static_cast<float>(each.weight);
  };
  return cost(candidates[second]) < cost(candidates[first]) ? second : first;
}

}  // namespace lbd::balance
