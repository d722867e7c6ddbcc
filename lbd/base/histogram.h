// A latency histogram that one thread writes and any thread may read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lbd/base/relaxed.h"

namespace lbd {

/// Upper bounds in microseconds: OpenTelemetry's HTTP buckets with finer and coarser ends for a
/// balancer.
inline constexpr std::array<std::uint32_t, 18> kLatencyBoundsUs{
    500,     1'000,   2'500,   5'000,     10'000,    25'000,    50'000,    75'000,     100'000,
    250'000, 500'000, 750'000, 1'000'000, 2'500'000, 5'000'000, 7'500'000, 10'000'000, 30'000'000};

/// Thread: `record` from the owner only, the rest from anywhere.
class LatencyHistogram {
 public:
  void record(std::uint64_t micros) noexcept {
    std::size_t bucket = 0;
    while (bucket < kLatencyBoundsUs.size() && micros > kLatencyBoundsUs[bucket]) ++bucket;
    buckets_[bucket].add(1);
    sum_us_.add(micros);
  }
  /// Not cumulative; the last one is everything above the last bound.
  [[nodiscard]] std::uint64_t bucket(std::size_t index) const noexcept {
    return buckets_[index].get();
  }
  [[nodiscard]] std::uint64_t sum_us() const noexcept { return sum_us_.get(); }

  static constexpr std::size_t kBuckets = kLatencyBoundsUs.size() + 1;

 private:
  std::array<Relaxed<std::uint64_t>, kBuckets> buckets_;
  Relaxed<std::uint64_t> sum_us_;
};

/// Sum of several threads' histograms.
struct HistogramSum {
  std::array<std::uint64_t, LatencyHistogram::kBuckets> buckets{};
  std::uint64_t sum_us = 0;

  void add(const LatencyHistogram& histogram) noexcept {
    for (std::size_t i = 0; i < buckets.size(); ++i) buckets[i] += histogram.bucket(i);
    sum_us += histogram.sum_us();
  }
};

}  // namespace lbd
