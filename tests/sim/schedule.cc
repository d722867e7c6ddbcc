#include "tests/sim/schedule.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "scaler/history.h"
#include "scaler/memory_store.h"

namespace lbd::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kStormLasts = seconds(240);
constexpr Duration kCalmLasts = seconds(130);

/// The store as one life of the scaler sees it: dead men write nothing.
class MortalStore final : public scaler::Store {
 public:
  MortalStore(scaler::Store& store, Life& life, SimCloud& cloud)
      : store_(store), life_(life), cloud_(cloud) {}

  [[nodiscard]] const std::string& identity() const override { return store_.identity(); }
  [[nodiscard]] std::uint64_t last_decision() const override { return store_.last_decision(); }
  [[nodiscard]] Outcome<scaler::SavedGroup> load(const std::string& group) override {
    return store_.load(group);
  }
  [[nodiscard]] Outcome<void> save(const scaler::Batch& batch) override {
    if (life_.dead) return failure("dead");
    if (cloud_.chance(cloud_.faults.crash_on_save)) {
      if (cloud_.chance(0.5)) (void)store_.save(batch);
      life_.dead = true;  // the schedule buries it after this tick
      return failure("killed while writing");
    }
    return store_.save(batch);
  }
  [[nodiscard]] Outcome<std::vector<scaler::Decision>> decisions(
      const scaler::HistoryQuery& query) override {
    return store_.decisions(query);
  }
  [[nodiscard]] Outcome<std::optional<scaler::Decision>> decision(std::uint64_t id) override {
    return store_.decision(id);
  }
  [[nodiscard]] Outcome<std::optional<scaler::Intent>> intent(const std::string& key) override {
    return store_.intent(key);
  }
  [[nodiscard]] Outcome<void> prune(WallTime, std::uint64_t) override { return {}; }

 private:
  scaler::Store& store_;
  Life& life_;
  SimCloud& cloud_;
};

class SayLog final : public Log {
 public:
  explicit SayLog(SimCloud& cloud) : cloud_(cloud) {}
  void write(LogLevel, std::string_view message, std::initializer_list<LogField>) override {
    if (cloud_.verbose) cloud_.say("    " + std::string(message));
  }

 private:
  SimCloud& cloud_;
};

/// One process of the scaler, from start to kill -9.
struct Incarnation {
  Incarnation(SimCloud& cloud, ManualClock& clock, scaler::Store& store, bool hides_drains)
      : mortal(store, life, cloud),
        log(cloud),
        started(clock.now()),
        scaler(scaler::ScalerParts{
            clock, log, mortal,
            [this, &cloud, &clock](const config::ScalingGroup&) {
              return std::make_unique<SimProvider>(cloud, clock, life);
            },
            [this, &cloud](const std::string&) { return cloud.demand(started); },
            [&cloud, hides_drains](const std::string&,
                                   const std::vector<scaler::InstanceTarget>& targets) {
              if (!hides_drains) return cloud.publish(targets);
              std::vector<scaler::InstanceTarget> shown = targets;
              for (auto& each : shown) each.state = scaler::TargetState::serving;
              cloud.publish(shown);
            },
            timings(), [&cloud](const std::string&) { return cloud.unserved(); }}) {}

  static scaler::FleetTimings timings() {
    scaler::FleetTimings made;
    made.unhealthy_hold = seconds(3);
    made.impaired_hold = seconds(8);
    made.unhealthy_drain = seconds(6);
    made.terminate_again = seconds(3);
    made.trial_wait = seconds(5);
    made.trial_again = seconds(12);
    made.lost_shown = seconds(10);
    made.account_hold = made.admin_hold = {seconds(3), seconds(20)};
    return made;
  }

  Life life;
  MortalStore mortal;
  SayLog log;
  TimePoint started;
  scaler::Scaler scaler;
  TaskGroup running;
};

