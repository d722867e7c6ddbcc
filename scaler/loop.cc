#include "scaler/loop.h"

#include <fmt/format.h>

#include <algorithm>

#include "scaler/group.h"

namespace lbd::scaler {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr Duration kTick = seconds(1);
constexpr auto kHistoryKept = hours(24 * 7 * 6);
constexpr std::uint64_t kHistoryRowsMax = 200'000;
constexpr Duration kPruneEvery = hours(1);

bool same(const config::ProcessProvider& a, const config::ProcessProvider& b) {
  return a.command == b.command && a.environment == b.environment && a.zones == b.zones &&
         a.zone_addresses == b.zone_addresses && a.working_dir == b.working_dir &&
         a.cpu_share == b.cpu_share && a.stop_timeout == b.stop_timeout;
}
bool same(const config::Ec2Provider& a, const config::Ec2Provider& b) {
  return a.region == b.region && a.launch_template_id == b.launch_template_id &&
         a.launch_template_name == b.launch_template_name &&
         a.launch_template_version == b.launch_template_version && a.subnets == b.subnets &&
         a.tags == b.tags && a.profile == b.profile && a.endpoint_url == b.endpoint_url &&
         a.describe_interval == b.describe_interval;
}
bool same_provider(const config::ScalingGroup& a, const config::ScalingGroup& b) {
  if (a.provider.index() != b.provider.index()) return false;
  if (const auto* ec2 = std::get_if<config::Ec2Provider>(&a.provider)) {
    if (a.cpu_sources != b.cpu_sources) return false;  // CloudWatch is asked by the provider
    return same(*ec2, std::get<config::Ec2Provider>(b.provider));
  }
  return same(std::get<config::ProcessProvider>(a.provider),
              std::get<config::ProcessProvider>(b.provider));
}

}  // namespace

Scaler::Scaler(ScalerParts parts)
    : parts_(std::move(parts)), last_decision_(parts_.store.last_decision()) {}

Scaler::~Scaler() = default;

std::unique_ptr<Group> Scaler::make_group(const config::ScalingGroup& config) {
  return std::make_unique<Group>(parts_, last_decision_, config);
}

void Scaler::apply(const config::Config& config) {
  for (auto each = groups_.begin(); each != groups_.end();) {
    const auto wanted = config.scaling_groups.find(each->first);
    if (wanted != config.scaling_groups.end()) {
      ++each;
      continue;
    }
    parts_.log.warning("scaling group removed from the configuration; its instances keep running",
                       {{"group", each->first}});
    each->second->stop();
    parts_.publish(each->first, {});
    retiring_.push_back(std::move(each->second));
    each = groups_.erase(each);
  }
  for (const auto& [name, wanted] : config.scaling_groups) {
    std::unique_ptr<Group>& group = groups_[name];
    if (group && same_provider(group->config(), wanted)) {
      group->configure(wanted);
      continue;
    }
    std::unique_ptr<Group> fresh = make_group(wanted);
    if (group) {
      group->stop();
      fresh->succeed(*group);
      retiring_.push_back(std::move(group));
    }
    group = std::move(fresh);
  }
}

void Scaler::tick() {
  std::erase_if(retiring_, [](const std::unique_ptr<Group>& each) { return each->idle(); });
  for (const auto& [name, group] : groups_) group->tick();
  const TimePoint now = parts_.clock.now();
  if (now - pruned_at_ < kPruneEvery) return;
  pruned_at_ = now;
  Outcome<void> pruned = parts_.store.prune(parts_.clock.wall() - kHistoryKept, kHistoryRowsMax);
  if (!pruned) parts_.log.warning("history not pruned", {{"reason", pruned.error().message}});
}

Task<> Scaler::run() {
  TimePoint next = parts_.clock.now();
  while (!stop_.is_set()) {
    tick();
    next = std::max(next + kTick, parts_.clock.now());
    co_await stop_.wait_until(parts_.clock, next);
  }
  for (const auto& [name, group] : groups_) group->stop();
  for (const auto& [name, group] : groups_) co_await group->calls().join();
  for (const std::unique_ptr<Group>& group : retiring_) co_await group->calls().join();
}

void Scaler::stop() noexcept { stop_.set(); }

void Scaler::report_cpu(const CpuSample& sample, config::CpuSource source) {
  for (const auto& [name, group] : groups_) group->report_cpu(sample, source);
}

Outcome<void> Scaler::set_desired(const std::string& group, std::uint32_t desired,
                                  std::string_view by) {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return failure(fmt::format("no scaling group {}", group));
  return found->second->set_desired(desired, by);
}

Outcome<void> Scaler::pause(const std::string& group, Duration span, std::string_view by) {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return failure(fmt::format("no scaling group {}", group));
  return found->second->pause(span, by);
}

std::vector<GroupStatus> Scaler::status() const {
  std::vector<GroupStatus> all;
  for (const auto& [name, group] : groups_) all.push_back(group->status());
  return all;
}

std::optional<GroupStatus> Scaler::status(const std::string& group) const {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return std::nullopt;
  return found->second->status();
}

std::vector<InstanceTarget> Scaler::targets(const std::string& group) const {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return {};
  return found->second->targets();
}

}  // namespace lbd::scaler
