// Which targets each group has now and what state each is in: configuration, scaling groups,
// health, ejections and drains brought together.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "config/config.h"
#include "health/checker.h"
#include "health/outlier.h"
#include "lbd/base/log.h"
#include "lbd/control/certificates.h"
#include "lbd/upstream/snapshot.h"
#include "scaler/loop.h"

namespace lbd::control {

/// A target of one group with everything known of it.
struct TargetRow {
  std::string group;
  config::Address address;
  std::string zone;
  std::uint32_t weight = 1;
  std::string instance;  // of a scaling group; empty for a static target
  std::string name;      // the entry that was looked up (config::Target::text); empty: none
  std::string host;      // the host it has the address of, then
  bool leaving = false;  // its name has it no more: gone when its last request is over
  bool drained_by_scaler = false;
  bool drained_by_admin = false;
  upstream::TargetState state = upstream::TargetState::initial;
  std::string reason;  // why it is not healthy
  WallTime since{};
};

/// An address that a name has.
struct NamedTarget {
  config::Address address;
  std::string zone;
  std::uint32_t weight = 1;
  std::string name;  // TargetRow::name
  std::string host;
  friend bool operator==(const NamedTarget&, const NamedTarget&) = default;
};

/// Thread: the control loop.
class Targets {
 public:
  Targets(net::Loop& loop, Log& log, Rng rng, upstream::LiveState& live);

  /// A new configuration, or certificates: groups and static targets change; verdicts and drains of
  /// what stays are kept. `certificates` are those of the configuration; null when no group uses
  /// TLS.
  void configure(std::shared_ptr<const config::Config> config,
                 const Certificates* certificates = nullptr);
  /// The instances of one scaling group.
  void set_instances(const std::string& scaling_group,
                     std::vector<scaler::InstanceTarget> instances);
  /// What names of each group stand for now; groups that are not named have none.
  void set_named(std::map<std::string, std::vector<NamedTarget>> named);
  /// Drains or undrains by address, in every group or one. False: no such target.
  bool set_drain(const std::string& group, const std::string& address, bool drained);

  /// Looks at passive health and re-derives states; true when anything a snapshot shows has changed
  /// since `take_changes`.
  bool sweep();
  /// Names of groups that must be compiled again.
  [[nodiscard]] std::set<std::string> take_changes();

  [[nodiscard]] std::vector<upstream::TargetInput> inputs(const std::string& group) const;
  [[nodiscard]] const std::map<std::string, std::vector<TargetRow>>& rows() const noexcept {
    return rows_;
  }
  [[nodiscard]] health::Checker& checker() noexcept { return checker_; }
  /// Since the start, by group and health::EjectionCause; groups of the configuration only.
  using Ejections =
      std::map<std::string, std::array<std::uint64_t, health::kEjectionCauses.size()>>;
  [[nodiscard]] const Ejections& ejections() const noexcept { return ejections_; }
  [[nodiscard]] bool first_round_done() const { return checker_.first_round_done(); }

 private:
  void rebuild();
  [[nodiscard]] std::vector<TargetRow> rows_of(const config::TargetGroup& group) const;
  bool take_over(std::vector<TargetRow>& rows, const std::vector<TargetRow>& before);
  [[nodiscard]] bool busy(const TargetRow& row) const;
  void end_leaving();
  void apply_checks();
  void observe_outliers(const std::string& group, std::vector<TargetRow>& rows);
  [[nodiscard]] bool wants_look(const std::string& group);
  bool derive(const std::string& group, TargetRow& row);
  void verdict_changed(const health::TargetKey& key, const health::Verdict& verdict);
  [[nodiscard]] const config::TargetGroup& settings(const std::string& group) const;

  net::Loop& loop_;
  Log& log_;
  upstream::LiveState& live_;
  std::shared_ptr<const config::Config> config_;
  const Certificates* certificates_ = nullptr;
  std::map<std::string, std::vector<scaler::InstanceTarget>> instances_;  // by scaling group
  std::map<std::string, std::vector<NamedTarget>> named_;                 // by target group
  std::map<std::string, std::vector<TargetRow>> rows_;                    // by target group
  std::map<std::string, health::Outliers> outliers_;
  std::set<std::pair<std::string, std::string>> admin_drains_;  // (group, address)
  std::set<std::string> changed_;                               // must be compiled again
  std::set<std::string> dirty_;                                 // states must be derived again
  std::map<std::string, std::uint64_t> trouble_;                // GroupLoad::trouble as last seen
  std::map<std::string, TimePoint> look_again_;                 // groups with somebody ejected
  Ejections ejections_;
  bool any_leaving_ = false;
  health::Checker checker_;
};

}  // namespace lbd::control
