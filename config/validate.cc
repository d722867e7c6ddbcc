#include "config/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "config/findings.h"
#include "config/scalars.h"
#include "config/suggest.h"

namespace lbd::config {
namespace {

class Validator : Findings {
 public:
  Validator(const Config& config, const Places& places) : Findings(places), config_(config) {}

  std::vector<Problem> run() {
    ListenerFindings listeners = validate_listeners(config_, places_);
    used_target_groups_ = std::move(listeners.target_groups);
    problems_ = std::move(listeners.problems);
    for (Problem& each : validate_layer4(config_, places_)) problems_.push_back(std::move(each));
    check_listen_addresses();
    for (const auto& [name, group] : config_.target_groups) check_target_group(group);
    for (const auto& [name, group] : config_.scaling_groups) check_scaling_group(group);
    check_use();
    return std::move(problems_);
  }

 private:
  static bool overlap(const Address& a, const Address& b) {
    if (a.port != b.port || a.port == 0) return false;
    const auto v6 = [](const Address& x) { return x.ip.find(':') != std::string::npos; };
    if (v6(a) != v6(b)) return false;
    return a.ip == b.ip || a.ip == "0.0.0.0" || b.ip == "0.0.0.0" || a.ip == "::" || b.ip == "::";
  }

  [[nodiscard]] std::string listen_path(const Listener& listener, std::size_t index) const {
    const auto item = fmt::format("listeners.{}.listen[{}]", listener.name, index);
    return written(item) ? item : fmt::format("listeners.{}.listen", listener.name);
  }

  void check_listen_addresses() {
    struct Bound {
      Address address;
      std::string owner;
    };
    std::vector<Bound> bound;
    if (config_.node.admin.metrics)
      bound.push_back({*config_.node.admin.metrics, "node.admin.metrics"});
    for (const auto& [name, listener] : config_.listeners) {
      for (std::size_t i = 0; i < listener.listen.size(); ++i) {
        const auto& address = listener.listen[i];
        for (const auto& other : bound) {
          if (!overlap(address, other.address)) continue;
          error(listen_path(listener, i), "E3007",
                fmt::format("{} is taken by {} ({})", address.text(), other.owner,
                            other.address.text()));
          break;
        }
        bound.push_back({address, fmt::format("listener '{}'", name)});
      }
    }
  }

  void check_target_group(const TargetGroup& group) {
    const std::string path = "target_groups." + group.name;
    std::map<std::string, std::size_t> known;
    for (std::size_t i = 0; i < group.targets.size(); ++i) {
      const Target& target = group.targets[i];
      if (target.address.empty() && !target.by_name()) continue;  // reported as missing or wrong
      const auto [first, is_new] = known.emplace(target.text(), i);
      if (is_new) continue;
      const std::string_view key = !target.srv.empty()    ? "srv"
                                   : !target.name.empty() ? "name"
                                                          : "address";
      error(fmt::format("{}.targets[{}].{}", path, i, key), "E3008",
            fmt::format("target {} is twice in target group '{}'", target.text(), group.name),
            fmt::format("the other is on line {}", group.targets[first->second].origin.line));
    }
    const bool idle = std::all_of(group.targets.begin(), group.targets.end(),
                                  [](const Target& target) { return target.weight == 0; });
    if (idle && !group.targets.empty() && group.scaling_group.empty()) {
      warning(path + ".targets", "W3003",
              fmt::format("every target of '{}' has weight 0: it gets no requests", group.name));
    }
    check_group_source(group, path);
    check_health(group, path + ".health_check");
    check_ejection(group.passive, path + ".passive");
  }

  void check_group_source(const TargetGroup& group, const std::string& path) {
    if (group.scaling_group.empty()) {
      if (group.targets.empty() && !written(path + ".targets[0]")) {
        error(path, "E3009",
              fmt::format("target group '{}' has neither targets nor a scaling_group", group.name));
      }
      return;
    }
    used_scaling_groups_.insert(group.scaling_group);
    const auto found = config_.scaling_groups.find(group.scaling_group);
    if (found == config_.scaling_groups.end()) {
      const auto names = names_of(config_.scaling_groups);
      error(path + ".scaling_group", "E3010",
            fmt::format("there is no scaling group {}",
                        shown(path + ".scaling_group", group.scaling_group)),
            names.empty() ? "there are no scaling groups" : suggestion(group.scaling_group, names));
      return;
    }
    const bool ec2 = std::holds_alternative<Ec2Provider>(found->second.provider);
    if (ec2 && group.port == 0 && !written(path + ".port")) {
      error(path, "E2004",
            fmt::format("{}: required key 'port' is missing: instances of '{}' need one", path,
                        group.scaling_group));
    }
  }

