#include "lbd/control/targets.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "lbd/net/proxy_protocol.h"

namespace lbd::control {

using upstream::TargetState;

namespace {
/// How often the end of an ejection is looked for.
constexpr std::chrono::milliseconds kEjectionLook{100};
}  // namespace

Targets::Targets(net::Loop& loop, Log& log, Rng rng, upstream::LiveState& live)
    : loop_(loop),
      log_(log),
      live_(live),
      checker_(loop, rng, [this](const health::TargetKey& key, const health::Verdict& verdict) {
        verdict_changed(key, verdict);
      }) {}

const config::TargetGroup& Targets::settings(const std::string& group) const {
  return config_->target_groups.at(group);
}

void Targets::configure(std::shared_ptr<const config::Config> config,
                        const Certificates* certificates) {
  config_ = std::move(config);
  certificates_ = certificates;
  std::erase_if(ejections_, [this](const auto& entry) {
    return !config_->target_groups.contains(entry.first);
  });
  for (const auto& [name, group] : config_->target_groups) {
    changed_.insert(name);
    ejections_.try_emplace(name);
  }
  rebuild();
}

void Targets::set_instances(const std::string& scaling_group,
                            std::vector<scaler::InstanceTarget> instances) {
  instances_[scaling_group] = std::move(instances);
  rebuild();
}

bool Targets::set_drain(const std::string& group, const std::string& address, bool drained) {
  bool found = false;
  for (auto& [name, rows] : rows_) {
    if (!group.empty() && name != group) continue;
    for (TargetRow& row : rows) {
      const bool named = !row.instance.empty() && row.instance == address;
      if (row.address.text() != address && !named) continue;
      found = true;
      dirty_.insert(name);
      row.drained_by_admin = drained;
      const std::pair key(name, row.address.text());
      if (drained) {
        admin_drains_.insert(key);
      } else {
        admin_drains_.erase(key);
      }
    }
  }
  return found;
}

void Targets::set_named(std::map<std::string, std::vector<NamedTarget>> named) {
  named_ = std::move(named);
  if (config_) rebuild();
}

/// As configuration, scaler and names have them; of two with one address the first counts.
std::vector<TargetRow> Targets::rows_of(const config::TargetGroup& group) const {
  std::vector<TargetRow> rows;
  for (const config::Target& target : group.targets) {
    if (target.by_name()) continue;
    TargetRow row;
    row.address = target.address;
    row.zone = target.zone;
    row.weight = target.weight;
    rows.push_back(std::move(row));
  }
  const auto scaled = instances_.find(group.scaling_group);
  if (!group.scaling_group.empty() && scaled != instances_.end()) {
    for (const scaler::InstanceTarget& instance : scaled->second) {
      TargetRow row;
      row.address = {instance.address, instance.port != 0 ? instance.port : group.port};
      row.zone = instance.zone;
      row.instance = instance.id;
      row.drained_by_scaler = instance.state == scaler::TargetState::draining;
      rows.push_back(std::move(row));
    }
  }
  const auto named = named_.find(group.name);
  if (named == named_.end()) return rows;
  std::set<config::Address> known;
  for (const TargetRow& row : rows) known.insert(row.address);
  for (const NamedTarget& target : named->second) {
    if (!known.insert(target.address).second) continue;
    TargetRow row;
    row.address = target.address;
    row.zone = target.zone;
    row.weight = target.weight;
    row.name = target.name;
    row.host = target.host;
    rows.push_back(std::move(row));
  }
  return rows;
}

bool Targets::busy(const TargetRow& row) const {
  const auto live = live_.targets().find({row.group, row.address.text()});
  return live != live_.targets().end() && live->second->in_flight() > 0;
}

/// What stays keeps its state; what a name has no more stays while it has requests. True when
/// nothing that a snapshot shows is other than before.
bool Targets::take_over(std::vector<TargetRow>& rows, const std::vector<TargetRow>& before) {
  std::set<config::Address> known;
  for (const TargetRow& row : rows) known.insert(row.address);
  for (const TargetRow& old : before) {
    if (old.name.empty() || known.contains(old.address) || !busy(old)) continue;
    any_leaving_ = true;
    rows.push_back(old);
    rows.back().leaving = true;
  }
  using Identity = std::tuple<config::Address, std::string_view, std::string_view>;
  const auto identity_of = [](const TargetRow& row) {
    return Identity{row.address, row.zone, row.instance};
  };
  std::map<Identity, std::size_t> places;
  for (std::size_t i = 0; i < before.size(); ++i) places.try_emplace(identity_of(before[i]), i);
  bool same = before.size() == rows.size();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    TargetRow& row = rows[i];
    const auto place = places.find(identity_of(row));
    if (place == places.end()) {
      row.since = loop_.clock().wall();
      same = false;
      continue;
    }
    const TargetRow* old = &before[place->second];
    row.state = old->state;
    row.reason = old->reason;
    row.since = old->since;
    same = same && place->second == i && old->weight == row.weight && old->host == row.host &&
           old->leaving == row.leaving;
  }
  return same;
}

