#include "lbd/balance/zones.h"

#include <algorithm>

namespace lbd::balance {
namespace {

constexpr double kFallMax = 0.08;
constexpr double kRiseMax = 0.02;
/// Distance from kSpillAt at which the share moves at full speed.
constexpr double kFullSpeedAt = 0.3;

}  // namespace

double next_own_share(double share, double own_fullness, double fair) noexcept {
  const double distance = std::clamp((own_fullness - kSpillAt) / kFullSpeedAt, -1.0, 1.0);
  share -= distance > 0 ? distance * kFallMax : distance * kRiseMax;
  return std::clamp(share, std::min(fair, 1.0), 1.0);
}

void zone_shares(std::span<const ZoneLoad> zones, std::size_t own, double own_share,
                 std::span<double> shares) noexcept {
  double capacity = 0;
  for (const ZoneLoad& zone : zones) capacity += zone.capacity;
  std::fill(shares.begin(), shares.end(), 0.0);
  if (capacity <= 0) return;
  const bool at_home = own < zones.size();
  const bool own_usable = at_home && zones[own].capacity > 0;
  const double others = capacity - (own_usable ? zones[own].capacity : 0);
  if (own_usable) shares[own] = others > 0 ? own_share : 1;
  const double rest = 1 - (own_usable ? shares[own] : 0);
  const auto room = [&](const ZoneLoad& zone) {
    if (own_usable) return zone.capacity * std::max(0.0, kSpillAt - zone.fullness);
    return zone.capacity * (at_home ? std::max(1 - kSpillAt, 1 - zone.fullness) : 1);
  };
  double spare = 0;
  for (std::size_t i = 0; i < zones.size(); ++i) {
    if (!own_usable || i != own) spare += room(zones[i]);
  }
  for (std::size_t i = 0; i < zones.size(); ++i) {
    if (own_usable && i == own) continue;
    const double part =
        spare > 0 ? room(zones[i]) / spare : (others > 0 ? zones[i].capacity / others : 0);
    shares[i] = rest * part;
  }
}

}  // namespace lbd::balance