  void check_health(const TargetGroup& group, const std::string& path) {
    const auto& check = group.health_check;
    if (!check.enabled) {
      if (!group.scaling_group.empty()) {
        warning(path, "W3004",
                fmt::format("'{}' has instances but no health check: a new one gets requests as "
                            "soon as it runs",
                            group.name));
      }
      return;
    }
    if (check.protocol == CheckProtocol::grpc && !check.http2) {
      error(path + ".protocol", "E3051",
            fmt::format("target group '{}' has grpc health checks but speaks HTTP/1.1", group.name),
            "add http_version: \"2\" to the group");
    }
    if (!check.service.empty() && check.protocol != CheckProtocol::grpc) {
      error(path + ".service", "E3052", "only health checks with protocol grpc ask for a service");
    }
    if (check.timeout > check.interval) {
      error(path + ".timeout", "E3011",
            fmt::format("the health check's timeout ({}) is longer than its interval ({})",
                        duration_text(check.timeout), duration_text(check.interval)));
    }
    const auto local =
        std::find_if(group.targets.begin(), group.targets.end(),
                     [](const Target& target) { return !target.address.path.empty(); });
    if (check.port && local != group.targets.end()) {
      error(path + ".port", "E3050",
            fmt::format("target {} is a Unix socket, which has no other port to check",
                        local->address.text()),
            "remove 'port', or give that target a group of its own");
    }
    if (check.protocol != CheckProtocol::tcp) return;
    for (const std::string_view key : {"path", "host", "codes", "body"}) {
      const auto at = fmt::format("{}.{}", path, key);
      if (written(at)) {
        warning(at, "W3005",
                fmt::format("a tcp health check only connects: '{}' is not used", key));
      }
    }
  }

  void check_ejection(const Passive& passive, const std::string& path) {
    if (!passive.enabled || passive.ejection <= passive.ejection_max) return;
    const bool own = written(path + ".ejection");
    error(path + (own ? ".ejection" : ".ejection_max"), "E3012",
          fmt::format("the first ejection ({}) is longer than the longest ({})",
                      duration_text(passive.ejection), duration_text(passive.ejection_max)));
  }

  void check_scaling_group(const ScalingGroup& group) {
    const std::string path = "scaling_groups." + group.name;
    if (group.min > group.max && written(path + ".min") && written(path + ".max")) {
      error(path + ".min", "E3013",
            fmt::format("min ({}) is larger than max ({})", group.min, group.max));
    } else if (group.desired && (*group.desired < group.min || *group.desired > group.max)) {
      error(path + ".desired", "E3013",
            fmt::format("desired ({}) is not between min ({}) and max ({})", *group.desired,
                        group.min, group.max));
    }
    if (group.zone_pause > group.zone_pause_max) {
      const bool own = written(path + ".zone_pause");
      error(path + (own ? ".zone_pause" : ".zone_pause_max"), "E3019",
            fmt::format("the first pause of a zone ({}) is longer than the longest ({})",
                        duration_text(group.zone_pause), duration_text(group.zone_pause_max)));
    }
    if (const auto* ec2 = std::get_if<Ec2Provider>(&group.provider)) {
      check_ec2(*ec2, path + ".ec2");
    } else {
      check_process(std::get<ProcessProvider>(group.provider), path + ".process");
    }
    check_policies(group, path);
  }

  void check_ec2(const Ec2Provider& ec2, const std::string& path) {
    const auto at = path + ".launch_template";
    if (!written(at)) return;  // reported as missing
    const bool id = !ec2.launch_template_id.empty();
    const bool name = !ec2.launch_template_name.empty();
    if (id == name) {
      error(at, id ? "E2010" : "E2004",
            fmt::format("{}: exactly one of id and name is needed", at));
    }
    std::set<std::string> subnets;
    for (std::size_t i = 0; i < ec2.subnets.size(); ++i) {
      if (subnets.insert(ec2.subnets[i]).second) continue;
      error(fmt::format("{}.subnets[{}]", path, i), "E3014",
            fmt::format("subnet {} is given twice",
                        shown(fmt::format("{}.subnets[{}]", path, i), ec2.subnets[i])));
    }
    for (const auto& [key, value] : ec2.tags) {
      if (!key.starts_with("aws:") && !key.starts_with("lbd:")) continue;
      error(fmt::format("{}.tags.{}", path, key), "E3015",
            fmt::format("tags that start with '{}' are reserved", key.substr(0, 4)));
    }
  }

