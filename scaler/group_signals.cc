// A group's signals: from per-instance figures to one datapoint per policy and second.
#include <algorithm>
#include <numeric>

#include "scaler/group.h"

namespace lbd::scaler {
namespace {

using config::CpuSource;
using config::Signal;
using config::Statistic;
using std::chrono::minutes;
using std::chrono::seconds;

/// A figure older than this says nothing of now. CloudWatch's basic metrics come every 5 minutes.
Duration fresh_for(CpuSource source) {
  switch (source) {
    case CpuSource::provider:
      return seconds(10);
    case CpuSource::orca:
      return seconds(15);
    case CpuSource::node_exporter:
      return seconds(30);
    case CpuSource::cloudwatch:
      return minutes(10);
  }
  return seconds(10);
}

/// `figures` is not empty.
double combine(Statistic statistic, const std::vector<double>& figures) {
  switch (statistic) {
    case Statistic::average:
      break;
    case Statistic::minimum:
      return *std::min_element(figures.begin(), figures.end());
    case Statistic::maximum:
      return *std::max_element(figures.begin(), figures.end());
  }
  return std::accumulate(figures.begin(), figures.end(), 0.0) / static_cast<double>(figures.size());
}

}  // namespace

const InstanceDemand* Group::demand_of(const std::string& instance) const {
  for (const InstanceDemand& each : demand_) {
    if (each.instance == instance) return &each;
  }
  return nullptr;
}

void Group::report_cpu(const CpuSample& sample, CpuSource source) {
  if (fleet_.find(sample.instance) == nullptr) return;
  CpuFigure& figure = cpu_[sample.instance][source];
  if (sample.at >= figure.at) figure = {sample.ratio, sample.at, sample.span};
}

const Group::CpuFigure* Group::cpu_figure(const std::string& instance) const {
  const auto found = cpu_.find(instance);
  if (found == cpu_.end()) return nullptr;
  const TimePoint now = parts_.clock.now();
  for (const CpuSource source : config_.cpu_sources) {
    const auto figure = found->second.find(source);
    if (figure == found->second.end() || now - figure->second.at > fresh_for(source)) continue;
    return &figure->second;
  }
  return nullptr;
}

std::optional<double> Group::cpu_of(const std::string& instance) const {
  const CpuFigure* figure = cpu_figure(instance);
  if (figure == nullptr) return std::nullopt;
  return figure->ratio;
}

bool Group::wants_cpu() const {
  return std::any_of(config_.policies.begin(), config_.policies.end(),
                     [](const config::Policy& each) { return each.signal == Signal::cpu; });
}

std::optional<double> Group::figure_of(Signal signal, const std::string& instance) const {
  if (signal == Signal::cpu) return cpu_of(instance);
  const InstanceDemand* demand = demand_of(instance);
  if (demand == nullptr) return std::nullopt;
  switch (signal) {
    case Signal::requests_per_target:
      return demand->requests_per_second;
    case Signal::in_flight_per_target:
      return demand->in_flight;
    default:
      return demand->latency_seconds;
  }
}

/// Each request counts once, not each instance. No requests: nobody waits, 0.
double Group::mean_latency(const std::vector<const Instance*>& counted) const {
  double sum = 0;
  double requests = 0;
  for (const Instance* each : counted) {
    const InstanceDemand* demand = demand_of(each->id);
    if (demand == nullptr) continue;
    requests += demand->requests_per_second;
    sum += demand->latency_seconds * demand->requests_per_second;
  }
  return requests > 0 ? sum / requests : 0;
}

/// One datapoint; nothing when fewer than half of the instances have a figure.
std::optional<Group::Figure> Group::measure(const config::Policy& policy,
                                            const std::vector<const Instance*>& counted) const {
  std::vector<double> figures;
  for (const Instance* each : counted) {
    const std::optional<double> figure = figure_of(policy.signal, each->id);
    if (figure) figures.push_back(*figure);
  }
  if (figures.empty() || figures.size() * 2 < counted.size()) return std::nullopt;
  Figure figure;
  figure.complete = figures.size() == counted.size();
  const bool by_request =
      policy.signal == Signal::latency && policy.statistic == Statistic::average;
  figure.value = by_request ? mean_latency(counted) : combine(policy.statistic, figures);
  return figure;
}

void Group::hear_demand() {
  const TimePoint now = parts_.clock.now();
  demand_ = parts_.demand(config_.name);
  unserved_ = parts_.unserved ? parts_.unserved(config_.name) : 0;
  fleet_.hear(demand_, now);
  const bool busy = std::any_of(demand_.begin(), demand_.end(), [](const InstanceDemand& each) {
    return each.in_flight > 0 || each.requests_per_second > 0;
  });
  if (busy || unserved_ > 0) last_request_ = now;
}

/// Whether most instances have only figures that are the mean of a time gone by.
bool Group::is_late(const Watched& watched, const std::vector<const Instance*>& counted) const {
  if (watched.policy.signal != Signal::cpu) return false;
  std::size_t late = 0;
  std::size_t live = 0;
  for (const Instance* each : counted) {
    const CpuFigure* figure = cpu_figure(each->id);
    if (figure == nullptr) continue;
    ++(figure->span > Duration(0) ? late : live);
  }
  return late > 0 && live * 2 < counted.size();
}

/// A late figure belongs to the time it was measured in, and it is told once: repeated each second
/// as if it were of now, one datapoint would be an alarm for as long as nothing newer comes.
void Group::feed_late(Watched& watched, const std::vector<const Instance*>& counted) {
  std::vector<const CpuFigure*> figures;
  TimePoint newest{};
  for (const Instance* each : counted) {
    const CpuFigure* figure = cpu_figure(each->id);
    if (figure == nullptr || figure->span == Duration(0)) continue;
    figures.push_back(figure);
    newest = std::max(newest, figure->at);
  }
  std::vector<double> ratios;
  Duration span{};
  for (const CpuFigure* each : figures) {
    if (each->at <= newest - each->span / 2) continue;  // of the datapoint before
    ratios.push_back(each->ratio);
    span = std::max(span, each->span);
  }
  const std::size_t known = ratios.size();
  const bool told =
      watched.measured_at && *watched.measured_at >= newest && watched.measured_of >= known;
  const bool of_fewer = newest - span < watched.joined;
  if (known * 2 < counted.size() || told || of_fewer) return;
  const double value = combine(watched.policy.statistic, ratios);
  for (TimePoint at = newest; at > newest - span; at -= seconds(1)) {
    watched.series.add(at, value, known == counted.size());
  }
  watched.measured_at = newest;
  watched.measured_of = known;
}

void Group::feed(Watched& watched) {
  const TimePoint now = parts_.clock.now();
  const config::Policy& policy = watched.policy;
  const Duration warm_up = policy.warm_up ? Duration(*policy.warm_up) : Duration(config_.warm_up);
  const std::vector<const Instance*> counted = fleet_.counted(now, warm_up);
  if (counted.size() > watched.counted) watched.joined = now - warm_up;
  watched.counted = static_cast<std::uint32_t>(counted.size());
  if (counted.empty()) return;
  if (is_late(watched, counted)) return feed_late(watched, counted);
  watched.measured_at.reset();
  const std::optional<Figure> figure = measure(policy, counted);
  if (figure) watched.series.add(now, figure->value, figure->complete);
}

void Group::feed_signals() {
  for (Watched& each : watched_) feed(each);
}

}  // namespace lbd::scaler
