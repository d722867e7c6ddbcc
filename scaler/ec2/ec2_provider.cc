#include "scaler/ec2/ec2_provider.h"

#include <fmt/format.h>

#include <algorithm>

#include "lbd/base/check.h"

namespace lbd::scaler::ec2 {
namespace {

using aws::AwsReply;
using std::chrono::seconds;

constexpr seconds kStatusInterval{30};
constexpr seconds kStatusTimeout{5};
constexpr seconds kCpuInterval{60};
constexpr const char* kSubnetFull = "InsufficientFreeAddressesInSubnet";
constexpr std::size_t kSentMax = 1'000;
constexpr int kPagesMax = 100;       // × 1000 instances
constexpr int kMetricPagesMax = 10;  // one page holds 100,800 figures
constexpr seconds kClockTolerance{5};

CallFailure bad_reply(CallError error, std::string_view action) {
  return CallFailure{error, "BadReply",
                     fmt::format("the answer to {} lacks what it must have", action)};
}

/// Of a call that changes something: whether it may have.
CallFailure failure_of_change(const AwsReply& reply) {
  CallFailure failed = *reply.failure;
  if (reply.may_have_happened) failed.error = CallError::unknown;
  return failed;
}

/// FNV-1a: the same on every host and after every restart.
std::uint64_t stable_hash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return hash ^ (hash >> 32);
}

aws::AwsParts aws_parts(const Ec2Parts& parts) {
  return {parts.clock, parts.log, parts.rng, parts.http, parts.machine};
}

aws::ClientConfig client_config(const config::Ec2Provider& config) {
  aws::ClientConfig made;
  made.region = config.region;
  made.profile = config.profile;
  made.ec2_url = config.endpoint_url;
  return made;
}

bool names_cloudwatch(const config::ScalingGroup& group) {
  return std::any_of(group.cpu_sources.begin(), group.cpu_sources.end(),
                     [](auto each) { return each == config::CpuSource::cloudwatch; });
}

}  // namespace

Ec2Provider::Ec2Provider(const Ec2Parts& parts, const config::ScalingGroup& group,
                         const config::Ec2Provider& config)
    : clock_(parts.clock),
      log_(parts.log),
      config_(config),
      deployment_(parts.deployment),
      owner_{parts.deployment(), group.name},
      wants_cloudwatch_(names_cloudwatch(group)),
      pause_(group.zone_pause),
      pause_max_(group.zone_pause_max),
      visibility_delay_(parts.visibility_delay),
      client_(aws_parts(parts), client_config(config), parts.shared) {}

Task<std::optional<CallFailure>> Ec2Provider::start() {
  owner_.deployment = deployment_();
  if (owner_.deployment.empty()) {
    std::optional<CallFailure> unknown = CallFailure{
        CallError::invalid, "NoDeployment",
        "which instances are ours is written in the state directory, which cannot be used; or set "
        "node.deployment"};
    co_return unknown;
  }
  aws::AwsCall call = get_caller_identity();
  const AwsReply reply = co_await client_.call(std::move(call));
  std::optional<CallFailure> failed = reply.failure;
  if (failed) co_return failed;
  const std::optional<std::string> identity = read_identity(reply.body);
  if (!identity) {
    failed = bad_reply(CallError::transient, "GetCallerIdentity");
    co_return failed;
  }
  failed = co_await find_zones();
  if (failed) co_return failed;
  log_.info("EC2 is ready", {{"group", owner_.group},
                             {"deployment", owner_.deployment},
                             {"identity", *identity},
                             {"region", client_.region()},
                             {"zones", fmt::format("{}", fmt::join(zones_, ","))}});
  co_await warn_of_namesakes();
  co_return failed;
}

/// Another lbd's, or this one's from before its state directory was lost. Not knowing harms nobody.
Task<> Ec2Provider::warn_of_namesakes() {
  aws::AwsCall call = describe_namesakes(owner_.group);
  call.attempts_max = 1;
  call.timeout = kStatusTimeout;
  const AwsReply reply = co_await client_.call(std::move(call));
  if (reply.failure) co_return;
  for (const auto& [deployment, ids] : read_deployments(reply.body)) {
    if (deployment == owner_.deployment) continue;
    log_.warning("instances of a group of this name are not ours and left alone",
                 {{"group", owner_.group},
                  {"their_deployment", deployment.empty() ? "none" : deployment},
                  {"our_deployment", owner_.deployment},
                  {"instances", fmt::format("{}", fmt::join(ids, ","))}});
  }
}

