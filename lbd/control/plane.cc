#include "lbd/control/plane.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>

#include "config/diff.h"
#include "config/files.h"
#include "lbd/control/admin.h"
#include "lbd/control/metrics.h"

namespace lbd::control {
namespace {

/// Passive health, drains and health flips reach the workers within this.
constexpr std::chrono::milliseconds kSweep{20};
constexpr std::chrono::seconds kSecond{1};
constexpr std::chrono::seconds kCertificatesEvery{3};
/// A reload's verdict waits so long for workers in the middle of something.
constexpr std::chrono::milliseconds kAdoption{500};
/// READY=1 is sent when the first round of checks is over, or after this.
constexpr std::chrono::seconds kReadyAfter{2};
/// In a stop a kept connection may carry one more request this long after its last one; half the
/// drain deadline when that is less.
constexpr std::chrono::seconds kIdleGrace{5};
/// Failed handshakes with the targets of a group are told this far apart.
constexpr std::chrono::seconds kTlsQuiet{10};
/// A shortage of our own is told again when it lasts this long.
constexpr std::chrono::seconds kShortageQuiet{60};

}  // namespace

std::size_t worker_count(const config::Node& node) {
  if (node.workers > 0) return node.workers;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
}

Plane::Plane(PlaneParts parts, std::shared_ptr<const config::Config> config)
    : parts_(std::move(parts)),
      config_(std::move(config)),
      live_(worker_count(config_->node), parts_.rng.next()),
      certificates_(parts_.log),
      targets_(parts_.loop, parts_.log, Rng(parts_.rng.next()), live_),
      names_(parts_.loop, parts_.log, Rng(parts_.rng.next()),
             [this] {
               targets_.set_named(names_.targets());
               publish_changes();
             }),
      overdue_(parts_.loop.clock(), live_, targets_.checker()),
      publisher_(live_, workers_, certificates_, fmt::format("1.1 lbd-{:016x}", parts_.rng.next())),
      demand_(parts_.loop.clock(), targets_, publisher_, live_),
      scaler_({.clock = parts_.loop.clock(),
               .log = parts_.log,
               .store = parts_.store,
               .make_provider = parts_.make_provider,
               .demand =
                   [this](const std::string& group) {
                     return demand_.of(*config_, targets_.checker(), group);
                   },
               .publish =
                   [this](const std::string& group,
                          const std::vector<scaler::InstanceTarget>& instances) {
                     targets_.set_instances(group, instances);
                     publish_changes();
                   },
               .unserved =
                   [this](const std::string& group) { return demand_.unserved(*config_, group); }}),
      admin_(parts_.loop,
             [this](const ServerRequest& request) { return answer_admin(*this, request); }),
      metrics_(parts_.loop,
               [this](const ServerRequest& request) { return answer_metrics(*this, request); }),
      sweep_timer_(parts_.loop.clock(), this, &Plane::on_sweep),
      second_timer_(parts_.loop.clock(), this, &Plane::on_second) {}

Plane::~Plane() {
  for (const auto& worker : workers_) worker->stop();
}

Outcome<void> Plane::start() {
  started_ = clock().now();
  live_.set_cookie_key(parts_.cookie_key);
  const std::size_t count = live_.workers();
  for (std::size_t i = 0; i < count; ++i) {
    const auto share =
        static_cast<std::uint32_t>((config_->node.connections_max + count - 1) / count);
    proxy::RecordSink* records =
        parts_.access_log != nullptr ? parts_.access_log->sink(i) : nullptr;
    workers_.push_back(std::make_unique<worker::Worker>(
        worker::WorkerSettings{.index = i,
                               .seed = parts_.rng.next(),
                               .connections_max = share,
                               .records = records,
                               .slow = config_->node.access_log.slow}));
  }
  heartbeats_.assign(count, 0);
  if (auto read = certificates_.prepare(*config_); !read) return read;
  if (auto bound = publisher_.prepare(*config_); !bound) return bound;
  if (auto up = admin_.listen_unix(config_->node.admin.socket); !up) return up;
  if (const auto& address = config_->node.admin.metrics) {
    const auto where = net::SocketAddress::parse(address->ip, address->port);
    if (!where) return failure("node.admin.metrics: not an IP address: " + address->ip);
    if (auto up = metrics_.listen_tcp(*where); !up) return up;
  }
  certificates_.commit();
  state_.generation = 1;
  state_.last_success = clock().wall();
  publisher_.commit(config_, state_.generation,
                    config_->node.zone == "auto" ? "" : config_->node.zone);
  names_.configure(*config_);
  targets_.configure(config_, &certificates_);
  for (const auto& worker : workers_) worker->start();
  publish_now();
  scaler_.apply(*config_);
  tasks_.spawn(run_scaler());
  sweep_timer_.set(clock().now() + kSweep);
  second_timer_.set(clock().now() + kSecond);
  for (const std::string& address : publisher_.bound())
    parts_.log.info("listening", {{"listener", address}});
  return {};
}

Task<> Plane::run_scaler() { co_await scaler_.run(); }

void Plane::publish_changes() {
  if (targets_.sweep()) publish_now();
}

/// Whatever has changed: a new configuration may change listeners alone, or name no target group.
void Plane::publish_now() {
  targets_.sweep();
  publisher_.publish(targets_, targets_.take_changes());
  demand_.published();
}

void Plane::set_own_zone(const std::string& zone) {
  if (zone == publisher_.own_zone()) return;
  publisher_.commit(config_, state_.generation, zone);
  publisher_.publish(targets_, {});
  demand_.published();
}

void Plane::on_sweep(void* self) { static_cast<Plane*>(self)->sweep(); }
void Plane::on_second(void* self) { static_cast<Plane*>(self)->second(); }

void Plane::sweep() {
  sweep_timer_.set(clock().now() + kSweep);
  publish_changes();
  overdue_.look();
  const bool looked = names_.first_round_done() && targets_.first_round_done();
  if (!ready_ && (looked || clock().now() - started_ > kReadyAfter)) become_ready();
  if (stopping_) check_stopped();
}

void Plane::become_ready() {
  ready_ = true;
  manager_.ready(summary());
  parts_.log.info("ready", {{"summary", summary()}});
}

void Plane::second() {
  second_timer_.set(clock().now() + kSecond);
  live_.collect_garbage();
  feed_cpu();
  look_at_certificates();
  if (parts_.every_second && !stopping_) parts_.every_second(*this);
  feed_watchdog();
  report_shortages();
  report_tls_trouble();
  if (ready_ && !stopping_) manager_.status(summary());
}

/// The scaler's CPU figures go to the workers (zone spill), the targets' own reports to the scaler.
void Plane::feed_cpu() {
  std::map<std::string, double> by_instance;
  for (const scaler::GroupStatus& group : scaler_.status()) {
    for (const scaler::InstanceStatus& instance : group.instances) {
      if (instance.cpu) by_instance[instance.id] = *instance.cpu;
    }
  }
  for (const auto& [group, rows] : targets_.rows()) {
    for (const TargetRow& row : rows) {
      if (row.instance.empty()) continue;
      report_orca(group, row);
      const auto live = live_.targets().find({group, row.address.text()});
      if (live == live_.targets().end()) continue;
      const auto known = by_instance.find(row.instance);
      live->second->cpu_permille.set(
          known == by_instance.end() ? -1 : static_cast<std::int32_t>(known->second * 1000));
    }
  }
}

/// What an instance said of its CPU with its answers and, when idle, with its health checks.
void Plane::report_orca(const std::string& group, const TargetRow& row) {
  const TimePoint now = clock().now();
  const health::Verdict* verdict = targets_.checker().find({group, row.address.text()});
  if (verdict != nullptr && verdict->last.cpu >= 0 && now - verdict->last_at <= 2 * kSecond) {
    scaler_.report_cpu({row.instance, verdict->last.cpu, verdict->last_at},
                       config::CpuSource::orca);
  }
  const auto live = live_.targets().find({group, row.address.text()});
  if (live == live_.targets().end()) return;
  for (const upstream::TargetLoad& load : live->second->loads()) {
    const TimePoint at{std::chrono::microseconds(load.reported_cpu_at_us.get())};
    if (load.reported_cpu_at_us.get() == 0 || now - at > 2 * kSecond) continue;
    scaler_.report_cpu({row.instance, load.reported_cpu_permille.get() / 1000.0, at},
                       config::CpuSource::orca);
  }
}

void Plane::look_at_certificates() {
  const TimePoint now = clock().now();
  certificates_.rotate_tickets(now);
  if (now - certificates_seen_ < kCertificatesEvery || stopping_) return;
  certificates_seen_ = now;
  if (!certificates_.sweep()) return;
  publisher_.commit(config_, state_.generation, publisher_.own_zone());
  targets_.configure(config_, &certificates_);
  publish_now();
}

/// Requests that failed at a target's TLS, in OpenSSL's words: one of each group at a time.
void Plane::report_tls_trouble() {
  for (const auto& [name, group] : live_.groups()) {
    TimePoint& told = tls_told_[name];
    if (told != TimePoint{} && clock().now() - told < kTlsQuiet) continue;
    const auto note = group->tls_trouble.take();
    if (!note) continue;
    told = clock().now();
    parts_.log.warning("TLS with a target failed", {{"target_group", name},
                                                    {"target", note->target},
                                                    {"reason", note->reason},
                                                    {"detail", note->detail}});
  }
  std::erase_if(tls_told_, [&](const auto& each) { return !live_.groups().contains(each.first); });
}

/// Only while every worker's loop turns.
void Plane::feed_watchdog() {
  const auto interval = manager_.watchdog_interval();
  if (!interval || clock().now() - last_watchdog_ < *interval / 2) return;
  bool alive = true;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const std::uint64_t beat = workers_[i]->heartbeat();
    if (beat == heartbeats_[i]) alive = false;
    heartbeats_[i] = beat;
  }
  if (!alive && !stopping_) {
    parts_.log.error("a worker's loop stands still; the watchdog is not fed");
    return;
  }
  last_watchdog_ = clock().now();
  manager_.watchdog();
}

