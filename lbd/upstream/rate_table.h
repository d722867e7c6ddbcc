// Token buckets by key, in bounded memory and shared by all workers.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

#include "lbd/base/clock.h"

namespace lbd::upstream {

/// So many requests in so long, and so many at once.
struct Rate {
  std::uint32_t requests = 1;
  Duration per = std::chrono::seconds(1);
  std::uint32_t burst = 1;  // at least 1
};

/// What a bucket holds is kept as one number, the time at which it would be full again (GCRA), so
/// that taking a token is one compare-and-swap: exact over all workers, without a lock. A key takes
/// 8 bytes in a set of eight places; a new key takes a place that is full again, or else the one
/// that is soonest: its owner gets a fresh bucket (`evictions`). Two keys of one set share a bucket
/// if 16 bits of their hashes agree, once in about 8,000 pairs. Thread: any.
class RateTable {
 public:
  /// Room for at least `keys_max` keys at once. `seed`: random, so that nobody can tell which keys
  /// share a set.
  RateTable(std::size_t keys_max, std::uint64_t seed);
  RateTable(const RateTable&) = delete;
  RateTable& operator=(const RateTable&) = delete;

  /// Takes a token of the key. 0: there was one; else how long until there is.
  [[nodiscard]] Duration take(std::string_view key, const Rate& rate, TimePoint now) noexcept;
  [[nodiscard]] std::uint64_t evictions() const noexcept {
    return evictions_.load(std::memory_order_relaxed);
  }

 private:
  using Place = std::atomic<std::uint64_t>;  // 16 bits of the hash, 48 of µs; 0: free
  struct alignas(64) Set {
    std::array<Place, 8> places{};
  };
  std::vector<Set> sets_;
  std::uint64_t seed_;
  std::atomic<std::uint64_t> evictions_{0};
};

}  // namespace lbd::upstream
