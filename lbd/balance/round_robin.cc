#include <algorithm>

#include "lbd/balance/pick.h"

namespace lbd::balance {

std::size_t round_robin(std::span<const Candidate> candidates, std::uint64_t& turn) noexcept {
  if (candidates.empty()) return kNobody;
  std::uint32_t heaviest = 1;
  for (const Candidate& each : candidates) heaviest = std::max(heaviest, each.weight);
  // A candidate of weight w is taken in w of every `heaviest` rounds; offsets spread the skipped
  // rounds.
  for (;;) {
    const std::uint64_t now = turn++;
    const std::size_t position = now % candidates.size();
    const std::uint64_t round = now / candidates.size();
    const std::uint64_t weight = candidates[position].weight;
    const std::uint64_t offset = position * (heaviest / 2);
    if ((weight * round + offset) % heaviest >= heaviest - weight) return position;
  }
}

}  // namespace lbd::balance