/// Checks that lbd could not make: told at the first, and once a minute while it goes on.
void Plane::report_shortages() {
  const std::uint64_t count = targets_.checker().shortages();
  if (count == std::exchange(shortages_, count)) return;
  if (shortage_told_ != TimePoint::min() && clock().now() - shortage_told_ < kShortageQuiet) return;
  shortage_told_ = clock().now();
  parts_.log.error(
      "lbd is out of descriptors, memory or local ports: health checks cannot be made and give no "
      "verdict",
      {{"checks_skipped", std::to_string(count)}});
}

std::vector<std::string> Plane::restart_needed(const config::Config& next) const {
  std::vector<std::string> keys;
  const config::Node& now = config_->node;
  // It was told to lbd before; the metadata service is asked at the start.
  if (next.node.zone == "auto" && now.zone != "auto") keys.emplace_back("node.zone");
  if (worker_count(next.node) != live_.workers()) keys.emplace_back("node.workers");
  if (next.node.state_dir != now.state_dir) keys.emplace_back("node.state_dir");
  if (next.node.cookie_key != now.cookie_key) keys.emplace_back("node.cookie_key");
  if (next.node.deployment != now.deployment) keys.emplace_back("node.deployment");
  if (next.node.admin.socket != now.admin.socket) keys.emplace_back("node.admin.socket");
  if (next.node.admin.metrics != now.admin.metrics) keys.emplace_back("node.admin.metrics");
  if (!(next.node.access_log == now.access_log)) keys.emplace_back("node.access_log");
  if (next.node.connections_max != now.connections_max) keys.emplace_back("node.connections_max");
  return keys;
}

