// How a worker spreads a group's requests over zones: the own zone while its capacity suffices, the
// rest in proportion to what the others have spare. Pure.
#pragma once

#include <cstdint>
#include <span>

namespace lbd::balance {

struct ZoneLoad {
  double capacity = 0;  // sum of its usable targets' weights; 0: nobody there
  double fullness = 0;  // mean of theirs, 0 idle … 1 full (and above)
};

/// A zone this full has no room to spare: requests spill from the own zone, none spill to another.
constexpr double kSpillAt = 0.7;

/// The own zone's share of new requests after one more look (every 100 ms), given the share until
/// now. An integral controller: how far demand exceeds capacity cannot be read off a full zone, so
/// the share is moved until the zone is just full. It falls by up to 8 points a look and returns by
/// up to 2. Never below `fair`, the own zone's part of all capacity: beyond that point every zone
/// is full and even load is the best there is.
[[nodiscard]] double next_own_share(double share, double own_fullness, double fair) noexcept;

/// Writes each zone's share (they sum to 1; all 0 when nobody is anywhere). `own` is the node's
/// zone, or an index beyond the zones: then capacity alone counts. The rest goes by room below
/// kSpillAt; when nobody has any, by capacity. When the own zone has no usable target all goes to
/// the others, by their room up to full; zones above kSpillAt count as if they were there, or else
/// shares of all traffic would swing with figures that lag behind them.
void zone_shares(std::span<const ZoneLoad> zones, std::size_t own, double own_share,
                 std::span<double> shares) noexcept;

}  // namespace lbd::balance
