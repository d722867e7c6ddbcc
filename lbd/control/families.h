// Building metric families: one place that keeps a family's series together and unique.
#pragma once

#include <prometheus/metric_family.h>

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/histogram.h"

namespace lbd::control {

using Label = prometheus::ClientMetric::Label;

/// Series with the same labels are added up, so none appears twice.
class Families {
 public:
  void counter(std::string_view name, std::string_view help, std::vector<Label> labels,
               double value);
  void gauge(std::string_view name, std::string_view help, std::vector<Label> labels, double value);
  void histogram(std::string_view name, std::string_view help, std::vector<Label> labels,
                 const HistogramSum& sum);
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
