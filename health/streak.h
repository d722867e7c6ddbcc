// Thresholds on results in a row. Pure.
#pragma once

#include <cstdint>

namespace lbd::health {

struct Thresholds {
  std::uint32_t passes_to_up = 2;
  std::uint32_t fails_to_down = 2;
};

/// A verdict and how many results in a row speak against it.
struct Streak {
  bool up = false;
  std::uint32_t against = 0;
};

/// Takes in one result; true when the verdict flips. A result that agrees with the verdict wipes
/// out those against it.
constexpr bool observe(Streak& streak, bool passed, Thresholds thresholds) noexcept {
  if (passed == streak.up) {
    streak.against = 0;
    return false;
  }
  streak.against += 1;
  if (streak.against < (streak.up ? thresholds.fails_to_down : thresholds.passes_to_up))
    return false;
  streak = {.up = !streak.up, .against = 0};
  return true;
}

}  // namespace lbd::health