  void check_process(const ProcessProvider& process, const std::string& path) {
    std::set<std::string> zones;
    for (std::size_t i = 0; i < process.zones.size(); ++i) {
      if (zones.insert(process.zones[i]).second) continue;
      error(fmt::format("{}.zones[{}]", path, i), "E3014",
            fmt::format("zone {} is given twice",
                        shown(fmt::format("{}.zones[{}]", path, i), process.zones[i])));
    }
    for (const auto& [zone, address] : process.zone_addresses) {
      const auto at = fmt::format("{}.zone_addresses.{}", path, zone);
      if (!zones.contains(zone)) {
        error(at, "E3016", fmt::format("there is no zone '{}' in zones", zone),
              suggestion(zone, process.zones));
      }
      if (!parse_ip(address)) {
        error(at, "E2002", fmt::format("{}: expected an IPv4 or IPv6 address", at));
      }
    }
  }

  void check_policies(const ScalingGroup& group, const std::string& path) {
    std::map<std::string, std::size_t> names;
    for (std::size_t i = 0; i < group.policies.size(); ++i) {
      const auto& policy = group.policies[i];
      const auto at = fmt::format("{}.policies[{}]", path, i);
      if (!names.emplace(policy.name, i).second) {
        error(at + ".name", "E3001",
              fmt::format("two policies of scaling group '{}' are called '{}'", group.name,
                          policy.name));
      }
      if (policy.datapoints_to_alarm > policy.datapoints || policy.datapoints_to_alarm == 0) {
        error(at + ".datapoints_to_alarm", "E3017",
              fmt::format("datapoints_to_alarm ({}) must be from 1 to datapoints ({})",
                          policy.datapoints_to_alarm, policy.datapoints));
      }
      check_direction(policy, at);
    }
    check_thresholds(group, path);
    if (group.policies.empty() && group.min < group.max) {
      warning(path, "W3006",
              fmt::format("scaling group '{}' has no policies: it stays at {}", group.name,
                          group.desired.value_or(group.min)));
    }
  }

  /// Removing under load, or adding when idle, is nearly always a typo.
  void check_direction(const Policy& policy, const std::string& path) {
    if (policy.kind == PolicyKind::target_tracking) return;
    if (policy.adjustment_type == AdjustmentType::exact) return;
    const bool wrong = std::any_of(policy.steps.begin(), policy.steps.end(), [&](const Step& s) {
      return policy.above ? s.adjustment < 0 : s.adjustment > 0;
    });
    if (!wrong) return;
    warning(path, "W3007",
            fmt::format("policy '{}' {} instances when the signal is {}", policy.name,
                        policy.above ? "removes" : "adds", policy.above ? "high" : "low"));
  }

  /// Out above 60 % and in below 90 % would never rest.
  void check_thresholds(const ScalingGroup& group, const std::string& path) {
    for (std::size_t i = 0; i < group.policies.size(); ++i) {
      const auto& in = group.policies[i];
      if (in.kind == PolicyKind::target_tracking || in.above || in.threshold <= 0) continue;
      for (const auto& out : group.policies) {
        const bool same = out.kind != PolicyKind::target_tracking && out.above &&
                          out.signal == in.signal && out.threshold > 0;
        if (!same || in.threshold < out.threshold) continue;
        error(fmt::format("{}.policies[{}].below", path, i), "E3018",
              fmt::format("policies '{}' and '{}' overlap: one adds where the other removes",
                          out.name, in.name));
        break;
      }
    }
  }

  void check_use() {
    for (const auto& [name, group] : config_.target_groups) {
      if (used_target_groups_.contains(name)) continue;
      warning("target_groups." + name, "W3008",
              fmt::format("no listener forwards to target group '{}'", name));
    }
    for (const auto& [name, group] : config_.scaling_groups) {
      if (used_scaling_groups_.contains(name)) continue;
      warning("scaling_groups." + name, "W3009",
              fmt::format("no target group uses scaling group '{}'", name));
    }
  }

  const Config& config_;
  std::set<std::string> used_target_groups_;
  std::set<std::string> used_scaling_groups_;
};

}  // namespace

std::vector<Problem> validate(const Config& config, const Places& places) {
  return Validator(config, places).run();
}

}  // namespace lbd::config
