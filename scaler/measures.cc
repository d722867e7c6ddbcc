#include "scaler/measures.h"

#include <algorithm>

namespace lbd::scaler {

void PhaseHistogram::record(Duration time) noexcept {
  const double seconds = std::chrono::duration<double>(std::max(time, Duration(0))).count();
  const auto bound = std::lower_bound(kPhaseBounds.begin(), kPhaseBounds.end(), seconds);
  ++buckets[static_cast<std::size_t>(bound - kPhaseBounds.begin())];
  sum += seconds;
}

std::uint64_t FleetMeasures::failed_launches() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& [key, count] : launch_failures) sum += count;
  return sum;
}

}  // namespace lbd::scaler
