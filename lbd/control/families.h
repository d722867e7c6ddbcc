// Building metric families: one place that keeps a family's series together and unique.
#pragma once

#include <prometheus/metric_family.h>

#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/histogram.h"

namespace lbd::control {

using Label = prometheus::ClientMetric::Label;

/// A histogram as values: one bucket more than bounds, not cumulative.
struct HistogramValues {
  std::span<const double> bounds;  // seconds
  std::span<const std::uint64_t> buckets;
  double sum = 0;  // seconds
};

/// Series with the same labels are added up, so none appears twice.
class Families {
 public:
  void counter(std::string_view name, std::string_view help, std::vector<Label> labels,
               double value);
  void gauge(std::string_view name, std::string_view help, std::vector<Label> labels, double value);
  void histogram(std::string_view name, std::string_view help, std::vector<Label> labels,
                 const HistogramSum& sum);
  void histogram(std::string_view name, std::string_view help, std::vector<Label> labels,
                 const HistogramValues& values);
  [[nodiscard]] std::vector<prometheus::MetricFamily> take();

 private:
  struct Family {
    std::string help;
    prometheus::MetricType type = prometheus::MetricType::Gauge;
    std::map<std::vector<Label>, prometheus::ClientMetric> series;
  };
  prometheus::ClientMetric& series(std::string_view name, std::string_view help,
                                   prometheus::MetricType type, std::vector<Label> labels);
  std::map<std::string, Family, std::less<>> families_;
};

}  // namespace lbd::control