ReloadVerdict Plane::reload() {
  ReloadVerdict verdict;
  if (stopping_) {
    verdict.text = "lbd is stopping: nothing is reloaded any more.\n";
    return verdict;
  }
  manager_.reloading();
  const config::LoadResult loaded = config::load(parts_.config_path, config::DiskReader());
  verdict.text = config::render(loaded);
  Outcome<void> bound;
  if (loaded.config) bound = certificates_.prepare(*loaded.config);
  if (loaded.config && bound) bound = publisher_.prepare(*loaded.config);
  if (!loaded.config || !bound) {
    if (loaded.config) verdict.text += bound.error().message + "\n";
    certificates_.rollback();
    verdict.text += fmt::format("Running config unchanged (generation {}).\n", state_.generation);
    state_.last_reload_successful = false;
    state_.last_error = verdict.text;
    ++state_.rejected;
    const std::string why = loaded.config ? bound.error().message : config::summarize(loaded);
    parts_.log.error("reload rejected", {{"errors", why}});
    manager_.ready("reload rejected: " + why.substr(0, why.find('\n')));
    return verdict;
  }
  const std::vector<std::string> changes = config::diff(*config_, *loaded.config);
  const std::vector<std::string> restart = restart_needed(*loaded.config);
  verdict.accepted = true;
  verdict.unchanged = changes.empty();
  ++state_.generation;
  ++state_.accepted;
  state_.last_reload_successful = true;
  state_.last_success = clock().wall();
  state_.last_error.clear();
  config_ = std::make_shared<const config::Config>(*loaded.config);
  parts_.log.set_least(log_level_of(config_->node.log_level));
  const std::string zone =
      config_->node.zone == "auto" ? publisher_.own_zone() : config_->node.zone;
  certificates_.commit();
  publisher_.commit(config_, state_.generation, zone);
  targets_.configure(config_, &certificates_);
  names_.configure(*config_);
  targets_.set_named(names_.targets());
  publish_now();
  if (!publisher_.await_adoption(clock().now() + kAdoption)) {
    parts_.log.warning("a worker is slow to take the new configuration", {});
  }
  scaler_.apply(*config_);
  for (const std::string& change : changes) verdict.text += change + "\n";
  if (!restart.empty()) {
    verdict.text +=
        fmt::format("warning: takes effect only after a restart: {}\n", fmt::join(restart, ", "));
  }
  verdict.text += fmt::format("Running generation {}{}.\n", state_.generation,
                              changes.empty() ? " (no change)" : "");
  parts_.log.info("reloaded", {{"generation", std::to_string(state_.generation)},
                               {"changes", fmt::format("{}", fmt::join(changes, "; "))}});
  manager_.ready(summary());
  return verdict;
}

