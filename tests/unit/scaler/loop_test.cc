// The scaler as a whole over a provider that answers at once.
#include "scaler/loop.h"

#include <gtest/gtest.h>

#include "scaler/memory_store.h"
#include "tests/support/manual_clock.h"

namespace lbd::scaler {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

struct Cloud {
  std::vector<std::string> zones{"a", "b", "c"};
  std::vector<ReportedInstance> instances;
  std::string closed_zone;
  double cpu = 0.5;
  int launches = 0;
};

class InstantProvider final : public Provider {
 public:
  explicit InstantProvider(Cloud& cloud, ManualClock& clock) : cloud_(cloud), clock_(clock) {}
  [[nodiscard]] const std::vector<std::string>& zones() const override { return cloud_.zones; }
  Task<std::optional<CallFailure>> start() override {
    std::optional<CallFailure> none;
    co_return none;
  }
  Task<LaunchReply> launch(LaunchRequest request) override {
    LaunchReply reply;
    ++cloud_.launches;
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
    reply.instances = cloud_.instances;
    co_return reply;
  }
  Task<CpuReply> cpu(std::vector<std::string> instances) override {
    CpuReply reply;
    for (const std::string& id : instances) reply.samples.push_back({id, cloud_.cpu, clock_.now()});
    co_return reply;
  }
  [[nodiscard]] Duration describe_interval() const override { return seconds(1); }

 private:
  Cloud& cloud_;
  ManualClock& clock_;
};

/// A store whose disk can be full.
class FullStore final : public Store {
 public:
  explicit FullStore(Store& store) : store_(store) {}
  [[nodiscard]] const std::string& identity() const override { return store_.identity(); }
  [[nodiscard]] std::uint64_t last_decision() const override { return store_.last_decision(); }
  Outcome<SavedGroup> load(const std::string& group) override { return store_.load(group); }
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
      row.health = Health::up;
      row.health_since = clock.now();
      row.drained = each.state == TargetState::draining && drains;
      row.in_flight = row.drained || idle ? 0 : 2;
      list.push_back(row);
    }
    return list;
  }
  void after(Duration span) { clock.advance(span); }
  std::size_t alive() const {
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
  bool drains = true;
  bool idle = false;
  std::uint64_t unserved = 0;
};

TEST_F(ScalerTest, AGroupWithoutRequestsSleepsAtZeroAndTheFirstRequestWakesIt) {
  config.scaling_groups["web"].min = 0;
  config.scaling_groups["web"].desired = 1;
  end();
  begin();
  after(seconds(30));
  ASSERT_EQ(alive(), 1u);
  cloud.cpu = 0.002;
  after(minutes(3));
  EXPECT_EQ(alive(), 1u) << "ended although it had requests";
  idle = true;
  after(minutes(3));
  EXPECT_EQ(alive(), 0u);
  EXPECT_EQ(cloud.launches, 1) << "it came and went without a request";
  unserved = 2;
  after(seconds(5));
  EXPECT_EQ(alive(), 1u);
  EXPECT_TRUE(history().front().sentence.starts_with("scale out 0 -> 1: 2 requests found no"))
      << history().front().sentence;
}

TEST_F(ScalerTest, FillsToTheMinimumOnePerZoneOneActionATick) {
  after(milliseconds(10));
  EXPECT_EQ(cloud.launches, 0);  // the first tick starts and looks
  for (int i = 1; i <= 3; ++i) {
    after(seconds(1));
    EXPECT_LE(cloud.launches, i);
  }
  after(seconds(3));
  EXPECT_EQ(alive(), 3u);
  EXPECT_EQ(cloud.instances[0].zone, "a");
  EXPECT_EQ(cloud.instances[1].zone, "b");
  EXPECT_EQ(cloud.instances[2].zone, "c");
  EXPECT_EQ(targets.size(), 3u);
}

TEST_F(ScalerTest, GoesFromThreeToFiveAndNeverSixWhenCpuPassesNinety) {
  after(seconds(15));
  cloud.cpu = 0.95;
  after(minutes(5));
  EXPECT_EQ(alive(), 5u);
  EXPECT_EQ(cloud.launches, 5);
  EXPECT_EQ(scaler->status("web")->kind, "at_max");
}

TEST_F(ScalerTest, ShrinksBackByDrainingFirst) {
  after(seconds(15));
  cloud.cpu = 0.95;
  after(minutes(2));
  drains = false;
  cloud.cpu = 0.1;
  after(minutes(1));
  EXPECT_EQ(alive(), 5u);  // still requests in flight
  EXPECT_EQ(scaler->status("web")->counts.draining, 1u);
  drains = true;
  after(minutes(3));
  EXPECT_EQ(alive(), 3u);
  EXPECT_EQ(targets.size(), 3u);
}