/// Rows anew from configuration, instances and names.
void Targets::rebuild() {
  std::map<std::string, std::vector<TargetRow>> next;
  any_leaving_ = false;
  for (const auto& [name, group] : config_->target_groups) {
    std::vector<TargetRow> rows = rows_of(group);
    for (TargetRow& row : rows) {
      row.group = name;
      row.drained_by_admin = admin_drains_.contains({name, row.address.text()});
    }
    if (!take_over(rows, rows_[name])) changed_.insert(name);
    next[name] = std::move(rows);
    dirty_.insert(name);
  }
  rows_ = std::move(next);
  apply_checks();
}

void Targets::end_leaving() {
  for (const auto& [group, rows] : rows_) {
    for (const TargetRow& row : rows) {
      if (row.leaving && !busy(row)) return rebuild();
    }
  }
}

void Targets::apply_checks() {
  std::vector<health::CheckedTarget> checked;
  for (const auto& [name, rows] : rows_) {
    const config::HealthCheck& check = settings(name).health_check;
    if (!check.enabled) continue;
    std::shared_ptr<const net::TlsClient> tls;
    if (config::checks_use_tls(settings(name)) && certificates_ != nullptr) {
      tls = certificates_->find_client(name);
    }
    // A check port of its own is another server's, which knows nothing of the PROXY protocol.
    const auto version = static_cast<net::ProxyVersion>(settings(name).proxy_protocol);
    const net::ProxyHeader own(check.port ? net::ProxyVersion::off : version);
    for (const TargetRow& row : rows) {
      config::Address where = row.address;
      where.port = check.port.value_or(where.port);
      const auto address = upstream::endpoint_of(where);
      if (!address || row.leaving) continue;
      checked.push_back({{name, row.address.text()},
                         row.host.empty() ? *address : address->named(row.host),
                         check,
                         tls,
                         std::string(own.view())});
    }
  }
  checker_.apply(checked);
}

void Targets::verdict_changed(const health::TargetKey& key, const health::Verdict& verdict) {
  dirty_.insert(key.first);
  if (verdict.up) {
    outliers_[key.first].readmit(key.second);
    log_.info("target is up", {{"target_group", key.first}, {"target", key.second}});
  } else {
    log_.warning("target is down",
                 {{"target_group", key.first},
                  {"target", key.second},
                  {"reason", std::string(health::check_failure_name(verdict.last.failure))},
                  {"detail", verdict.last.detail}});
  }
}