config::ScalingGroup make_group(Rng& rng) {
  config::ScalingGroup group;
  group.name = "web";
  group.min = rng.below(4);
  group.max = std::max(1U, group.min + rng.below(4));
  group.warm_up = milliseconds(rng.below(8) * 1000);
  group.cooldown = seconds(10);
  group.drain_deadline = seconds(15);
  group.grace = seconds(15);
  group.launch_timeout = seconds(25);
  group.zone_pause = seconds(8);
  group.zone_pause_max = seconds(30);
  config::Policy out;
  out.name = "out";
  out.threshold = 0.9;
  out.period = seconds(1 + rng.below(2));
  out.datapoints = out.datapoints_to_alarm = 4;
  out.steps = {{0.0, std::nullopt, 1}};
  config::Policy in;
  in.name = "in";
  in.above = false;
  in.threshold = 0.6;
  in.period = out.period;
  in.datapoints = in.datapoints_to_alarm = 8;
  in.steps = {{std::nullopt, 0.0, -1}};
  config::Policy track;
  track.name = "track";
  track.kind = config::PolicyKind::target_tracking;
  track.target = 0.7;
  track.scale_out_for = seconds(4);
  track.scale_in_for = seconds(10);
  track.period = track.scale_in_period = out.period;
  if (rng.below(3) == 0) group.provider = config::Ec2Provider{};  // CPU figures that come late
  switch (rng.below(4)) {
    case 0:
    case 1:
      group.policies = {track};
      break;
    case 2:
      out.kind = in.kind = config::PolicyKind::simple;
      group.policies = {out, in};
      break;
    default:
      group.policies = {out, in};
  }
  return group;
}

