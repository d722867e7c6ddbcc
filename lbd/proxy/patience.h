// How long to wait for the next bytes of a body. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "lbd/base/clock.h"

namespace lbd::proxy {

struct BodySoFar {
  std::uint64_t bytes = 0;
  Duration waited{};  // for them; what went by while the other side was slow does not count
};

/// At most `idle`, and less when a body that is waited for as long brings fewer than `rate_min`
/// bytes a second: beyond the first `idle`, time is earned by bytes. 0: no such rate.
[[nodiscard]] inline Duration body_patience(Duration idle, std::uint32_t rate_min,
                                            const BodySoFar& so_far) noexcept {
  if (rate_min == 0) return idle;
  constexpr std::uint64_t kEarnedMax = 365ULL * 24 * 3600 * 1000;  // in ms; keeps sums in range
  const std::uint64_t earned =
      so_far.bytes >= kEarnedMax ? kEarnedMax : so_far.bytes * 1000 / rate_min;
  const Duration left =
      idle + std::chrono::milliseconds(static_cast<std::int64_t>(earned)) - so_far.waited;
  return std::clamp(left, Duration::zero(), idle);
}

}  // namespace lbd::proxy
