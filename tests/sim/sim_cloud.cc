#include "tests/sim/sim_cloud.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace lbd::sim {
namespace {

using scaler::Health;
using scaler::ReportedState;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kBlindKnown = seconds(8);  // what was drained before it was decided seeing
constexpr Duration kEndedShown = seconds(40);
constexpr Duration kMeteredLag = seconds(3);
constexpr Duration kMeteredKept = seconds(40);
constexpr Duration kJustDown = seconds(30);  // it recovered while it was already being replaced

}  // namespace

void SimCloud::say(const std::string& what) const {
  if (!verbose) return;
  const auto at = std::chrono::duration<double>(clock_.now().time_since_epoch()).count() - 3600;
  std::printf("%8.1f  %s\n", at, what.c_str());
}

void SimCloud::violated(const std::string& what) {
  say("VIOLATED: " + what);
  if (!violation_) violation_ = what;
}

Duration SimCloud::within(Duration most) {
  return Duration(static_cast<Duration::rep>(rng_.unit() * static_cast<double>(most.count())));
}

bool SimCloud::strikes(double per_minute, Duration passed) {
  return chance(per_minute * std::chrono::duration<double>(passed).count() / 60);
}

std::uint32_t SimCloud::alive() const {
  std::uint32_t count = 0;
  for (const auto& [id, each] : instances_) count += each.alive() ? 1 : 0;
  return count;
}

bool SimCloud::healthy(const SimInstance& each) const {
  return each.state == ReportedState::running && !each.sick && !each.impaired &&
         clock_.now() >= each.healthy_at && !dead_zones_.contains(each.zone);
}

std::uint32_t SimCloud::serving() const {
  std::uint32_t count = 0;
  for (const auto& [id, each] : instances_) {
    count += healthy(each) && each.published && !each.draining_since ? 1 : 0;
  }
  return count;
}

// ---- what must never happen

void SimCloud::check_launch(const scaler::LaunchRequest& request) {
  const Outcome<std::optional<scaler::Intent>> intent =
      store_().intent("launch:" + request.client_token);
  if (!intent || !intent->has_value()) {
    return violated("launch without a persisted intent: " + request.client_token);
  }
  if (!(*intent)->open()) {
    violated(fmt::format("launch {} again although it is settled", request.client_token));
  }
  if ((*intent)->zone != request.zone) violated("a token is used in two zones");
  const Outcome<std::optional<scaler::Decision>> decision = store_().decision((*intent)->decision);
  if (!decision || !decision->has_value() || (*decision)->sentence.empty()) {
    violated("launch without a sentence in the history");
  }
  if (request.client_token.size() > 64) violated("token longer than 64 characters");
}

void SimCloud::check_bounds() {
  if (alive() > group_.max) {
    violated(fmt::format("{} alive, the maximum is {}", alive(), group_.max));
  }
  for (const auto& [id, each] : instances_) {
    for (const auto& [other_id, other] : instances_) {
      const bool twins =
          id < other_id && each.token == other.token && each.alive() && other.alive();
      if (twins) violated(fmt::format("two instances of launch {}", each.token));
    }
  }
}

void SimCloud::check_terminate(const SimInstance& each) {
  const Outcome<std::optional<scaler::Intent>> intent = store_().intent("terminate:" + each.id);
  if (!intent || !intent->has_value()) violated("termination without a persisted intent");
  if (!each.alive() || !each.ever_up) return;
  check_blind(each);
  const TimePoint now = clock_.now();
  const bool failing = each.seen_down && now - *each.seen_down < kJustDown;
  if (!each.draining_since) {
    if (!failing) violated(fmt::format("{} is terminated without a drain", each.id));
    return;
  }
  const Duration drained_for = now - *each.draining_since;
  const bool empty = drained_for >= each.drain_takes;
  const bool late = drained_for >= Duration(group_.drain_deadline) - seconds(1);
  if (!empty && !late && !failing) {
    violated(fmt::format("{} is terminated with requests in flight", each.id));
  }
}

/// That all fail at once says more of the check than of them: at most one may go, to try a new one.
void SimCloud::check_blind(const SimInstance& each) {
  const bool drained_blind = each.draining_since && blind_until_ > TimePoint{} &&
                             *each.draining_since >= blind_since_ + kBlindKnown &&
                             *each.draining_since < blind_until_;
  const bool served = each.first_up < blind_since_;
  if (!drained_blind || !served || !healthy(each) || ++ended_while_blind_ <= 1) return;
  violated(fmt::format("{} serves and is ended because every check fails", each.id));
}