Faults make_faults(Rng& rng) {
  Faults faults;
  // Each class strikes in a third of the schedules, so that they meet in all combinations.
  const auto maybe = [&](double rate) { return rng.below(3) == 0 ? rate * (0.3 + rng.unit()) : 0; };
  faults.lost_reply = maybe(0.3);
  faults.refused = maybe(0.2);
  faults.throttled = maybe(0.2);
  faults.capacity = maybe(0.4);
  faults.denied = maybe(1);
  faults.invalid = maybe(1);
  faults.quota = maybe(1);
  faults.never_boots = maybe(0.3);
  faults.sick = maybe(0.2);
  faults.dies = maybe(0.7);
  faults.fails_health = maybe(0.5);
  faults.zone_dies = maybe(0.8);
  faults.blind = maybe(0.5);
  faults.cpu_noise = maybe(0.1);
  faults.describe_gap = maybe(0.1);
  faults.crash = maybe(3);
  faults.crash_on_save = maybe(0.05);
  faults.wall_jump = maybe(2);
  faults.reload = maybe(3);
  faults.ignores_tokens = rng.below(3) == 0;
  faults.visible_after_max = milliseconds(rng.below(2) == 0 ? 0 : 5'000);
  return faults;
}

class Schedule {
 public:
  explicit Schedule(const ScheduleOptions& options)
      : options_(options), rng_(options.seed), group_(make_group(rng_)) {
    config_.scaling_groups["web"] = group_;
    if (options.sqlite) open_sqlite();
    if (!disk_) memory_ = std::make_unique<scaler::MemoryStore>("sim");
    cloud_ = std::make_unique<SimCloud>(
        clock_, rng_.next(), [this]() -> scaler::Store& { return store(); }, group_);
    cloud_->verbose = options.verbose;
    cloud_->launches_twice = options.launches_twice;
    cloud_->blames_all = options.blames_all;
    cloud_->faults = make_faults(rng_);
    if (options.blames_all) cloud_->faults.blind = 1;  // a canary of rare events proves little
    cloud_->late_cpu = std::holds_alternative<config::Ec2Provider>(group_.provider);
  }

  ~Schedule() {
    disk_.reset();
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }
  Schedule(const Schedule&) = delete;
  Schedule& operator=(const Schedule&) = delete;

  ScheduleResult run() {
    cloud_->say(fmt::format("min {} max {}{}", group_.min, group_.max,
                            cloud_->late_cpu ? ", late figures" : ""));
    begin();
    weather(kStormLasts, true);
    cloud_->heal();
    cloud_->say("calm from here");
    clock_.set_wall_offset(std::chrono::hours(24 * 365 * 56));
    weather(kCalmLasts, false);
    // A move between zones may begin late; a group that never comes to rest is caught all the same.
    for (int i = 0, quiet = 0; i < 40 && quiet < 3; ++i) {
      weather(seconds(2), false);
      quiet = under_way() ? 0 : quiet + 1;
    }
    if (!cloud_->violation()) check_calm();
    end();
    return {cloud_->violation(), cloud_->launches, cloud_->terminations, crashes_,
            cloud_->launches_forbidden};
  }

 private:
  scaler::Store& store() {
    if (disk_) return *disk_;
    return *memory_;
  }

  void open_sqlite() {
    std::string name = (std::filesystem::temp_directory_path() / "lbd-sim-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return;
    directory_ = name;
    auto opened = scaler::SqliteStore::open(directory_ + "/scaler.db", options_.seed);
    if (opened) disk_ = std::move(*opened);
  }

  void begin() {
    alive_ = std::make_unique<Incarnation>(*cloud_, clock_, store(), options_.hides_drains);
    cloud_->new_life();
    alive_->scaler.apply(config_);
    alive_->running.spawn(alive_->scaler.run());
    check_offered();
  }

  /// What was in service is offered from the start, not only after the provider's first report.
  void check_offered() {
    const Outcome<scaler::SavedGroup> saved = store().load("web");
    if (!saved) return;
    for (const scaler::ServedInstance& each : saved->served) {
      const auto found = cloud_->instances().find(each.instance);
      if (found == cloud_->instances().end()) {
        cloud_->violated("saved as in service, but it never existed: " + each.instance);
      } else if (!found->second.published) {
        cloud_->violated(each.instance + " was in service and is not offered after a restart");
      }
    }
  }

  /// kill -9: everything under way is cut, nothing more is written.
  void end() {
    if (!alive_) return;
    alive_->life.crash();
    alive_->scaler.stop();
    while (alive_->running.running() > 0 && clock_.run_next(clock_.now() + seconds(60))) {
    }
    alive_.reset();
    cloud_->forget_targets();
    if (disk_) {  // a new process opens the file anew
      disk_.reset();
      auto opened = scaler::SqliteStore::open(directory_ + "/scaler.db", 1);
      if (opened) disk_ = std::move(*opened);
    }
  }

  void weather(Duration lasts, bool storm) {
    const TimePoint until = clock_.now() + lasts;
    TimePoint load_changes{};
    while (clock_.now() < until && !cloud_->violation()) {
      clock_.advance(milliseconds(500));
      cloud_->step(milliseconds(500));
      if (storm && clock_.now() >= load_changes) {
        const bool asleep = group_.min == 0 && cloud_->chance(0.3);
        cloud_->load = asleep ? 0 : cloud_->rng().unit() * group_.max * 1.1;
        load_changes = clock_.now() + seconds(10) + cloud_->within(seconds(50));
        cloud_->say(fmt::format("load {:.2f}", cloud_->load));
      }
      live_and_die();
      check_bounds();
    }
  }

  void live_and_die() {
    if (!alive_) {
      if (clock_.now() >= restart_at_) begin();
      return;
    }
    const Duration step = milliseconds(500);
    if (cloud_->strikes(cloud_->faults.wall_jump, step)) {
      const Duration jump = cloud_->within(std::chrono::hours(2)) - std::chrono::hours(1);
      clock_.set_wall_offset(std::chrono::hours(24 * 365 * 56) + jump);
      cloud_->say("the wall clock jumps");
    }
    if (!cloud_->blind() && cloud_->strikes(cloud_->faults.reload, step)) reload();
    if (!alive_->life.dead && !cloud_->strikes(cloud_->faults.crash, step)) return;
    cloud_->say("kill -9 of the scaler");
    ++crashes_;
    end();
    restart_at_ = clock_.now() + cloud_->within(seconds(8));
  }

  /// An admin at work: another provider setting (the group is rebuilt), or another number.
  void reload() {
    if (cloud_->chance(0.5)) {
      cloud_->say("reload with a changed provider");
      auto& provider = config_.scaling_groups["web"].provider;
      if (auto* process = std::get_if<config::ProcessProvider>(&provider)) process->cpu_share += 1;
      if (auto* ec2 = std::get_if<config::Ec2Provider>(&provider)) ec2->tags["reload"] += "!";
      alive_->scaler.apply(config_);
      return;
    }
    const std::uint32_t wanted = group_.min + cloud_->rng().below(group_.max - group_.min + 1);
    cloud_->say(fmt::format("an admin wants {}", wanted));
    (void)alive_->scaler.set_desired("web", wanted, "admin");
    if (alive_->scaler.set_desired("web", group_.max + 1, "admin")) {
      cloud_->violated("a number over the maximum was accepted");
    }
  }

  void check_bounds() {
    if (!alive_) return;
    const std::optional<scaler::GroupStatus> status = alive_->scaler.status("web");
    if (status->desired < group_.min || status->desired > group_.max) {
      // Before the plan is loaded nothing is wanted.
      if (!status->kind.empty()) cloud_->violated("desired is out of bounds");
    }
  }

  [[nodiscard]] bool under_way() const {
    if (!alive_ || cloud_->violation()) return false;
    const scaler::GroupStatus status = *alive_->scaler.status("web");
    return std::any_of(status.instances.begin(), status.instances.end(), [](const auto& each) {
      return each.state != scaler::InstanceState::in_service;
    });
  }

  void check_calm() {
    if (!alive_) return cloud_->violated("no scaler at the end");
    const scaler::GroupStatus status = *alive_->scaler.status("web");
    const std::uint32_t there = cloud_->alive();
    if (there < group_.min || there > group_.max) {
      return cloud_->violated(fmt::format("calm, but {} alive, bounds {} to {}; {}", there,
                                          group_.min, group_.max, status.sentence));
    }
    std::uint32_t known = 0;
    for (const scaler::InstanceStatus& each : status.instances) {
      const auto found = cloud_->instances().find(each.id);
      if (found != cloud_->instances().end() && found->second.alive()) ++known;
    }
    if (known != there) cloud_->violated(fmt::format("orphans: {} alive, {} known", there, known));
    for (const auto& [id, each] : cloud_->instances()) {
      if (each.alive() && !cloud_->healthy(each) && !each.draining_since) {
        cloud_->violated(fmt::format("calm, but {} is unhealthy and stays", id));
      }
    }
    if (cloud_->unserved() > 0) {
      cloud_->violated(fmt::format("calm, but requests find no target; {}", status.sentence));
    }
    if (status.counts.good < status.desired && status.counts.coming == 0) {
      cloud_->violated(fmt::format("calm, but {} of {} wanted; {}", status.counts.good,
                                   status.desired, status.sentence));
    }
    check_spread(status);
    check_plan(status);
  }

  /// Zones and load: what a group at rest must have come to.
  void check_spread(const scaler::GroupStatus& status) {
    std::uint32_t most = 0;
    std::uint32_t least = UINT32_MAX;
    for (const scaler::ZoneStatus& each : status.zones) {
      most = std::max(most, each.instances);
      least = std::min(least, each.instances);
    }
    if (most > least + 1 && status.kind == "steady") {
      cloud_->violated(fmt::format("calm, but one zone has {} and another {}; {}", most, least,
                                   status.sentence));
    }
    const std::uint32_t serving = cloud_->serving();
    if (serving > 0 && cloud_->load / serving > 1 && status.desired < group_.max) {
      cloud_->violated(fmt::format("calm, but {} carry a load of {:.2f} and the maximum is {}; {}",
                                   serving, cloud_->load, group_.max, status.sentence));
    }
  }

  /// Nothing in the plan is open, and it knows of nobody who is gone.
  void check_plan(const scaler::GroupStatus& status) {
    const Outcome<scaler::SavedGroup> saved = store().load("web");
    const bool busy =
        std::any_of(status.instances.begin(), status.instances.end(), [](const auto& each) {
          return each.state != scaler::InstanceState::warming &&
                 each.state != scaler::InstanceState::in_service;
        });
    if (busy || !saved) return;
    for (const scaler::Intent& each : saved->live) {
      if (each.open()) cloud_->violated(fmt::format("calm, but {} is still open", each.key()));
      const auto found = cloud_->instances().find(each.instance);
      const bool there_still = found != cloud_->instances().end() && found->second.alive();
      if (!there_still) cloud_->violated(fmt::format("calm, but {} lives on", each.key()));
    }
  }

  ScheduleOptions options_;
  Rng rng_;
  ManualClock clock_;
  config::ScalingGroup group_;
  config::Config config_;
  std::string directory_;
  std::unique_ptr<scaler::MemoryStore> memory_;
  std::unique_ptr<scaler::SqliteStore> disk_;
  std::unique_ptr<SimCloud> cloud_;
  std::unique_ptr<Incarnation> alive_;
  TimePoint restart_at_{};
  std::uint64_t crashes_ = 0;
};

}  // namespace

ScheduleResult run_schedule(const ScheduleOptions& options) { return Schedule(options).run(); }

}  // namespace lbd::sim
