// A group's calls to its provider. Each is a task of its own; the tick never waits for one.
#include <fmt/format.h>

#include <algorithm>

#include "scaler/group.h"

namespace lbd::scaler {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

/// In one tick; breakers end it long before, unless they are set to close after a second.
constexpr std::uint32_t kFailOversMax = 15;

Duration retry_after(std::uint32_t failures, Duration least) {
  return std::min<Duration>(least * (std::int64_t{1} << std::min(failures, 6u)), minutes(1));
}

}  // namespace

void Group::start_calls() {
  const TimePoint now = parts_.clock.now();
  if (!started_) {
    if (!starting_ && now >= start_next_) calls_.spawn(start_provider());
    return;
  }
  if (!describing_ && now >= describe_next_) calls_.spawn(describe());
  if (!reading_cpu_ && now >= cpu_next_ && wants_cpu()) calls_.spawn(read_cpu());
}

void Group::call_failed(std::string_view call, const CallFailure& failure) {
  std::string error = fmt::format("{} failed: {} {}", call, failure.code, failure.message);
  if (error != provider_error_) parts_.log.warning(error, {{"group", config_.name}});
  note_call("call_failed", error);
  provider_error_ = std::move(error);
}

Task<> Group::start_provider() {
  starting_ = true;
  std::optional<CallFailure> failed = co_await provider_->start();
  starting_ = false;
  if (stopped_) co_return;
  if (failed) {
    call_failed("start", *failed);
    note_quiet("starting", provider_error_);
    start_next_ = parts_.clock.now() + retry_after(start_failures_++, seconds(1));
    co_return;
  }
  provider_error_.clear();
  start_failures_ = 0;
  started_ = true;
  fleet_.set_zones(provider_->zones());
}

Task<> Group::describe() {
  describing_ = true;
  const TimePoint asked_at = parts_.clock.now();
  DescribeReply reply = co_await provider_->describe();
  describing_ = false;
  if (stopped_) co_return;
  const TimePoint now = parts_.clock.now();
  if (reply.failure) {
    call_failed("describe", *reply.failure);
    describe_next_ = now + retry_after(describe_failures_++, provider_->describe_interval());
    co_return;
  }
  describe_failures_ = 0;
  provider_error_.clear();
  describe_next_ = asked_at + provider_->describe_interval();
  fleet_.set_zones(provider_->zones());
  fleet_.observe(Observation{reply.instances, asked_at, now, parts_.clock.wall()});
}

Task<> Group::read_cpu() {
  reading_cpu_ = true;
  std::vector<std::string> instances;
  for (const Instance& each : fleet_.instances()) {
    const bool runs = !each.id.empty() && each.state != InstanceState::lost;
    if (runs) instances.push_back(each.id);
  }
  CpuReply reply = co_await provider_->cpu(std::move(instances));
  reading_cpu_ = false;
  if (stopped_) co_return;
  cpu_next_ = parts_.clock.now() + provider_->describe_interval();
  if (reply.failure) call_failed("cpu", *reply.failure);
  const auto source = std::holds_alternative<config::Ec2Provider>(config_.provider)
                          ? config::CpuSource::cloudwatch
                          : config::CpuSource::provider;
  for (const CpuSample& each : reply.samples) report_cpu(each, source);
}

/// After a capacity error: another zone (or another part of this one), now, with a token of its
/// own. Nothing when no zone is left or the instance is no longer wanted.
std::optional<Group::Attempt> Group::next_attempt(const Attempt& failed) {
  const FleetCounts counts = fleet_.count();
  const bool wanted = counts.good < fleet_.desired() && counts.alive < config_.max && !paused();
  const std::string zone = wanted ? fleet_.launch_zone(parts_.clock.now()) : std::string();
  if (zone.empty() || failed.number >= kFailOversMax) return std::nullopt;
  Attempt next = failed;
  next.zone = zone;
  ++next.number;
  next.token =
      client_token({parts_.store.identity(), config_.name, next.decision, next.zone, next.number});
  Intent intent = make_intent(IntentKind::launch, next.decision);
  intent.token = next.token;
  intent.zone = next.zone;
  Batch batch;
  batch.intents.push_back(intent);
  if (!commit(batch)) return std::nullopt;
  live_[intent.key()] = intent;
  fleet_.launch_started(next.token, next.zone, parts_.clock.now());
  return next;
}

Task<> Group::launch(Attempt attempt) {
  std::optional<Attempt> next = std::move(attempt);
  while (next) {
    const Attempt now = *next;
    next.reset();
    LaunchRequest request{config_.name, now.zone, now.token};
    LaunchReply reply = co_await provider_->launch(std::move(request));
    if (stopped_) co_return;
    fleet_.launch_answered(now.token, reply, parts_.clock.now());
    take_events();
    if (reply.failure) {
      call_failed("launch", *reply.failure);
      const bool capacity = reply.failure->error == CallError::capacity;
      if (capacity && now.fail_over) next = next_attempt(now);
    }
  }
  commit({});
}

Task<> Group::terminate(std::string instance, std::uint64_t decision) {
  TerminateReply reply = co_await provider_->terminate(instance);
  if (stopped_) co_return;
  fleet_.terminate_answered(instance, reply, parts_.clock.now());
  if (reply.failure) {
    call_failed("terminate", *reply.failure);
    set_outcome(decision, fmt::format("{}: {}", reply.failure->code, reply.failure->message));
  } else {
    set_outcome(decision, "accepted");
  }
  take_events();
  commit({});
}

}  // namespace lbd::scaler