Task<std::optional<CallFailure>> Ec2Provider::find_zones() {
  std::optional<CallFailure> failed;
  if (config_.subnets.empty()) {  // without ids DescribeSubnets would list all of the account's
    failed = CallFailure{CallError::invalid, "NoSubnets", "ec2.subnets is empty"};
    co_return failed;
  }
  aws::AwsCall call = describe_subnets(config_.subnets);
  const AwsReply reply = co_await client_.call(std::move(call));
  failed = reply.failure;
  if (failed) co_return failed;
  const std::optional<std::vector<Subnet>> known = read_subnets(reply.body);
  if (!known) {
    failed = bad_reply(CallError::transient, "DescribeSubnets");
    co_return failed;
  }
  std::vector<std::string> zones;
  std::map<std::string, std::vector<std::string>> subnets;
  for (const std::string& id : config_.subnets) {
    const auto found = std::find_if(known->begin(), known->end(),
                                    [&](const Subnet& each) { return each.id == id; });
    if (found == known->end()) {
      failed = CallFailure{CallError::invalid, "NoSubnet",
                           fmt::format("EC2 does not know the subnet {}", id)};
      co_return failed;
    }
    std::vector<std::string>& members = subnets[found->zone];
    if (members.empty()) zones.push_back(found->zone);
    members.push_back(id);
  }
  zones_ = std::move(zones);
  subnets_ = std::move(subnets);
  co_return failed;
}

/// Several subnets of a zone take turns by token, not by a counter: a token that is sent again,
/// even after a restart, must go where it went before. A full one is passed over by tokens that
/// were never sent; when all are full, the first to be tried again has its turn.
std::string Ec2Provider::subnet_for(const LaunchRequest& request) {
  const auto found = subnets_.find(request.zone);
  if (found == subnets_.end()) return {};
  const auto sent = sent_to_.find(request.client_token);
  if (sent != sent_to_.end()) return sent->second;
  const std::vector<std::string>& members = found->second;
  const std::size_t first = stable_hash(request.client_token) % members.size();
  std::string best;
  TimePoint best_opens = TimePoint::max();
  for (std::size_t i = 0; i < members.size(); ++i) {
    const std::string& each = members[(first + i) % members.size()];
    const auto full = full_subnets_.find(each);
    const bool closed = full != full_subnets_.end() && full->second.open(clock_.now());
    const TimePoint opens = closed ? full->second.open_until : TimePoint::min();
    if (opens >= best_opens) continue;
    best = each;
    best_opens = opens;
  }
  if (sent_to_.size() >= kSentMax) sent_to_.erase(sent_to_.begin());
  sent_to_[request.client_token] = best;
  return best;
}

/// The zone's other subnets may have addresses left: they are no reason to leave the zone.
void Ec2Provider::close_subnet(const std::string& subnet, const std::string& zone,
                               CallFailure& failure) {
  const TimePoint now = clock_.now();
  ZoneBreaker& breaker = full_subnets_[subnet];
  breaker.trip(now, pause_, pause_max_);
  failure.message =
      fmt::format("subnet {} gets no launches for {} s: {}", subnet,
                  std::chrono::ceil<seconds>(breaker.open_until - now).count(), failure.message);
  const std::vector<std::string>& members = subnets_[zone];
  failure.zone_has_room = std::any_of(members.begin(), members.end(), [&](const auto& each) {
    const auto full = full_subnets_.find(each);
    return full == full_subnets_.end() || !full->second.open(now);
  });
}

