#include "lbd/upstream/rate_table.h"

#include <algorithm>
#include <bit>

#include "lbd/route/literals.h"

namespace lbd::upstream {
namespace {

constexpr std::uint64_t kTimeMask = (std::uint64_t{1} << 48) - 1;
constexpr int kTriesMax = 16;  // against other workers; then the request is let through

/// Never 0, so that a place in use is never 0.
std::uint64_t mark_of(std::uint64_t hash) noexcept {
  return std::max<std::uint64_t>(hash >> 48, 1) << 48;
}

std::int64_t micros_of(Duration duration) noexcept {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

}  // namespace

RateTable::RateTable(std::size_t keys_max, std::uint64_t seed)
    : sets_(std::bit_ceil((keys_max + 7) / 8)), seed_(seed) {}

Duration RateTable::take(std::string_view key, const Rate& rate, TimePoint now) noexcept {
  const std::uint64_t hash = route::hash_bytes(seed_, key);
  Set& set = sets_[hash & (sets_.size() - 1)];
  const std::uint64_t mark = mark_of(hash);
  const std::int64_t time = micros_of(now.time_since_epoch()) + 1;
  const std::int64_t token = std::max<std::int64_t>(micros_of(rate.per) / rate.requests, 1);
  for (int tries = 0; tries < kTriesMax; ++tries) {
    Place* place = &set.places[0];
    std::uint64_t seen = place->load(std::memory_order_relaxed);
    for (Place& each : set.places) {
      const std::uint64_t value = each.load(std::memory_order_relaxed);
      const bool own = value != 0 && (value & ~kTimeMask) == mark;
      if (own || (value & kTimeMask) < (seen & kTimeMask)) {
        place = &each;
        seen = value;
      }
      if (own) break;
    }
    const bool own = seen != 0 && (seen & ~kTimeMask) == mark;
    const auto full_at = static_cast<std::int64_t>(seen & kTimeMask);
    const std::int64_t last_token = token * (static_cast<std::int64_t>(rate.burst) - 1);
    std::int64_t from = own ? std::max(full_at, time) : time;
    // Further off than an empty bucket is: the rate has been raised since. One token to begin with.
    if (from - time > last_token + token) from = time + last_token;
    const std::int64_t wait = from - time - last_token;
    if (wait > 0) return std::chrono::microseconds(wait);
    const std::uint64_t next = mark | (static_cast<std::uint64_t>(from + token) & kTimeMask);
    if (!place->compare_exchange_weak(seen, next, std::memory_order_relaxed)) continue;
    if (!own && full_at > time) evictions_.fetch_add(1, std::memory_order_relaxed);
    return Duration::zero();
  }
  return Duration::zero();
}

}  // namespace lbd::upstream
