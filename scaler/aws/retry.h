// When to try an AWS call again: the SDKs' "standard" retry with its quota, and a bucket that keeps
// us below EC2's own.
#pragma once

#include <cstdint>
#include <optional>

#include "lbd/base/clock.h"
#include "lbd/base/rng.h"

namespace lbd::aws {

inline constexpr int kAttemptsMax = 3;

/// 500 tokens; each retry takes some, success gives them back. When they are out, nothing is
/// retried: a service in trouble gets one request per call.
class RetryQuota {
 public:
  static constexpr std::uint32_t kCapacity = 500;
  static constexpr std::uint32_t kTransientCost = 14;
  static constexpr std::uint32_t kThrottlingCost = 5;

  /// The tokens taken; nothing when there are not enough.
  [[nodiscard]] std::optional<std::uint32_t> take(bool throttling) noexcept {
    const std::uint32_t cost = throttling ? kThrottlingCost : kTransientCost;
    if (left_ < cost) return std::nullopt;
    left_ -= cost;
    return cost;
  }
  /// After success: what its last retry took, or 1 when there was none.
  void give(std::uint32_t tokens) noexcept {
    left_ = tokens > kCapacity - left_ ? kCapacity : left_ + tokens;
  }
  [[nodiscard]] std::uint32_t left() const noexcept { return left_; }

 private:
  std::uint32_t left_ = kCapacity;
};

struct RetryQuestion {
  int retry = 0;  // 0 for the first
  bool throttling = false;
  std::optional<Duration> hint;  // x-amz-retry-after
};

/// Full jitter: random × min(base × 2^retry, 20 s), with the server's hint as a lower bound of up
/// to 5 s more.
[[nodiscard]] Duration backoff(const RetryQuestion& question, Rng& rng) noexcept;

/// `burst` at once, then `per_second`.
class TokenBucket {
 public:
  TokenBucket(double burst, double per_second) noexcept
      : burst_(burst), per_second_(per_second), level_(burst) {}

  /// Takes one token, perhaps of the future: how long to wait before using it.
  [[nodiscard]] Duration reserve(TimePoint now) noexcept;

 private:
  double burst_;
  double per_second_;
  double level_;  // below 0: reserved ahead
  TimePoint at_{};
};

}  // namespace lbd::aws
