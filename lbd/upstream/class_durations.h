// How long requests took, apart by the class of their status.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <string_view>

#include "lbd/base/histogram.h"

namespace lbd::upstream {

/// A histogram per class, made when its first request ends: most rules only ever see two classes.
/// Thread: record() from the owner only, the rest from anywhere.
class ClassDurations {
 public:
  /// "none": the client went before it got a head.
  static constexpr std::array<std::string_view, 6> kNames{"none", "1xx", "2xx",
                                                          "3xx",  "4xx", "5xx"};

  ClassDurations() = default;
  ~ClassDurations() {
    for (const auto& each : of_class_) delete each.load(std::memory_order_relaxed);
  }
  ClassDurations(const ClassDurations&) = delete;
  ClassDurations& operator=(const ClassDurations&) = delete;

  /// `status` 0 is class "none".
  void record(int status, std::uint64_t micros) {
    const auto digit = static_cast<std::size_t>(status) / 100;
    auto& slot = of_class_[digit < of_class_.size() ? digit : 0];
    LatencyHistogram* histogram = slot.load(std::memory_order_relaxed);
    if (histogram == nullptr) {
      histogram = new LatencyHistogram();
      slot.store(histogram, std::memory_order_release);
    }
    histogram->record(micros);
  }

  /// Null when nothing of the class was recorded. Lives as long as this.
  [[nodiscard]] const LatencyHistogram* find(std::size_t index) const noexcept {
    return of_class_[index].load(std::memory_order_acquire);
  }

 private:
  std::array<std::atomic<LatencyHistogram*>, kNames.size()> of_class_{};
};

}  // namespace lbd::upstream