void Targets::observe_outliers(const std::string& group, std::vector<TargetRow>& rows) {
  std::vector<health::OutlierSample> samples;
  samples.reserve(rows.size());
  for (const TargetRow& row : rows) {
    health::OutlierSample sample;
    sample.target = row.address.text();
    sample.usable = row.state == TargetState::healthy || row.state == TargetState::ejected;
    const auto live = live_.targets().find({group, sample.target});
    if (live != live_.targets().end()) {
      for (const upstream::TargetLoad& load : live->second->loads()) {
        const std::uint64_t connects = load.connect_failures.get();
        const std::uint64_t errors = load.errors.get();
        sample.connect_failures += connects;
        sample.errors += errors;
        // at_success may be read a moment newer than the total
        sample.connect_streak =
            std::max(sample.connect_streak,
                     connects - std::min(connects, load.connect_failures_at_success.get()));
        sample.error_streak =
            std::max(sample.error_streak, errors - std::min(errors, load.errors_at_success.get()));
      }
    }
    samples.push_back(std::move(sample));
  }
  for (const health::OutlierChange& change :
       outliers_[group].observe(settings(group).passive, loop_.clock().now(), samples)) {
    if (change.ejected) ++ejections_[group][static_cast<std::size_t>(change.cause)];
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const TargetRow& each) {
      return each.address.text() == change.target;
    });
    if (row != rows.end() && change.ejected) row->reason = change.reason;
    dirty_.insert(group);
    log_.warning(change.ejected ? "target ejected" : "target readmitted",
                 {{"target_group", group}, {"target", change.target}, {"reason", change.reason}});
    checker_.check_now({group, change.target});
  }
}

bool Targets::derive(const std::string& group, TargetRow& row) {
  TargetState state = TargetState::healthy;
  std::string reason;
  const bool ejected = outliers_[group].is_ejected(row.address.text());
  const health::Verdict* verdict = checker_.find({group, row.address.text()});
  if (row.drained_by_scaler || row.drained_by_admin || row.leaving) {
    state = TargetState::draining;
    reason = row.leaving            ? row.name + " has this address no more"
             : row.drained_by_admin ? "drained by an admin"
                                    : "drained by the scaler";
  } else if (verdict != nullptr && !verdict->checked) {
    state = TargetState::initial;
    reason = "waiting for its first check";
  } else if (verdict != nullptr && !verdict->up) {
    state = verdict->checks == verdict->failures &&
                    verdict->failures < settings(group).health_check.unhealthy
                ? TargetState::initial
                : TargetState::unhealthy;
    reason = fmt::format("{}: {}", health::check_failure_name(verdict->last.failure),
                         verdict->last.detail);
  } else if (ejected) {
    state = TargetState::ejected;
    reason = row.reason;
  }
  const bool changed = state != row.state;
  if (changed) row.since = loop_.clock().wall();
  row.state = state;
  row.reason = std::move(reason);
  return changed;
}

/// Passive health costs nothing while nothing fails: a group is looked at when an attempt failed
/// since the last look, or while somebody is ejected.
bool Targets::wants_look(const std::string& group) {
  const auto live = live_.groups().find(group);
  if (live == live_.groups().end()) return false;
  std::uint64_t trouble = 0;
  for (const upstream::GroupLoad& load : live->second->loads) trouble += load.trouble.get();
  if (std::exchange(trouble_[group], trouble) != trouble) return true;
  if (!outliers_[group].any_ejected() || loop_.clock().now() < look_again_[group]) return false;
  look_again_[group] = loop_.clock().now() + kEjectionLook;
  return true;
}

bool Targets::sweep() {
  if (any_leaving_) end_leaving();
  for (auto& [group, rows] : rows_) {
    if (wants_look(group)) observe_outliers(group, rows);
    if (dirty_.erase(group) == 0) continue;
    for (TargetRow& row : rows) {
      if (derive(group, row)) changed_.insert(group);
    }
  }
  return !changed_.empty();
}

std::set<std::string> Targets::take_changes() { return std::exchange(changed_, {}); }

std::vector<upstream::TargetInput> Targets::inputs(const std::string& group) const {
  std::vector<upstream::TargetInput> inputs;
  const auto found = rows_.find(group);
  if (found == rows_.end()) return inputs;
  for (const TargetRow& row : found->second)
    inputs.push_back({row.address, row.zone, row.weight, row.state, row.host});
  return inputs;
}

}  // namespace lbd::control
