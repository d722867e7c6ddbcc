#include "scaler/window.h"

#include <algorithm>

namespace lbd::scaler {
namespace {

using std::chrono::seconds;

constexpr std::int64_t kSpanMax = 86'400;  // CloudWatch: N x period is at most one day
constexpr std::int64_t kStaleAfterPeriods = 3;

std::int64_t second_of(TimePoint at) {
  return std::chrono::floor<seconds>(at.time_since_epoch()).count();
}
std::int64_t whole_seconds(Duration duration) {
  return std::max<std::int64_t>(1, std::chrono::ceil<seconds>(duration).count());
}

}  // namespace

Series::Series(Duration span)
    : points_(static_cast<std::size_t>(std::min(kSpanMax, whole_seconds(span) * 6 / 5 + 4))) {}

void Series::add(TimePoint at, double value, bool complete) {
  const std::int64_t second = second_of(at);
  if (second < 0 || second <= newest_ - static_cast<std::int64_t>(points_.size())) return;
  points_[static_cast<std::size_t>(second) % points_.size()] = {second, value, complete};
  newest_ = std::max(newest_, second);
  first_ = std::min(first_, second);
}

const Series::Point* Series::find(std::int64_t second) const {
  if (second < 0) return nullptr;
  const Point& point = points_[static_cast<std::size_t>(second) % points_.size()];
  return point.second == second ? &point : nullptr;
}

Series::Mean Series::mean(std::int64_t last, std::int64_t span) const {
  Mean mean;
  for (std::int64_t second = last; second > last - span; --second) {
    const Point* point = find(second);
    if (point == nullptr) continue;
    mean.sum += point->value;
    mean.complete = mean.complete && point->complete;
    ++mean.count;
  }
  return mean;
}

std::optional<double> Series::average(TimePoint now, Duration window) const {
  const Mean result = mean(
      second_of(now),
      std::min<std::int64_t>(whole_seconds(window), static_cast<std::int64_t>(points_.size())));
  if (result.count == 0) return std::nullopt;
  return result.sum / result.count;
}

std::optional<double> Series::latest(TimePoint now) const {
  if (newest_ < 0 || second_of(now) - newest_ >= kStaleAfterPeriods) return std::nullopt;
  const Point* point = find(newest_);
  if (point == nullptr) return std::nullopt;
  return point->value;
}

std::optional<Duration> Series::age(TimePoint now) const {
  if (newest_ < 0) return std::nullopt;
  return seconds(std::max<std::int64_t>(0, second_of(now) - newest_));
}

// As CloudWatch does it: the evaluation range is somewhat longer than N, the newest N real
// datapoints in it count, and a missing one never breaches.
AlarmState Series::evaluate(const AlarmRule& rule, TimePoint now) const {
  const std::int64_t period = whole_seconds(rule.period);
  const std::int64_t wanted = std::max<std::uint32_t>(1, rule.datapoints);
  const std::int64_t range = wanted + std::max<std::int64_t>(2, wanted / 5);
  const std::int64_t last = second_of(now);
  std::int64_t real = 0;
  std::uint32_t breaching = 0;
  for (std::int64_t index = 0; index < range && real < wanted; ++index) {
    if (last - (index + 1) * period + 1 < first_) break;  // it began before there were figures
    const Mean point = mean(last - index * period, period);
    if (point.count == 0) {
      if (real == 0 && index + 1 >= kStaleAfterPeriods) return AlarmState::insufficient;
      continue;
    }
    ++real;
    const double value = point.sum / point.count;
    const bool equal = rule.inclusive && value == rule.threshold;
    const bool over = value > rule.threshold || equal;
    const bool under = point.complete && (value < rule.threshold || equal);
    if (rule.above ? over : under) ++breaching;
  }
  if (breaching >= std::max<std::uint32_t>(1, rule.datapoints_to_alarm)) return AlarmState::alarm;
  return real < std::max<std::uint32_t>(1, rule.datapoints_to_alarm) ? AlarmState::insufficient
                                                                     : AlarmState::ok;
}

void Series::take_over(const Series& other) {
  first_ = std::min(first_, other.first_);
  for (const Point& point : other.points_) {
    if (point.second > other.newest_ - static_cast<std::int64_t>(points_.size())) {
      points_[static_cast<std::size_t>(std::max<std::int64_t>(point.second, 0)) % points_.size()] =
          point;
      newest_ = std::max(newest_, point.second);
    }
  }
}

}  // namespace lbd::scaler
