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

/// How far back late figures are kept: one that comes after others still completes their datapoint.
constexpr Duration kLatePast = minutes(20);

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
  CpuPast& past = cpu_[sample.instance][source];
  const CpuFigure figure{sample.ratio, sample.at, sample.span};
  if (figure.at >= past.newest.at) past.newest = figure;
  if (figure.span > Duration(0)) keep_late(past, figure);
}

/// Late figures are told again and again: known is one that ends about when this one does.
void Group::keep_late(CpuPast& past, const CpuFigure& figure) {
  const TimePoint oldest = past.newest.at - kLatePast;
  if (figure.at < oldest) return;
  const auto after = std::find_if(past.late.begin(), past.late.end(), [&](const CpuFigure& each) {
    return each.at > figure.at - figure.span / 2;
  });
  if (after != past.late.end() && after->at < figure.at + figure.span / 2) return;
  past.late.insert(after, figure);
  ++late_version_;
  std::erase_if(past.late, [&](const CpuFigure& each) { return each.at < oldest; });
}

const Group::CpuFigure* Group::CpuPast::covering(TimePoint at) const {
  const auto found = std::find_if(late.rbegin(), late.rend(), [at](const CpuFigure& each) {
    return each.at - each.span < at && at <= each.at;
  });
  return found == late.rend() ? nullptr : &*found;
}

const Group::CpuPast* Group::cpu_past(const std::string& instance) const {
  const auto found = cpu_.find(instance);
  if (found == cpu_.end()) return nullptr;
  const TimePoint now = parts_.clock.now();
  for (const CpuSource source : config_.cpu_sources) {
    const auto past = found->second.find(source);
    if (past == found->second.end()) continue;
    if (now - past->second.newest.at <= fresh_for(source)) return &past->second;
  }
  return nullptr;
}

std::optional<double> Group::cpu_of(const std::string& instance) const {
  const CpuPast* past = cpu_past(instance);
  if (past == nullptr) return std::nullopt;
  return past->newest.ratio;
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
    const CpuPast* past = cpu_past(each->id);
    if (past == nullptr) continue;
    ++(past->newest.span > Duration(0) ? late : live);
  }
  return late > 0 && live * 2 < counted.size();
}

/// A late figure belongs to the time it was measured in, and it is told once: repeated each second
/// as if it were of now, one datapoint would be an alarm for as long as nothing newer comes. It
/// fills each second of its span, and so the periods of a policy however short they are: with
/// CloudWatch's basic monitoring five minutes at once. Some instances may have such figures and
/// others one a minute; what began before the newest instance joined is of a smaller group.
void Group::feed_late(Watched& watched, const std::vector<const Instance*>& counted) {
  if (watched.late_version == late_version_) return;
  watched.late_version = late_version_;
  std::vector<const CpuPast*> pasts;
  TimePoint newest{};
  TimePoint oldest = TimePoint::max();
  Duration span{};
  for (const Instance* each : counted) {
    const CpuPast* past = cpu_past(each->id);
    if (past == nullptr || past->late.empty()) continue;
    pasts.push_back(past);
    newest = std::max(newest, past->late.back().at);
    oldest = std::min(oldest, past->late.front().at - past->late.front().span);
    span = std::max(span, past->late.back().span);
  }
  std::optional<LateEnd> end;
  bool all = false;
  std::vector<double> ratios;
  for (TimePoint at = newest; !pasts.empty() && at > oldest; at -= seconds(1)) {
    ratios.clear();
    for (const CpuPast* each : pasts) {
      const CpuFigure* figure = each->covering(at);
      if (figure != nullptr && figure->at - figure->span >= watched.joined) {
        ratios.push_back(figure->ratio);
      }
    }
    if (ratios.empty() || ratios.size() * 2 < counted.size()) continue;
    const bool complete = ratios.size() == counted.size();
    watched.series.add(at, combine(watched.policy.statistic, ratios), complete);
    if (!end) end = LateEnd{at, at, span};
    if (complete && !all) end->all = at;
    all = all || complete;
  }
  if (end) watched.late = end;
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
  watched.late.reset();
  watched.late_version = 0;
  const std::optional<Figure> figure = measure(policy, counted);
  if (figure) watched.series.add(now, figure->value, figure->complete);
}

void Group::feed_signals() {
  for (Watched& each : watched_) feed(each);
}

}  // namespace lbd::scaler