Task<LaunchReply> Ec2Provider::launch(LaunchRequest request) {
  LaunchReply made;
  const std::string subnet = subnet_for(request);
  if (subnet.empty()) {
    made.failure = CallFailure{CallError::invalid, "NoSubnet",
                               fmt::format("no subnet is configured in zone {}", request.zone)};
    co_return made;
  }
  const Launch launch{config_, owner_, subnet, request.client_token};
  aws::AwsCall call = run_instances(launch);
  const AwsReply reply = co_await client_.call(std::move(call));
  if (reply.failure) {
    made.failure = failure_of_change(reply);
    const CallError error = made.failure->error;
    const bool settled = error != CallError::unknown && error != CallError::transient;
    if (settled) sent_to_.erase(request.client_token);
    if (error == CallError::capacity && made.failure->code == kSubnetFull) {
      close_subnet(subnet, request.zone, *made.failure);
    }
    if (made.failure->code == "IdempotentParameterMismatch") {
      CallFailure refused = *made.failure;
      made = co_await find_launch(std::move(request), std::move(refused));
    }
    co_return made;
  }
  std::optional<ReportedInstance> instance = read_launched(reply.body);
  full_subnets_.erase(subnet);
  if (!instance) {
    made.failure = bad_reply(CallError::unknown, "RunInstances");
    co_return made;
  }
  sent_to_.erase(request.client_token);
  made.instance = std::move(*instance);
  if (made.instance.zone.empty()) made.instance.zone = request.zone;
  if (made.instance.client_token.empty()) made.instance.client_token = request.client_token;
  co_return made;
}

/// The token is known with other parameters (the configuration has changed since): the launch did
/// happen, so look for what it made.
Task<LaunchReply> Ec2Provider::find_launch(LaunchRequest request, CallFailure refused) {
  LaunchReply made;
  refused.error = CallError::unknown;
  made.failure = std::move(refused);
  aws::AwsCall call = describe_launch(request.client_token);
  const AwsReply reply = co_await client_.call(std::move(call));
  if (reply.failure) co_return made;
  std::optional<InstancesPage> page = read_instances(reply.body);
  if (!page || page->instances.empty()) co_return made;
  made.instance = std::move(page->instances.front());
  made.failure.reset();
  co_return made;
}

Task<TerminateReply> Ec2Provider::terminate(std::string instance) {
  TerminateReply made;
  aws::AwsCall call = terminate_instance(instance);
  const AwsReply reply = co_await client_.call(std::move(call));
  if (!reply.failure) co_return made;
  const bool gone = reply.failure->error == CallError::not_found;
  made.failure = gone ? *reply.failure : failure_of_change(reply);
  co_return made;
}

Task<DescribeReply> Ec2Provider::describe() {
  DescribeReply made;
  std::string next_token;
  std::set<std::string> detailed;
  for (int page_number = 1; page_number == 1 || !next_token.empty(); ++page_number) {
    aws::AwsCall call = describe_group(owner_, next_token);
    const AwsReply reply = co_await client_.call(std::move(call));
    made.failure = reply.failure;
    if (made.failure) break;
    std::optional<InstancesPage> page = read_instances(reply.body);
    if (!page || page_number > kPagesMax) {
      made.failure = bad_reply(CallError::transient, "DescribeInstances");
      break;
    }
    next_token = std::move(page->next_token);
    detailed.merge(page->detailed);
    for (ReportedInstance& each : page->instances) made.instances.push_back(std::move(each));
  }
  if (made.failure) {
    made.instances.clear();
    co_return made;
  }
  detailed_ = std::move(detailed);
  std::vector<std::string> running;
  for (const ReportedInstance& each : made.instances) {
    const bool runs = each.state == ReportedState::running && !each.status_impaired;
    if (runs) running.push_back(each.id);
  }
  co_await refresh_status(std::move(running));
  for (ReportedInstance& each : made.instances) {
    if (each.state != ReportedState::running || !impaired_.contains(each.id)) continue;
    each.status_impaired = true;
    if (each.state_reason.empty()) each.state_reason = "EC2 status check failed";
  }
  co_return made;
}

/// A warning when the reason changes, not twice a minute.
void Ec2Provider::note_status(std::string error) {
  if (!error.empty() && error != status_error_) {
    log_.warning("EC2 status checks are unknown", {{"group", owner_.group}, {"error", error}});
  }
  status_error_ = std::move(error);
}

Task<> Ec2Provider::refresh_status(std::vector<std::string> instances) {
  const TimePoint now = clock_.now();
  if (instances.empty() || status_running_ || now < status_next_) co_return;
  status_running_ = true;
  status_next_ = now + kStatusInterval;
  std::set<std::string> impaired;
  bool complete = true;
  for (std::size_t first = 0; complete && first < instances.size(); first += kStatusIdsMax) {
    const std::size_t end = std::min(first + kStatusIdsMax, instances.size());
    const std::vector<std::string> some(instances.begin() + static_cast<std::ptrdiff_t>(first),
                                        instances.begin() + static_cast<std::ptrdiff_t>(end));
    aws::AwsCall call = describe_status(some);
    call.attempts_max = 1;  // the instances must not wait for their status checks
    call.timeout = kStatusTimeout;
    const AwsReply reply = co_await client_.call(std::move(call));
    std::optional<std::set<std::string>> found;
    if (!reply.failure) found = read_impaired(reply.body);
    complete = found.has_value();
    if (found) impaired.merge(*found);
    note_status(reply.failure ? reply.failure->code + ": " + reply.failure->message : "");
  }
  if (complete) impaired_ = std::move(impaired);
  status_running_ = false;
}

