// How a worker spreads a group's requests over zones: the own zone while its capacity suffices, the
// rest in proportion to what the others have spare.
#pragma once

#include <cstdint>
#include <span>

namespace lbd::balance {

struct ZoneLoad {
  double capacity =
      0;  // what its usable targets carry when full, in the unit of `used`; 0: nobody there
  double used = 0;  // what they carry now
};

/// Of its full capacity, how much the own zone may carry before requests spill.
constexpr double kSpillAt = 0.7;

/// Writes each zone's share of new requests (they sum to 1, all 0 when nobody is anywhere). `own`
/// is the node's zone or an index beyond the zones. Pure.
///
/// While all demand fits into kSpillAt of the own zone, it gets everything. Beyond that it keeps
/// kSpillAt of its capacity, and the rest goes to the others by their spare room; when none is
/// spare anywhere, by capacity. `strict` never leaves the own zone while it has a usable target.
void zone_shares(std::span<const ZoneLoad> zones, std::size_t own, bool strict,
                 std::span<double> shares) noexcept;

}  // namespace lbd::balance