TEST_F(ScalerTest, ACapacityErrorFailsOverToTheNextZoneInTheSameTick) {
  cloud.closed_zone = "a";
  after(milliseconds(1'500));
  EXPECT_EQ(cloud.launches, 2);
  EXPECT_EQ(alive(), 1u);
  EXPECT_EQ(cloud.instances[0].zone, "b");
  const auto rows = history();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_NE(rows[0].outcome.find("InsufficientInstanceCapacity"), std::string::npos);
  EXPECT_NE(rows[0].outcome.find("i-1: launched"), std::string::npos) << rows[0].outcome;
}

TEST_F(ScalerTest, EveryLaunchHasItsIntentAndItsSentence) {
  after(seconds(15));
  cloud.cpu = 0.95;
  after(minutes(1));
  for (const ReportedInstance& each : cloud.instances) {
    const auto intent = store.intent("launch:" + each.client_token);
    ASSERT_TRUE(intent && intent->has_value());
    EXPECT_EQ((*intent)->instance, each.id);
    const auto decision = store.decision((*intent)->decision);
    ASSERT_TRUE(decision && decision->has_value());
    EXPECT_FALSE((*decision)->sentence.empty());
  }
}

TEST_F(ScalerTest, NonDecisionsOfOneKindShareARow) {
  cloud.cpu = 0.7;
  after(minutes(10));
  std::size_t quiet = 0;
  std::uint64_t repeats = 0;
  for (const Decision& each : history(false)) {
    if (each.kind != "steady") continue;
    ++quiet;
    repeats = each.repeats;
  }
  EXPECT_EQ(quiet, 1u);
  EXPECT_GT(repeats, 400u);
}

TEST_F(ScalerTest, NothingIsLaunchedWhileThePlanCannotBeWritten) {
  store.full = true;
  after(minutes(1));
  EXPECT_EQ(cloud.launches, 0);
  EXPECT_NE(scaler->status("web")->store_error.find("disk is full"), std::string::npos);
  store.full = false;
  after(seconds(10));
  EXPECT_EQ(alive(), 3u);
}

TEST_F(ScalerTest, DesiredOutsideTheBoundsIsAnErrorAndNotAClamp) {
  after(seconds(15));
  const auto refused = scaler->set_desired("web", 6, "test");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message.rfind("ValidationError", 0), 0u);
  EXPECT_TRUE(scaler->set_desired("web", 5, "test"));
  cloud.cpu = 0.7;
  after(seconds(15));
  EXPECT_EQ(alive(), 5u);
  EXPECT_FALSE(scaler->set_desired("none", 3, "test"));
}

TEST_F(ScalerTest, PausedItDoesNothingUntilTheTimeIsOver) {
  after(seconds(15));
  ASSERT_TRUE(scaler->pause("web", minutes(5), "test"));
  cloud.cpu = 0.95;
  after(minutes(4));
  EXPECT_EQ(alive(), 3u);
  EXPECT_TRUE(scaler->status("web")->paused);
  after(minutes(2));
  EXPECT_GT(alive(), 3u);
}

TEST_F(ScalerTest, APauseSurvivesARestart) {
  after(seconds(15));
  ASSERT_TRUE(scaler->pause("web", minutes(5), "test"));
  end();
  begin();
  cloud.cpu = 0.95;
  after(minutes(4));
  EXPECT_EQ(alive(), 3u);
}

TEST_F(ScalerTest, ARestartAdoptsAndChangesNothing) {
  after(seconds(15));
  cloud.cpu = 0.7;
  ASSERT_TRUE(scaler->set_desired("web", 4, "test"));
  after(seconds(20));
  end();
  const int before = cloud.launches;
  targets.clear();
  begin();
  after(minutes(2));
  EXPECT_EQ(cloud.launches, before);
  EXPECT_EQ(alive(), 4u);
  EXPECT_EQ(targets.size(), 4u);
  EXPECT_EQ(scaler->status("web")->desired, 4u);
}

TEST_F(ScalerTest, AReloadKeepsTheFleetAndAppliesTheNewBounds) {
  cloud.cpu = 0.7;
  after(seconds(15));
  config.scaling_groups["web"].min = 4;
  scaler->apply(config);
  after(seconds(15));
  EXPECT_EQ(alive(), 4u);
  EXPECT_EQ(providers, 1);
  config.scaling_groups["web"].min = 1;
  config.scaling_groups["web"].max = 2;
  scaler->apply(config);
  after(minutes(1));
  EXPECT_EQ(alive(), 2u);
}

TEST_F(ScalerTest, AReloadWithAnotherProviderTakesNoTargetAway) {
  cloud.cpu = 0.7;
  after(seconds(15));
  const int before = published;
  std::get<config::ProcessProvider>(config.scaling_groups["web"].provider).cpu_share = 2;
  scaler->apply(config);
  after(seconds(15));
  EXPECT_EQ(providers, 2);
  EXPECT_EQ(alive(), 3u);
  EXPECT_EQ(targets.size(), 3u);
  EXPECT_LE(published, before + 1);
}

TEST_F(ScalerTest, ARemovedGroupLetsItsInstancesRun) {
  after(seconds(15));
  config.scaling_groups.clear();
  scaler->apply(config);
  after(seconds(15));
  EXPECT_EQ(alive(), 3u);
  EXPECT_TRUE(targets.empty());
}

TEST_F(ScalerTest, ThePreferredCpuSourceWinsWhileItIsFresh) {
  cloud.cpu = 0.95;
  config.scaling_groups["web"].cpu_sources = {config::CpuSource::orca, config::CpuSource::provider};
  scaler->apply(config);
  after(seconds(10));
  for (int i = 0; i < 20; ++i) {
    for (const InstanceTarget& each : targets) {
      scaler->report_cpu({each.id, 0.7, clock.now()}, config::CpuSource::orca);
    }
    after(seconds(1));
  }
  EXPECT_EQ(alive(), 3u);
  after(minutes(1));  // no header for long: the provider's figure counts again
  EXPECT_GT(alive(), 3u);
}

TEST_F(ScalerTest, AnUndrainTakesBackWhatIsLeavingWhenLoadReturns) {
  after(seconds(15));
  cloud.cpu = 0.95;
  after(minutes(2));
  drains = false;
  cloud.cpu = 0.1;
  after(seconds(40));
  ASSERT_EQ(scaler->status("web")->counts.draining, 1u);
  const int before = cloud.launches;
  cloud.cpu = 0.95;
  after(seconds(30));
  EXPECT_EQ(scaler->status("web")->counts.draining, 0u);
  EXPECT_EQ(cloud.launches, before);
  EXPECT_EQ(targets.size(), 5u);
}

}  // namespace
}  // namespace lbd::scaler
