#include "lbd/daemon_providers.h"

#include <algorithm>

#include "scaler/process/process_provider.h"

namespace lbd {
namespace {

/// Between two questions for the node's zone; doubled each time. A metadata service may be late at
/// boot.
constexpr std::chrono::seconds kZonePauseFirst{1};
constexpr std::chrono::seconds kZonePauseMost{60};

/// Whether the CPU of its instances comes from a node_exporter, and somebody asks for it.
bool wants_scrapes(const config::ScalingGroup& group) {
  const bool wanted = std::find(group.cpu_sources.begin(), group.cpu_sources.end(),
                                config::CpuSource::node_exporter) != group.cpu_sources.end();
  const bool by_cpu = std::any_of(
      group.policies.begin(), group.policies.end(),
      [](const config::Policy& policy) { return policy.signal == config::Signal::cpu; });
  return wanted && by_cpu && std::holds_alternative<config::Ec2Provider>(group.provider);
}

}  // namespace

Providers::Providers(net::Loop& loop, Log& log, Rng rng, Household household)
    : loop_(loop),
      log_(log),
      rng_(rng),
      household_(std::move(household)),
      http_(loop),
      ec2_{.clock = loop.clock(),
           .log = log,
           .rng = rng_,
           .http = http_,
           .machine = machine_,
           .deployment = household_.deployment},
      imds_({.clock = loop.clock(), .log = log, .rng = rng_, .http = http_, .machine = machine_}) {}

Providers::~Providers() { cancel_calls(); }

void Providers::cancel_calls() {
  over_.set();
  for (const auto& [group, each] : scrapers_) each.scraper->stop();
  http_.close();
}

std::unique_ptr<scaler::Provider> Providers::make(const config::ScalingGroup& group) {
  if (const auto* process = std::get_if<config::ProcessProvider>(&group.provider)) {
    return std::make_unique<scaler::ProcessProvider>(
        scaler::ProcessProviderParts{.clock = loop_.clock(),
                                     .log = log_,
                                     .state_dir = household_.state_dir,
                                     .group = group.name},
        *process);
  }
  return scaler::ec2::make_ec2_provider(ec2_, group);
}

void Providers::find_zone(control::Plane& plane, const config::Node& node) {
  if (node.zone == "auto") tasks_.spawn(ask_zone(plane));
}

Task<> Providers::ask_zone(control::Plane& plane) {
  for (Duration pause = kZonePauseFirst;; pause = std::min<Duration>(2 * pause, kZonePauseMost)) {
    const std::optional<std::string> zone = co_await imds_.availability_zone();
    if (over_.is_set() || plane.config().node.zone != "auto") co_return;
    if (zone) {
      log_.info("found the node's zone", {{"zone", *zone}});
      plane.set_own_zone(*zone);
      co_return;
    }
    if (pause == kZonePauseFirst) {
      log_.info("the node's zone is unknown; no zone is preferred until the metadata service tells",
                {{"node.zone", "auto"}});
    }
    const TimePoint next = loop_.clock().now() + pause;
    const bool over = co_await over_.wait_until(loop_.clock(), next);
    if (over) co_return;
  }
}

/// Ends those that a reload has changed, or left without a group that wants them.
void Providers::drop_unwanted(const config::Config& config) {
  for (auto each = scrapers_.begin(); each != scrapers_.end();) {
    const auto group = config.scaling_groups.find(each->first);
    if (group != config.scaling_groups.end() && wants_scrapes(group->second) &&
        group->second.node_exporter_port == each->second.port &&
        group->second.node_exporter_path == each->second.path) {
      ++each;
      continue;
    }
    each->second.scraper->stop();
    tasks_.spawn(end(std::move(each->second.scraper)));
    each = scrapers_.erase(each);
  }
}

Task<> Providers::end(std::unique_ptr<scaler::NodeExporterScraper> scraper) {
  co_await scraper->calls().join();
}

void Providers::every_second(control::Plane& plane) {
  drop_unwanted(plane.config());
  for (const auto& [name, group] : plane.config().scaling_groups) {
    if (!wants_scrapes(group)) continue;
    Scraper& made = scrapers_[name];
    std::unique_ptr<scaler::NodeExporterScraper>& scraper = made.scraper;
    if (!scraper) {
      made.port = group.node_exporter_port;
      made.path = group.node_exporter_path;
      scraper = std::make_unique<scaler::NodeExporterScraper>(scaler::NodeExporterParts{
          .clock = loop_.clock(),
          .http = http_,
          .port = group.node_exporter_port,
          .path = group.node_exporter_path,
          .report = [&plane](const scaler::CpuSample& sample) {
            plane.scaler().report_cpu(sample, config::CpuSource::node_exporter);
          }});
    }
    std::vector<scaler::ScrapeTarget> targets;
    for (const scaler::InstanceTarget& instance : plane.scaler().targets(name)) {
      targets.push_back({instance.id, instance.address});
    }
    scraper->set_targets(targets);
    scraper->tick();
  }
}

void Providers::collect(control::Families& out) const {
  for (const auto& [key, count] : ec2_.shared->calls) {
    const std::vector<control::Label> labels{
        {"service", key.service}, {"action", key.action}, {"code", key.code}};
    out.counter("lbd_aws_requests_total", "Requests to AWS, by result.", labels,
                static_cast<double>(count));
  }
  for (const auto& [key, times] : ec2_.shared->times) {
    out.histogram("lbd_aws_request_seconds", "From a request to AWS to its answer.",
                  {{"service", key.first}, {"action", key.second}},
                  {aws::kCallBounds, times.buckets, times.sum});
  }
}

}  // namespace lbd
