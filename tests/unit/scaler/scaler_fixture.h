// The scaler as a whole over a provider that answers at once.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "scaler/loop.h"
#include "scaler/memory_store.h"
#include "tests/support/manual_clock.h"

namespace lbd::scaler {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

struct Cloud {
  std::vector<std::string> zones{"a", "b", "c"};
  std::vector<ReportedInstance> instances;
  std::string closed_zone;
  std::string full_zone;  // parts of it have no room: so many launches there fail
  int room_after = 0;     // … and the last of them says that no part has
  double cpu = 0.5;
  std::map<std::string, double> cpu_of;  // by instance, where it is another
  std::optional<TimePoint> cpu_minute;   // the only figures are the means of the minute up to here
  /// The only figures are means of this long, told a minute and three tenths of it after its end.
  std::optional<Duration> cpu_metered;
  std::map<std::string, Duration> cpu_metered_of;  // by instance, where it is another
  int launches = 0;
  int launches_lost = 0;     // so many more get no answer and have no effect
  bool unreachable = false;  // no call is answered
};

class InstantProvider final : public Provider {
 public:
  explicit InstantProvider(Cloud& cloud, ManualClock& clock) : cloud_(cloud), clock_(clock) {}
  [[nodiscard]] const std::vector<std::string>& zones() const override { return cloud_.zones; }
  Task<std::optional<CallFailure>> start() override {
    std::optional<CallFailure> failed;
    if (cloud_.unreachable) failed = unreachable();
    co_return failed;
  }
  Task<LaunchReply> launch(LaunchRequest request) override {
    LaunchReply reply;
    ++cloud_.launches;
    if (cloud_.launches_lost > 0) {
      --cloud_.launches_lost;
      reply.failure = CallFailure{CallError::unknown, "Timeout", "no answer"};
      co_return reply;
    }
    if (cloud_.room_after > 0 && request.zone == cloud_.full_zone) {
      --cloud_.room_after;
      reply.failure = CallFailure{CallError::capacity, "InsufficientFreeAddressesInSubnet",
                                  "subnet-a is full", cloud_.room_after > 0};
      co_return reply;
    }
    if (request.zone == cloud_.closed_zone) {
      reply.failure = CallFailure{CallError::capacity, "InsufficientInstanceCapacity", "none"};
      co_return reply;
    }
    reply.instance.id = "i-" + std::to_string(cloud_.instances.size() + 1);
    reply.instance.zone = request.zone;
    reply.instance.client_token = request.client_token;
    reply.instance.state = ReportedState::running;
    reply.instance.address = "10.0.0.1";
    cloud_.instances.push_back(reply.instance);
    co_return reply;
  }
  Task<TerminateReply> terminate(std::string instance) override {
    TerminateReply reply;
    for (ReportedInstance& each : cloud_.instances) {
      if (each.id == instance) each.state = ReportedState::terminated;
    }
    co_return reply;
  }
  Task<DescribeReply> describe() override {
    DescribeReply reply;
    if (cloud_.unreachable) reply.failure = unreachable();
    if (!cloud_.unreachable) reply.instances = cloud_.instances;
    co_return reply;
  }
  Task<CpuReply> cpu(std::vector<std::string> instances) override {
    CpuReply reply;
    for (const std::string& id : instances) {
      const auto own = cloud_.cpu_of.find(id);
      CpuSample sample{id, own == cloud_.cpu_of.end() ? cloud_.cpu : own->second, clock_.now()};
      if (cloud_.cpu_metered) {
        meter(sample, reply);
        continue;
      }
      if (cloud_.cpu_minute) sample.at = *cloud_.cpu_minute;
      if (cloud_.cpu_minute) sample.span = minutes(1);
      reply.samples.push_back(sample);
    }
    co_return reply;
  }
  [[nodiscard]] Duration describe_interval() const override { return seconds(1); }

 private:
  /// As CloudWatch: adds to the mean of the span under way, and tells those that are over.
  void meter(const CpuSample& now, CpuReply& reply) {
    const auto own = cloud_.cpu_metered_of.find(now.instance);
    const Duration span = own == cloud_.cpu_metered_of.end() ? *cloud_.cpu_metered : own->second;
    std::map<TimePoint, std::pair<double, int>>& spans = metered_[now.instance];
    auto& [sum, count] = spans[TimePoint((now.at.time_since_epoch() / span + 1) * span)];
    sum += now.ratio;
    ++count;
    std::erase_if(spans, [&](const auto& each) { return each.first < now.at - minutes(20); });
    for (const auto& [until, mean] : spans) {
      if (until + minutes(1) + span * 3 / 10 > now.at) continue;
      reply.samples.push_back({now.instance, mean.first / mean.second, until, span});
    }
  }
  static CallFailure unreachable() { return {CallError::transient, "ECONNREFUSED", "no route"}; }

