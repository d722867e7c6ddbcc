// A signal's recent past as 1-second datapoints, and alarms over it: pure, no clock of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lbd/base/clock.h"

namespace lbd::scaler {

/// M of N datapoints on one side of a threshold. Durations are rounded up to whole seconds.
struct AlarmRule {
  bool above = true;  // strict: a value equal to the threshold breaches only with `inclusive`
  bool inclusive = false;
  double threshold = 0;
  Duration period = std::chrono::seconds(1);
  std::uint32_t datapoints = 1;           // N
  std::uint32_t datapoints_to_alarm = 1;  // M
};

enum class AlarmState : std::uint8_t {
  insufficient,  // fewer than M real datapoints, or none lately
  ok,
  alarm,
};

/// A ring of one datapoint per second of the monotonic clock; old ones fall out.
///
/// A datapoint is `complete` when every instance that should report did. An incomplete one may
/// raise an alarm above its threshold, never one below: what is unknown is no reason to shrink.
class Series {
 public:
  /// Keeps at least `span`, at most one day.
  explicit Series(Duration span);

  /// Sets the datapoint of the second `at` lies in; a later call for the same second replaces it.
  /// One that is older than the ring is long is passed over.
  void add(TimePoint at, double value, bool complete = true);
  /// Mean of the real datapoints in (now - window, now]; nothing when there are none.
  [[nodiscard]] std::optional<double> average(TimePoint now, Duration window) const;
  [[nodiscard]] std::optional<double> latest(TimePoint now) const;
  /// Age of the newest datapoint; nothing when there is none.
  [[nodiscard]] std::optional<Duration> age(TimePoint now) const;
  [[nodiscard]] AlarmState evaluate(const AlarmRule& rule, TimePoint now) const;
  [[nodiscard]] std::size_t capacity() const noexcept { return points_.size(); }
  /// Copies what fits from another ring (a reload asked for a longer one).
  void take_over(const Series& other);

 private:
  struct Point {
    std::int64_t second = -1;
    double value = 0;
    bool complete = true;
  };
  struct Mean {
    double sum = 0;
    std::uint32_t count = 0;
    bool complete = true;
  };

  [[nodiscard]] const Point* find(std::int64_t second) const;
  [[nodiscard]] Mean mean(std::int64_t last, std::int64_t seconds) const;

  std::vector<Point> points_;
  std::int64_t newest_ = -1;
  std::int64_t first_ = INT64_MAX;  // the first second there ever was a figure of
};

}  // namespace lbd::scaler