// ---- the provider's side

const SimInstance& SimCloud::boot(const scaler::LaunchRequest& request) {
  SimInstance made;
  made.id = fmt::format("i-{:04}", ++made_);
  made.token = request.client_token;
  made.zone = request.zone;
  const TimePoint now = clock_.now();
  made.visible_at = now + within(faults.visible_after_max);
  made.running_at = now + seconds(1) + within(seconds(6));
  made.healthy_at = made.running_at + within(seconds(5));
  made.launched = clock_.wall();
  made.boots = !chance(faults.never_boots);
  made.sick = chance(faults.sick);
  made.metered_every = chance(0.5) ? seconds(8) : seconds(4);
  made.drain_takes = within(Duration(group_.drain_deadline) * 5 / 4);
  ++launches;
  say(fmt::format("launched {} in {} ({})", made.id, made.zone, made.token));
  const std::string id = made.id;
  return instances_.emplace(id, std::move(made)).first->second;
}

scaler::LaunchReply SimCloud::run(const scaler::LaunchRequest& request) {
  scaler::LaunchReply reply;
  check_launch(request);
  if (!faults.ignores_tokens) {
    for (const auto& [id, each] : instances_) {
      if (each.token != request.client_token) continue;
      reply.instance = report(each);
      return reply;
    }
  }
  if (dead_zones_.contains(request.zone) || chance(faults.capacity)) {
    say("no capacity in " + request.zone);
    reply.failure = CallFailure{CallError::capacity, "InsufficientInstanceCapacity", "none left"};
    return reply;
  }
  reply.instance = report(boot(request));
  if (launches_twice) boot(request);
  check_bounds();
  return reply;
}

scaler::TerminateReply SimCloud::terminate(const std::string& id) {
  scaler::TerminateReply reply;
  const auto found = instances_.find(id);
  if (found == instances_.end() || clock_.now() < found->second.visible_at) {
    reply.failure = CallFailure{CallError::not_found, "InvalidInstanceID.NotFound", "no such"};
    return reply;
  }
  check_terminate(found->second);
  if (found->second.alive()) {
    say("terminated " + id);
    ++terminations;
    end(found->second);
  }
  return reply;
}

scaler::ReportedInstance SimCloud::report(const SimInstance& each) const {
  scaler::ReportedInstance made;
  made.id = each.id;
  made.zone = each.zone;
  made.state = each.state;
  made.address = "10.0.0.1";
  made.port = 80;
  made.client_token = each.token;
  made.state_reason = each.alive() ? "" : "Server.InternalError";
  made.launched = each.launched;
  made.status_impaired = each.impaired || (blames_all && blind());
  return made;
}

scaler::DescribeReply SimCloud::describe() {
  scaler::DescribeReply reply;
  const TimePoint now = clock_.now();
  for (auto& [id, each] : instances_) {
    if (now < each.visible_at) continue;
    if (!each.alive() && now - each.ended_at > kEndedShown) continue;
    // A provider that hides a running instance for long is not one anybody could reconcile with.
    if (each.gaps < 2 && chance(faults.describe_gap)) {
      ++each.gaps;
      continue;
    }
    each.gaps = 0;
    reply.instances.push_back(report(each));
  }
  return reply;
}

scaler::CpuReply SimCloud::cpu() {
  scaler::CpuReply reply;
  const std::uint32_t share = serving();
  const TimePoint now = clock_.now();
  for (const auto& [id, each] : instances_) {
    if (each.state != ReportedState::running) continue;
    if (!late_cpu) {
      reply.samples.push_back({id, cpu_of(each, share), now});
      continue;
    }
    for (const auto& [until, mean] : each.metered) {
      if (until + kMeteredLag > now) continue;
      reply.samples.push_back({id, mean.first / mean.second, until, each.metered_every});
    }
  }
  return reply;
}

double SimCloud::cpu_of(const SimInstance& each, std::uint32_t share) {
  const bool works = healthy(each) && each.published && !each.draining_since;
  const double ratio = works && share > 0 ? std::min(1.0, load / share) : 0.0;
  return std::max(0.0, ratio + faults.cpu_noise * (rng_.unit() - 0.5));
}

