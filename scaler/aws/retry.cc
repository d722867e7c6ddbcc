#include "scaler/aws/retry.h"

#include <algorithm>

namespace lbd::aws {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr Seconds kTransientBase{0.05};
constexpr Seconds kThrottlingBase{1};
constexpr Seconds kBackoffMax{20};
constexpr Seconds kHintMax{5};

}  // namespace

Duration backoff(const RetryQuestion& question, Rng& rng) noexcept {
  const Seconds base = question.throttling ? kThrottlingBase : kTransientBase;
  const int doublings = std::clamp(question.retry, 0, 16);
  const Seconds most = std::min(base * static_cast<double>(1U << doublings), kBackoffMax);
  Seconds wait = most * rng.unit();
  if (question.hint) wait = std::max(wait, std::min(Seconds(*question.hint), wait + kHintMax));
  return std::chrono::duration_cast<Duration>(wait);
}

Duration TokenBucket::reserve(TimePoint now) noexcept {
  const double passed = at_ == TimePoint{} ? 0 : Seconds(now - at_).count();
  level_ = std::min(burst_, level_ + passed * per_second_) - 1;
  at_ = now;
  if (level_ >= 0) return Duration::zero();
  return std::chrono::duration_cast<Duration>(Seconds(-level_ / per_second_));
}

}  // namespace lbd::aws
