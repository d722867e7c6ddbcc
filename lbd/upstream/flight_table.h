// Requests under way by key, in bounded memory and counted over all workers.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace lbd::upstream {

/// One request in a FlightTable, counted while it lives. Lifetime: the table's. Thread: any.
class FlightLease {
 public:
  FlightLease() = default;
  FlightLease(FlightLease&& other) noexcept : place_(std::exchange(other.place_, nullptr)) {}
  FlightLease& operator=(FlightLease&& other) noexcept {
    if (this != &other) {
      release();
      place_ = std::exchange(other.place_, nullptr);
    }
    return *this;
  }
  ~FlightLease() { release(); }

 private:
  friend class FlightTable;
  explicit FlightLease(std::atomic<std::uint64_t>& place) noexcept : place_(&place) {}
  void release() noexcept;
  std::atomic<std::uint64_t>* place_ = nullptr;
};

/// A key that has requests under way has a place in a set of 16: 40 bits of its hash and the count,
/// in one number that is moved by compare-and-swap, without a lock. A place whose count is 0 is
/// free. Two workers may make places for one key at the same moment; its count is the sum of both,
/// so that never more than the limit are let in; while both exist, two requests that come at the
/// same moment for the last place may both be refused. Two keys of one set share a count if 40 bits
/// of their hashes agree. A key whose set is full of others is not counted: whoever fills the table
/// shuts nobody out. Thread: any.
class FlightTable {
 public:
  /// Room for about `keys_max` keys at once, at 32 bytes each: with so many, one in 100,000 finds
  /// its set full. `seed`: random, so that nobody can tell which keys share a set.
  FlightTable(std::size_t keys_max, std::uint64_t seed);
  FlightTable(const FlightTable&) = delete;
  FlightTable& operator=(const FlightTable&) = delete;

  enum class Entry : std::uint8_t { counted, uncounted, refused };
  /// Counts one more request of the key, if fewer than `most` are under way.
  [[nodiscard]] Entry enter(std::string_view key, std::uint32_t most, FlightLease& lease) noexcept;
  /// Requests of the key that are under way.
  [[nodiscard]] std::uint32_t count(std::string_view key) const noexcept;

 private:
  using Place = std::atomic<std::uint64_t>;
  struct alignas(64) Set {
    std::array<Place, 16> places{};
  };
  [[nodiscard]] static std::uint32_t sum(const Set& set, std::uint64_t mark) noexcept;

  std::vector<Set> sets_;
  std::uint64_t seed_;
};

}  // namespace lbd::upstream
