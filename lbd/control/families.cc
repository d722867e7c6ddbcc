#include "lbd/control/families.h"

#include <array>
#include <limits>

namespace lbd::control {

prometheus::ClientMetric& Families::series(std::string_view name, std::string_view help,
                                           prometheus::MetricType type, std::vector<Label> labels) {
  Family& family = families_[std::string(name)];
  if (family.help.empty()) {
    family.help = help;
    family.type = type;
  }
  prometheus::ClientMetric& metric = family.series[labels];
  metric.label = std::move(labels);
  return metric;
}

void Families::counter(std::string_view name, std::string_view help, std::vector<Label> labels,
                       double value) {
  series(name, help, prometheus::MetricType::Counter, std::move(labels)).counter.value += value;
}

void Families::gauge(std::string_view name, std::string_view help, std::vector<Label> labels,
                     double value) {
  series(name, help, prometheus::MetricType::Gauge, std::move(labels)).gauge.value += value;
}

void Families::histogram(std::string_view name, std::string_view help, std::vector<Label> labels,
                         const HistogramSum& sum) {
  std::array<double, kLatencyBoundsUs.size()> bounds{};
  for (std::size_t i = 0; i < bounds.size(); ++i) bounds[i] = kLatencyBoundsUs[i] / 1e6;
  histogram(name, help, std::move(labels),
            {bounds, sum.buckets, static_cast<double>(sum.sum_us) / 1e6});
}

void Families::histogram(std::string_view name, std::string_view help, std::vector<Label> labels,
                         const HistogramValues& values) {
  auto& histogram =
      series(name, help, prometheus::MetricType::Histogram, std::move(labels)).histogram;
  const bool fresh = histogram.bucket.empty();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < values.buckets.size(); ++i) {
    total += values.buckets[i];
    const bool last = i == values.bounds.size();
    const double bound = last ? std::numeric_limits<double>::infinity() : values.bounds[i];
    if (fresh) histogram.bucket.push_back({0, bound});
    histogram.bucket[i].cumulative_count += total;
  }
  histogram.sample_count += total;
  histogram.sample_sum += values.sum;
}

std::vector<prometheus::MetricFamily> Families::take() {
  std::vector<prometheus::MetricFamily> out;
  for (auto& [name, family] : families_) {
    prometheus::MetricFamily made{name, family.help, family.type, {}};
    for (auto& [labels, metric] : family.series) made.metric.push_back(std::move(metric));
    out.push_back(std::move(made));
  }
  families_.clear();
  return out;
}

}  // namespace lbd::control