void SimCloud::meter() {
  const TimePoint now = clock_.now();
  const std::uint32_t share = serving();
  for (auto& [id, each] : instances_) {
    if (each.state != ReportedState::running) continue;
    const auto spans = (now.time_since_epoch() - Duration(1)) / each.metered_every + 1;
    auto& [sum, count] = each.metered[TimePoint(spans * each.metered_every)];
    sum += cpu_of(each, share);
    ++count;
    std::erase_if(each.metered, [&](const auto& span) { return span.first < now - kMeteredKept; });
  }
}

// ---- the balancer's side

/// One health check of an instance, as the balancer sees it.
void SimCloud::check(SimInstance& each, scaler::InstanceDemand& row) {
  const TimePoint now = clock_.now();
  const bool up = healthy(each) && !blind();
  row.health = up ? Health::up : each.ever_up ? Health::down : Health::unknown;
  if (up) {
    if (!each.ever_up) each.first_up = now;
    each.ever_up = true;
    each.down_since.reset();
  } else {
    each.seen_down = now;
    if (each.ever_up && !each.down_since) each.down_since = now;
  }
  row.health_since = each.down_since.value_or(now);
  if (each.down_since) row.health_reason = "timeout";
}

std::vector<scaler::InstanceDemand> SimCloud::demand(TimePoint checks_since) {
  std::vector<scaler::InstanceDemand> list;
  const TimePoint now = clock_.now();
  for (auto& [id, each] : instances_) {
    if (!each.published) continue;
    scaler::InstanceDemand row;
    row.instance = id;
    if (now - checks_since >= seconds(2)) {
      check(each, row);
    }
    if (each.draining_since) {
      row.drained = now - *each.draining_since >= each.drain_takes;
      row.in_flight = row.drained ? 0 : 3;
    } else {
      row.in_flight = load > 0 ? 5 : 0;
      row.drained = false;
    }
    list.push_back(std::move(row));
  }
  return list;
}

void SimCloud::publish(const std::vector<scaler::InstanceTarget>& targets) {
  for (auto& [id, each] : instances_) each.published = false;
  for (const scaler::InstanceTarget& target : targets) {
    const auto found = instances_.find(target.id);
    if (found == instances_.end()) {
      violated("a target that never existed: " + target.id);
      continue;
    }
    SimInstance& each = found->second;
    each.published = true;
    if (target.state == scaler::TargetState::serving) {
      each.draining_since.reset();
    } else if (!each.draining_since) {
      each.draining_since = clock_.now();
      say("drain " + target.id);
    }
  }
}

void SimCloud::forget_targets() {
  for (auto& [id, each] : instances_) each.published = false;
}

// ---- the world

void SimCloud::end(SimInstance& each) {
  each.state = ReportedState::terminated;
  each.ended_at = clock_.now();
}

void SimCloud::go_blind(Duration passed) {
  if (blind() || !strikes(faults.blind, passed)) return;
  const TimePoint now = clock_.now();
  blind_since_ = now;
  blind_until_ = now + seconds(30) + within(seconds(90));
  ended_while_blind_ = 0;
  say("every check fails from here");
}

/// What an admin must put right, and does before long.
void SimCloud::begin_spell(Duration passed) {
  if (clock_.now() < spell_until_) return;
  spell_ = CallError::none;
  if (strikes(faults.denied, passed)) spell_ = CallError::denied;
  if (strikes(faults.invalid, passed)) spell_ = CallError::invalid;
  if (strikes(faults.quota, passed)) spell_ = CallError::account_limit;
  if (spell_ == CallError::none) return;
  spell_until_ = clock_.now() + seconds(5) + within(seconds(20));
  say(fmt::format("{} from here", scaler::call_error_name(spell_)));
}

std::optional<CallFailure> SimCloud::forbidden(bool launch) {
  if (clock_.now() >= spell_until_ || spell_ == CallError::none) return std::nullopt;
  if (launch) ++launches_forbidden[spell_];
  if (spell_ == CallError::denied) return CallFailure{spell_, "UnauthorizedOperation", "not you"};
  if (!launch) return std::nullopt;
  if (spell_ == CallError::invalid) {
    return CallFailure{spell_, "InvalidLaunchTemplateId.NotFound", "no such template"};
  }
  return CallFailure{spell_, "VcpuLimitExceeded", "no more than these"};
}

