#include <utility>

#include "lbd/balance/pick.h"

namespace lbd::balance {
namespace {

/// Requests in flight per weight, the new one included; compared without division.
bool lighter(const Candidate& a, const Candidate& b) noexcept {
  return (std::uint64_t{a.in_flight} + 1) * b.weight < (std::uint64_t{b.in_flight} + 1) * a.weight;
}

}  // namespace

std::size_t least_requests(std::span<const Candidate> candidates, Rng& rng) noexcept {
  if (candidates.empty()) return kNobody;
  const auto count = static_cast<std::uint32_t>(candidates.size());
  const std::uint32_t start = rng.below(count);
  if (count <= 3) {  // all of them, from a random start so that ties spread
    std::size_t best = start;
    for (std::uint32_t step = 1; step < count; ++step) {
      const std::size_t other = (start + step) % count;
      if (lighter(candidates[other], candidates[best])) best = other;
    }
    return best;
  }
  const std::uint32_t second = (start + 1 + rng.below(count - 1)) % count;
  return lighter(candidates[second], candidates[start]) ? second : start;
}

}  // namespace lbd::balance