std::string Plane::summary() const {
  std::size_t up = 0;
  std::size_t all = 0;
  for (const auto& [group, rows] : targets_.rows()) {
    all += rows.size();
    up +=
        static_cast<std::size_t>(std::count_if(rows.begin(), rows.end(), [](const TargetRow& row) {
          return row.state == upstream::TargetState::healthy;
        }));
  }
  return fmt::format("gen {} · {} listeners · {}/{} targets up", state_.generation,
                     config_->listeners.size(), up, all);
}

void Plane::stop(std::function<void()> done) {
  if (stopping_) return;
  stopping_ = true;
  on_stopped_ = std::move(done);
  stop_by_ = clock().now() + config_->node.drain_deadline;
  manager_.stopping("draining");
  parts_.log.info("stopping",
                  {{"deadline", fmt::format("{}s", config_->node.drain_deadline.count())}});
  scaler_.stop();
  targets_.checker().stop();
  names_.stop();
  publisher_.close_listeners();
  const Duration idle_grace = std::min<Duration>(kIdleGrace, config_->node.drain_deadline / 2);
  for (const auto& worker : workers_) worker->drain(idle_grace);
}

bool Plane::quiet() noexcept {
  return tasks_.running() == 0 && targets_.checker().tasks().running() == 0 &&
         names_.running() == 0;
}

void Plane::check_stopped() {
  const bool drained = std::all_of(workers_.begin(), workers_.end(),
                                   [](const auto& worker) { return worker->drained(); });
  if (!drained && clock().now() < stop_by_) {
    manager_.extend_timeout(std::chrono::seconds(5));
    return;
  }
  if (!forced_ && !drained) {
    std::uint32_t left = 0;
    for (const auto& worker : workers_) left += worker->connections();
    parts_.log.warning("drain deadline reached", {{"connections_cut", std::to_string(left)}});
  }
  if (!forced_) {
    forced_ = true;
    stop_by_ = clock().now() + std::chrono::seconds(10);  // for calls of the scaler still under way
    for (const auto& worker : workers_) worker->stop();
  }
  if (!quiet() && clock().now() < stop_by_) return;
  if (!quiet() && parts_.cancel_calls) std::exchange(parts_.cancel_calls, nullptr)();
  sweep_timer_.cancel();
  second_timer_.cancel();
  admin_.close();
  metrics_.close();
  if (on_stopped_) std::exchange(on_stopped_, nullptr)();
}

}  // namespace lbd::control
