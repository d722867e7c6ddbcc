// Sets of texts known beforehand, each with a number: which is this one, and which begin it. Built
// once; looking up costs the same however many there are, and allocates nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lbd::route {

/// Not for keys that come from outside: what is looked up is never put in.
[[nodiscard]] std::uint64_t hash_bytes(std::uint64_t seed, std::string_view bytes) noexcept;

using Numbered = std::pair<std::string, std::uint32_t>;

/// Open addressing, at most half full.
class HashSlots {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  /// For up to `count` texts.
  explicit HashSlots(std::size_t count);
  /// `text` is not in it yet.
  void add(std::uint64_t hash, std::string_view text, std::uint32_t number);
  [[nodiscard]] std::uint32_t find(std::uint64_t hash, std::string_view text) const noexcept;

 private:
  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t number = kNone;
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
  };
  std::vector<Slot> slots_;
  std::string texts_;
};

/// Whole texts. Numbers below kNone, texts all different.
class Literals {
 public:
  explicit Literals(const std::vector<Numbered>& texts);
  /// HashSlots::kNone when it is not one of them.
  [[nodiscard]] std::uint32_t find(std::string_view text) const noexcept {
    return slots_.find(hash_bytes(0, text), text);
  }

 private:
  HashSlots slots_;
};

/// Beginnings. One look per different length among them, hashing each byte once.
class Prefixes {
 public:
  explicit Prefixes(const std::vector<Numbered>& texts);
  /// Calls `visit` with the number of each that `text` begins with, the shortest first.
  template <class Visit>
  void each_of(std::string_view text, Visit visit) const {
    std::uint64_t hash = 0;
    std::size_t hashed = 0;
    for (const std::size_t length : lengths_) {
      if (length > text.size()) return;
      hash = hash_bytes(hash, text.substr(hashed, length - hashed));
      hashed = length;
      const std::uint32_t number = slots_.find(hash, text.substr(0, length));
      if (number != HashSlots::kNone) visit(number);
    }
  }

 private:
  [[nodiscard]] std::uint64_t hash_of(std::string_view prefix) const noexcept;
  std::vector<std::size_t> lengths_;  // ascending
  HashSlots slots_;
};

}  // namespace lbd::route
