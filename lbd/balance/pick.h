// Choosing a target: pure functions over a view of the candidates. One algorithm per file.
#pragma once

#include <cstdint>
#include <span>

#include "lbd/base/rng.h"

namespace lbd::balance {

/// What an algorithm may look at, per candidate.
struct Candidate {
  std::uint32_t index = 0;      // of the target in its group
  std::uint32_t weight = 1;     // > 0
  std::uint32_t in_flight = 0;  // over all workers
  float latency_us = 0;         // EWMA of response times; 0: unknown
};

constexpr std::size_t kNobody = SIZE_MAX;

/// Every function returns a position in `candidates`, kNobody when it is empty.

/// Weighted, interleaved, O(1) per pick for equal weights: the static stride scheduler of gRFC A86.
/// `turn` counts picks.
[[nodiscard]] std::size_t round_robin(std::span<const Candidate> candidates,
                                      std::uint64_t& turn) noexcept;

/// Weighted random.
[[nodiscard]] std::size_t random(std::span<const Candidate> candidates, Rng& rng) noexcept;

/// Two random choices, the one with fewer requests in flight per weight (Mitzenmacher's power of
/// two choices). With two or three candidates all are compared.
[[nodiscard]] std::size_t least_requests(std::span<const Candidate> candidates, Rng& rng) noexcept;

/// Two random choices, the one with the lower latency × (in flight + 1) ÷ weight; unknown latency
/// counts as the mean of the known ones (ingress-nginx seeds new hosts with the
/// mean).
[[nodiscard]] std::size_t least_latency(std::span<const Candidate> candidates, Rng& rng) noexcept;

}  // namespace lbd::balance