Task<CpuReply> Ec2Provider::cpu(std::vector<std::string> instances) {
  CpuReply made;
  const TimePoint now = clock_.now();
  if (!wants_cloudwatch_ || instances.empty() || now < cpu_next_) co_return made;
  cpu_next_ = now + kCpuInterval;
  std::vector<CpuQuery> queries;
  for (std::string& each : instances) {
    const bool detailed = detailed_.contains(each);
    queries.push_back({std::move(each), detailed ? kDetailedPeriod : kBasicPeriod});
    if (queries.size() < kMetricQueriesMax) continue;
    std::vector<CpuQuery> batch = std::exchange(queries, {});
    co_await read_metrics(std::move(batch), made);
  }
  if (!queries.empty()) co_await read_metrics(std::move(queries), made);
  co_return made;
}

/// One batch, all its pages: what came before a failure is kept.
Task<> Ec2Provider::read_metrics(std::vector<CpuQuery> queries, CpuReply& made) {
  CpuQuestion question{std::move(queries), aws_time(), {}};
  for (int pages_left = kMetricPagesMax; pages_left > 0; --pages_left) {
    aws::AwsCall call = get_cpu(question);
    const AwsReply reply = co_await client_.call(std::move(call));
    std::optional<CpuPage> page;
    if (!reply.failure) page = read_cpu(reply.body, question.queries);
    if (!page) {
      made.failure = reply.failure;
      if (!made.failure) made.failure = bad_reply(CallError::transient, "GetMetricData");
      co_return;
    }
    keep_cpu(*page, question.queries, made);
    if (!page->refused.empty()) {
      const bool denied = page->refused == "Forbidden";
      made.failure = CallFailure{denied ? CallError::denied : CallError::transient, page->refused,
                                 "CloudWatch has no figures of some instances for us"};
    }
    if (page->next_token.empty()) co_return;
    question.next_token = std::move(page->next_token);
  }
  log_.warning("CloudWatch's answer has too many pages; the rest is left out",
               {{"group", owner_.group}});
}

/// By AWS's clock, as far as its answers have told it.
WallTime Ec2Provider::aws_time() const {
  return clock_.wall() + std::chrono::duration_cast<WallTime::duration>(client_.clock_offset());
}

/// When that was by our clock. The same answer for the same time at every poll, unless one of the
/// clocks was set: a figure that moved would leave a gap, or lie over the one before.
TimePoint Ec2Provider::time_of(WallTime at) {
  const TimePoint now = clock_.now();
  const Duration epoch = now.time_since_epoch() - Duration(aws_time().time_since_epoch());
  const Duration drift = aws_epoch_ ? epoch - *aws_epoch_ : Duration::max();
  if (drift > kClockTolerance || drift < -kClockTolerance) aws_epoch_ = epoch;
  return std::min(TimePoint(*aws_epoch_ + at.time_since_epoch()), now);
}

void Ec2Provider::keep_cpu(const CpuPage& page, const std::vector<CpuQuery>& queries,
                           CpuReply& reply) {
  const WallTime wall = aws_time();
  for (const CpuPoint& each : page.points) {
    const Duration span = each.until - each.from;
    // Figures come when their period is over; this is the mean of a part of it.
    if (span > kDetailedPeriod && each.until > wall) continue;
    reply.samples.push_back({queries[each.query].instance, each.ratio, time_of(each.until), span});
  }
}

std::unique_ptr<Provider> make_ec2_provider(const Ec2Parts& parts,
                                            const config::ScalingGroup& group) {
  const auto* config = std::get_if<config::Ec2Provider>(&group.provider);
  LBD_CHECK(config != nullptr);
  return std::make_unique<Ec2Provider>(parts, group, *config);
}

}  // namespace lbd::scaler::ec2