  Cloud& cloud_;
  ManualClock& clock_;
  std::map<std::string, std::map<TimePoint, std::pair<double, int>>>
      metered_;  // by end: sum, count
};

/// A store whose disk can be full.
class FullStore final : public Store {
 public:
  explicit FullStore(Store& store) : store_(store) {}
  [[nodiscard]] const std::string& identity() const override { return store_.identity(); }
  [[nodiscard]] std::uint64_t last_decision() const override { return store_.last_decision(); }
  Outcome<SavedGroup> load(const std::string& group) override {
    if (unreadable) return failure("file is not a database");
    return store_.load(group);
  }
  Outcome<void> save(const Batch& batch) override {
    if (full) return failure("disk is full");
    return store_.save(batch);
  }
  Outcome<std::vector<Decision>> decisions(const HistoryQuery& query) override {
    return store_.decisions(query);
  }
  Outcome<std::optional<Decision>> decision(std::uint64_t id) override {
    return store_.decision(id);
  }
  Outcome<std::optional<Intent>> intent(const std::string& key) override {
    return store_.intent(key);
  }
  Outcome<void> prune(WallTime oldest, std::uint64_t rows) override {
    return store_.prune(oldest, rows);
  }
  bool full = false;
  bool unreadable = false;

 private:
  Store& store_;
};

class ScalerTest : public testing::Test {
 protected:
  ScalerTest() {
    config::ScalingGroup group;
    group.name = "web";
    group.min = 3;
    group.max = 5;
    group.warm_up = milliseconds(5'000);
    config::Policy out;
    out.name = "out";
    out.threshold = 0.9;
    out.period = seconds(1);
    out.datapoints = out.datapoints_to_alarm = 5;
    out.steps = {{0.0, std::nullopt, 1}};
    config::Policy in = out;
    in.name = "in";
    in.above = false;
    in.threshold = 0.6;
    in.steps = {{std::nullopt, 0.0, -1}};
    group.policies = {out, in};
    config.scaling_groups["web"] = group;
    begin();
  }
  ~ScalerTest() override { end(); }

  void begin() {
    scaler = std::make_unique<Scaler>(ScalerParts{
        clock, log, store,
        [this](const config::ScalingGroup&) {
          ++providers;
          return std::make_unique<InstantProvider>(cloud, clock);
        },
        [this](const std::string&) { return demand(); },
        [this](const std::string&, const std::vector<InstanceTarget>& list) {
          targets = list;
          ++published;
        },
        FleetTimings{}, [this](const std::string&) { return std::exchange(unserved, 0); }});
    scaler->apply(config);
    running = std::make_unique<TaskGroup>();
    running->spawn(scaler->run());
  }
  void end() {
    scaler->stop();
    running.reset();
    scaler.reset();
  }
  std::vector<InstanceDemand> demand() {
    std::vector<InstanceDemand> list;
    for (const InstanceTarget& each : targets) {
      InstanceDemand row;
      row.instance = each.id;
      row.health = checks_pass ? Health::up : Health::unknown;
      row.health_since = clock.now();
      row.drained = each.state == TargetState::draining && drains;
      row.in_flight = row.drained || idle ? 0 : 2;
      row.requests_per_second = rates[each.id];
      row.latency_seconds = latencies[each.id];
      list.push_back(row);
    }
    return list;
  }
  void after(Duration span) { clock.advance(span); }
  [[nodiscard]] std::size_t alive() const {
    std::size_t count = 0;
    for (const ReportedInstance& each : cloud.instances) {
      count += each.state == ReportedState::running ? 1 : 0;
    }
    return count;
  }
  std::vector<Decision> history(bool acted_only = true) {
    HistoryQuery query;
    query.acted_only = acted_only;
    query.rows_max = 1000;
    return *store.decisions(query);
  }

  ManualClock clock;
  NullLog log;
  MemoryStore memory{"test"};
  FullStore store{memory};
  Cloud cloud;
  config::Config config;
  std::unique_ptr<Scaler> scaler;
  std::unique_ptr<TaskGroup> running;
  std::vector<InstanceTarget> targets;
  int published = 0;
  int providers = 0;
  std::map<std::string, double> rates;
  std::map<std::string, double> latencies;
  bool drains = true;
  bool idle = false;
  std::uint64_t unserved = 0;
  bool checks_pass = true;
};

}  // namespace lbd::scaler
