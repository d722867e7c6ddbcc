#include "lbd/balance/pick.h"

namespace lbd::balance {

std::size_t random(std::span<const Candidate> candidates, Rng& rng) noexcept {
  std::uint64_t total = 0;
  for (const Candidate& each : candidates) total += each.weight;
  if (total == 0) return kNobody;
  std::uint64_t draw = rng.next() % total;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (draw < candidates[i].weight) return i;
    draw -= candidates[i].weight;
  }
  return kNobody;
}

}  // namespace lbd::balance
