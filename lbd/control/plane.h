// The control plane: everything that is not the request path, on one loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/parse.h"
#include "lbd/base/log.h"
#include "lbd/control/certificates.h"
#include "lbd/control/demand.h"
#include "lbd/control/http_server.h"
#include "lbd/control/names.h"
#include "lbd/control/notify.h"
#include "lbd/control/overdue.h"
#include "lbd/control/publisher.h"
#include "lbd/control/targets.h"
#include "lbd/worker/access_log.h"
#include "lbd/worker/worker.h"
#include "scaler/loop.h"
#include "scaler/store.h"

namespace lbd::control {

class Plane;
class Families;

/// What main gives the plane. Lifetime: outlives it.
struct PlaneParts {
  net::Loop& loop;
  Log& log;
  Rng rng;
  std::string config_path;
  scaler::Store& store;
  std::function<std::unique_ptr<scaler::Provider>(const config::ScalingGroup&)> make_provider;
  std::string cookie_key;                    // signs sticky cookies
  worker::AccessLog* access_log = nullptr;   // null: off
  std::function<void(Plane&)> every_second;  // for what hangs on the providers
  std::function<void(Families&)> collect;    // their metrics
  std::function<void()> cancel_calls;  // ends their calls under way; called once, when stopping
};

struct ReloadVerdict {
  bool accepted = false;
  bool unchanged = false;
  std::string text;  // for the admin: errors, or what changed
};

/// How the last reload went and what runs.
struct ConfigState {
  std::uint64_t generation = 0;
  bool last_reload_successful = true;
  WallTime last_success{};
  std::uint64_t accepted = 0;
  std::uint64_t rejected = 0;
  std::string last_error;
};

/// Thread: the control loop.
class Plane {
 public:
  Plane(PlaneParts parts, std::shared_ptr<const config::Config> config);
  ~Plane();
  Plane(const Plane&) = delete;
  Plane& operator=(const Plane&) = delete;

  /// Binds, starts workers, checks, scaler and servers. On failure the process should exit.
  Outcome<void> start();
  /// Loads the configuration file again; all or nothing.
  ReloadVerdict reload();
  /// Graceful stop; `done` is called once nothing is left or the drain deadline has passed.
  void stop(std::function<void()> done);

  // Read by metrics and the admin API.
  [[nodiscard]] const config::Config& config() const noexcept { return *config_; }
  [[nodiscard]] const ConfigState& state() const noexcept { return state_; }
  [[nodiscard]] Targets& targets() noexcept { return targets_; }
  [[nodiscard]] const Names& names() const noexcept { return names_; }
  [[nodiscard]] const Publisher& publisher() const noexcept { return publisher_; }
  [[nodiscard]] const Certificates& certificates() const noexcept { return certificates_; }
  [[nodiscard]] upstream::LiveState& live() noexcept { return live_; }
  [[nodiscard]] scaler::Scaler& scaler() noexcept { return scaler_; }
  [[nodiscard]] scaler::Store& store() noexcept { return parts_.store; }
  [[nodiscard]] const std::vector<std::unique_ptr<worker::Worker>>& workers() const noexcept {
    return workers_;
  }
  [[nodiscard]] const worker::AccessLog* access_log() const noexcept { return parts_.access_log; }
  [[nodiscard]] Clock& clock() noexcept { return parts_.loop.clock(); }
  [[nodiscard]] TimePoint started() const noexcept { return started_; }
  [[nodiscard]] bool ready() const noexcept { return ready_; }
  [[nodiscard]] bool stopping() const noexcept { return stopping_; }
  /// No task of the plane is under way: it may be destroyed.
  [[nodiscard]] bool quiet() noexcept;
  void collect_more(Families& out) const {
    if (parts_.collect) parts_.collect(out);
  }
  /// "gen 12 · 3 listeners · 41/42 targets up"
  [[nodiscard]] std::string summary() const;
  /// Publishes at once what has changed (after an admin's drain).
  void publish_changes();
  void publish_now();
  /// The node's zone became known (zone: auto).
  void set_own_zone(const std::string& zone);

 private:
  void sweep();
  void second();
  void become_ready();
  void feed_cpu();
  void report_orca(const std::string& group, const TargetRow& row);
  void feed_watchdog();
  void look_at_certificates();
  void report_shortages();
  void report_tls_trouble();
  void check_stopped();
  [[nodiscard]] std::vector<std::string> restart_needed(const config::Config& next) const;
  static void on_sweep(void* self);
  static void on_second(void* self);
  Task<> run_scaler();

  PlaneParts parts_;
  std::shared_ptr<const config::Config> config_;
  ConfigState state_;
  ServiceManager manager_;
  std::vector<std::unique_ptr<worker::Worker>> workers_;
  upstream::LiveState live_;
  Certificates certificates_;
  Targets targets_;
  Names names_;
  Overdue overdue_;
  Publisher publisher_;
  Demand demand_;
  scaler::Scaler scaler_;
  HttpServer admin_;
  HttpServer metrics_;
  TaskGroup tasks_;
  Timer sweep_timer_;
  Timer second_timer_;
  TimePoint started_{};
  TimePoint last_watchdog_{};
  TimePoint certificates_seen_{};
  TimePoint stop_by_{};
  std::vector<std::uint64_t> heartbeats_;
  std::function<void()> on_stopped_;
  std::uint64_t shortages_ = 0;  // Checker::shortages as last seen
  TimePoint shortage_told_ = TimePoint::min();
  std::map<std::string, TimePoint> tls_told_;  // by target group
  bool ready_ = false;
  bool stopping_ = false;
  bool forced_ = false;
};

/// Workers a configuration asks for: its number, or one per CPU this process may run on.
[[nodiscard]] std::size_t worker_count(const config::Node& node);

}  // namespace lbd::control
