#include "lbd/upstream/flight_table.h"

#include <algorithm>
#include <bit>

#include "lbd/route/literals.h"

namespace lbd::upstream {
namespace {

constexpr int kCountBits = 24;
constexpr std::uint64_t kCountMask = (std::uint64_t{1} << kCountBits) - 1;
constexpr std::size_t kKeysPerSet = 4;  // on average, when the table is full
/// How often a request comes back that others overtook while its key had two places.
constexpr int kOvertakenMax = 8;

/// Never 0, so that a place in use is never 0.
std::uint64_t mark_of(std::uint64_t hash) noexcept {
  return std::max<std::uint64_t>(hash >> kCountBits, 1) << kCountBits;
}

}  // namespace

void FlightLease::release() noexcept {
  if (place_ == nullptr) return;
  std::uint64_t value = place_->load(std::memory_order_relaxed);
  while (!place_->compare_exchange_weak(value, (value & kCountMask) == 1 ? 0 : value - 1)) {
  }
  place_ = nullptr;
}

FlightTable::FlightTable(std::size_t keys_max, std::uint64_t seed)
    : sets_(std::bit_ceil((keys_max + kKeysPerSet - 1) / kKeysPerSet)), seed_(seed) {}

std::uint32_t FlightTable::sum(const Set& set, std::uint64_t mark) noexcept {
  std::uint64_t sum = 0;
  for (const Place& each : set.places) {
    const std::uint64_t value = each.load();
    if ((value & ~kCountMask) == mark) sum += value & kCountMask;
  }
  return static_cast<std::uint32_t>(sum);
}

std::uint32_t FlightTable::count(std::string_view key) const noexcept {
  const std::uint64_t hash = route::hash_bytes(seed_, key);
  return sum(sets_[hash & (sets_.size() - 1)], mark_of(hash));
}

/// All in the one order of sequentially consistent operations: of several that count themselves in
/// at the same time, the last sees all of them.
FlightTable::Entry FlightTable::enter(std::string_view key, std::uint32_t most,
                                      FlightLease& lease) noexcept {
  const std::uint64_t hash = route::hash_bytes(seed_, key);
  Set& set = sets_[hash & (sets_.size() - 1)];
  const std::uint64_t mark = mark_of(hash);
  for (int overtaken = 0; overtaken < kOvertakenMax;) {
    Place* own = nullptr;
    Place* unused = nullptr;
    std::uint64_t seen = 0;
    std::uint64_t under_way = 0;
    for (Place& each : set.places) {
      const std::uint64_t value = each.load();
      if (value == 0 && unused == nullptr) unused = &each;
      if (value == 0 || (value & ~kCountMask) != mark) continue;
      under_way += value & kCountMask;
      if (own != nullptr) continue;
      own = &each;
      seen = value;
    }
    if (under_way >= most) return Entry::refused;
    Place* place = own != nullptr ? own : unused;
    if (place == nullptr) return Entry::uncounted;
    const std::uint64_t next = own != nullptr ? seen + 1 : mark | 1;
    if (!place->compare_exchange_strong(seen, next)) continue;
    lease = FlightLease(*place);
    if (sum(set, mark) <= most) return Entry::counted;
    lease.release();
    ++overtaken;
  }
  return Entry::refused;
}

}  // namespace lbd::upstream