void SimCloud::step(Duration passed) {
  const TimePoint now = clock_.now();
  std::erase_if(dead_zones_, [&](const auto& each) { return now >= each.second; });
  if (late_cpu) meter();
  go_blind(passed);
  begin_spell(passed);
  if (strikes(faults.zone_dies, passed) && dead_zones_.empty()) {
    const std::string& zone = zones[rng_.below(static_cast<std::uint32_t>(zones.size()))];
    dead_zones_[zone] = now + seconds(10) + within(seconds(60));
    const bool ends_them = chance(0.5);
    say(fmt::format("zone {} dies{}", zone, ends_them ? " with its instances" : ""));
    for (auto& [id, each] : instances_) {
      if (each.zone == zone && each.alive() && ends_them) end(each);
    }
  }
  for (auto& [id, each] : instances_) {
    if (each.state == ReportedState::pending && now >= each.running_at) {
      if (each.boots) {
        each.state = ReportedState::running;
      } else {
        say(id + " never boots");
        end(each);
      }
    }
    if (each.state != ReportedState::running) continue;
    if (strikes(faults.fails_health, passed)) {
      say(id + " is impaired");
      each.impaired = true;
    }
    if (strikes(faults.dies, passed)) {
      say(id + " dies");
      end(each);
    }
  }
}

void SimCloud::heal() {
  Faults left;
  left.ignores_tokens = faults.ignores_tokens;
  faults = left;
  blind_until_ = std::min(blind_until_, clock_.now());
  spell_until_ = std::min(spell_until_, clock_.now());
  dead_zones_.clear();
}

// ---- the line between

std::optional<CallFailure> SimProvider::refusal(bool launch) {
  if (std::optional<CallFailure> forbidden = cloud_.forbidden(launch)) return forbidden;
  if (cloud_.chance(cloud_.faults.throttled)) {
    return CallFailure{CallError::throttled, "RequestLimitExceeded", "slow down"};
  }
  if (cloud_.chance(cloud_.faults.refused)) {
    return CallFailure{CallError::transient, "ServiceUnavailable", "try again"};
  }
  return std::nullopt;
}

Task<std::optional<CallFailure>> SimProvider::start() {
  std::optional<CallFailure> failed = refusal();
  co_return failed;
}

Task<scaler::LaunchReply> SimProvider::launch(scaler::LaunchRequest request) {
  scaler::LaunchReply reply;
  const CallFailure silence{CallError::unknown, "Timeout", "no answer"};
  const TimePoint arrives = clock_.now() + cloud_.within(milliseconds(800));
  const bool cut = co_await life_.crashed.wait_until(clock_, arrives);
  const bool sent = !cut || cloud_.chance(0.5);
  if (sent) reply.failure = refusal(true);
  if (sent && !reply.failure) reply = cloud_.run(request);
  const TimePoint answered = clock_.now() + cloud_.within(milliseconds(2500));
  co_await life_.crashed.wait_until(clock_, answered);
  if (life_.dead || cloud_.chance(cloud_.faults.lost_reply)) reply.failure = silence;
  co_return reply;
}

Task<scaler::TerminateReply> SimProvider::terminate(std::string instance) {
  scaler::TerminateReply reply;
  const CallFailure silence{CallError::unknown, "Timeout", "no answer"};
  const TimePoint arrives = clock_.now() + cloud_.within(milliseconds(500));
  const bool cut = co_await life_.crashed.wait_until(clock_, arrives);
  const bool sent = !cut || cloud_.chance(0.5);
  if (sent) reply.failure = refusal();
  if (sent && !reply.failure) reply = cloud_.terminate(instance);
  const TimePoint answered = clock_.now() + cloud_.within(milliseconds(500));
  co_await life_.crashed.wait_until(clock_, answered);
  if (life_.dead || cloud_.chance(cloud_.faults.lost_reply)) reply.failure = silence;
  co_return reply;
}

Task<scaler::DescribeReply> SimProvider::describe() {
  scaler::DescribeReply reply;
  reply.failure = refusal();
  if (!reply.failure) reply = cloud_.describe();  // answered late: an old picture
  const TimePoint answered = clock_.now() + cloud_.within(milliseconds(1500));
  co_await life_.crashed.wait_until(clock_, answered);
  co_return reply;
}

Task<scaler::CpuReply> SimProvider::cpu(std::vector<std::string>) {
  scaler::CpuReply reply;
  reply.failure = refusal();
  if (!reply.failure) reply = cloud_.cpu();
  co_return reply;
}

}  // namespace lbd::sim
