#include "lbd/balance/zones.h"

#include <algorithm>

namespace lbd::balance {

void zone_shares(std::span<const ZoneLoad> zones, std::size_t own, bool strict,
                 std::span<double> shares) noexcept {
  double capacity = 0;
  double demand = 0;
  for (const ZoneLoad& zone : zones) {
    capacity += zone.capacity;
    if (zone.capacity > 0) demand += zone.used;
  }
  std::fill(shares.begin(), shares.end(), 0.0);
  if (capacity <= 0) return;
  const bool own_usable = own < zones.size() && zones[own].capacity > 0;
  if (!own_usable) {
    for (std::size_t i = 0; i < zones.size(); ++i) shares[i] = zones[i].capacity / capacity;
    return;
  }
  const double own_room = kSpillAt * zones[own].capacity;
  if (strict || demand <= own_room || zones[own].capacity == capacity) {
    shares[own] = 1;
    return;
  }
  double spare = 0;
  for (std::size_t i = 0; i < zones.size(); ++i) {
    if (i != own) spare += std::max(0.0, kSpillAt * zones[i].capacity);
  }
  // Everyone beyond the spill point: even load is all that is left to aim for.
  if (demand >= own_room + spare) {
    for (std::size_t i = 0; i < zones.size(); ++i) shares[i] = zones[i].capacity / capacity;
    return;
  }
  shares[own] = own_room / demand;
  for (std::size_t i = 0; i < zones.size(); ++i) {
    if (i != own) shares[i] = (1 - shares[own]) * kSpillAt * zones[i].capacity / spare;
  }
}

}  // namespace lbd::balance
