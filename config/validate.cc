#include "config/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "config/scalars.h"
#include "config/suggest.h"

namespace lbd::config {
namespace {

class Validator {
 public:
  Validator(const Config& config, const Places& places) : config_(config), places_(places) {}

  std::vector<Problem> run() {
    for (const auto& [name, listener] : config_.listeners) check_listener(listener);
    check_listen_addresses();
    for (const auto& [name, group] : config_.target_groups) check_target_group(group);
    for (const auto& [name, group] : config_.scaling_groups) check_scaling_group(group);
    check_use();
    return std::move(problems_);
  }

 private:
  /// The place of a path, or of the nearest thing around it.
  [[nodiscard]] Place place(std::string path) const {
    while (true) {
      const auto found = places_.find(path);
      if (found != places_.end()) return found->second;
      const auto cut = path.find_last_of(".[");
      if (cut == std::string::npos) return {};
      path.resize(cut);
    }
  }
  [[nodiscard]] bool written(const std::string& path) const { return places_.contains(path); }

  void error(const std::string& path, std::string_view code, std::string message,
             std::string hint = {}) {
    problems_.push_back(problem_at(place(path), code, std::move(message), std::move(hint)));
  }
  void warning(const std::string& path, std::string_view code, std::string message,
               std::string hint = {}) {
    problems_.push_back(warning_at(place(path), code, std::move(message), std::move(hint)));
  }

  /// A name as it may be shown: not when it came out of ${env:} or ${file:}.
  [[nodiscard]] std::string shown(const std::string& path, const std::string& name) const {
    return place(path).secret ? "<redacted>" : "'" + name + "'";
  }

  template <class Map>
  static std::vector<std::string> names_of(const Map& map) {
    std::vector<std::string> names;
    names.reserve(map.size());
    for (const auto& [name, value] : map) names.push_back(name);
    return names;
  }

  void check_listener(const Listener& listener) {
    const std::string path = "listeners." + listener.name;
    std::map<std::string, std::size_t> names;
    std::optional<std::size_t> catch_all;
    for (std::size_t i = 0; i < listener.rules.size(); ++i) {
      const auto& rule = listener.rules[i];
      const auto at = fmt::format("{}.rules[{}]", path, i);
      const auto [first, is_new] = names.emplace(rule.name, i);
      if (!is_new) {
        error(at + ".name", "E3001",
              fmt::format("two rules of listener '{}' are called '{}'", listener.name, rule.name),
              fmt::format("the other is on line {}", listener.rules[first->second].origin.line));
      }
      if (catch_all) {
        warning(at, "W3001",
                fmt::format("rule '{}' is never reached: rule '{}' before it matches everything",
                            rule.name, listener.rules[*catch_all].name));
      } else if (matches_everything(rule.when)) {
        catch_all = i;
      }
      check_action(rule.then, at + ".then");
    }
    if (listener.otherwise) {
      check_action(*listener.otherwise, path + ".default");
      if (catch_all) {
        warning(path + ".default", "W3001",
                fmt::format("the default of listener '{}' is never reached: rule '{}' matches "
                            "everything",
                            listener.name, listener.rules[*catch_all].name));
      }
    }
    if (listener.rules.empty() && !listener.otherwise) {
      warning(path, "W3002",
              fmt::format("listener '{}' has neither rules nor a default: it answers 404 only",
                          listener.name),
              "add 'default: { forward: … }'");
    }
    check_listener_limits(listener, path);
    check_tls(listener, path);
    check_http2(listener, path);
  }

  void check_http2(const Listener& listener, const std::string& path) {
    const bool https = listener.protocol == ListenerProtocol::https;
    if (https && listener.http2.cleartext) {
      error(path + ".http2.cleartext", "E3030",
            fmt::format("listener '{}' speaks https: its clients agree on HTTP/2 by ALPN",
                        listener.name),
            "remove 'cleartext'");
    }
    if (listener.http2.stream_window > listener.http2.connection_window) {
      const bool own = written(path + ".http2.stream_window");
      error(path + ".http2" + (own ? ".stream_window" : ".connection_window"), "E3031",
            "a stream's window cannot be larger than its connection's");
    }
  }

  void check_tls(const Listener& listener, const std::string& path) {
    const bool https = listener.protocol == ListenerProtocol::https;
    if (https && !listener.tls) {
      error(path, "E3020", fmt::format("listener '{}' speaks https without 'tls'", listener.name),
            "add 'tls: { certificates: [{ chain: …, key: … }] }'");
    }
    if (!listener.tls) return;
    if (!https) {
      error(path + ".tls", "E3020",
            fmt::format("listener '{}' has 'tls' but speaks plain http", listener.name),
            "add 'protocol: https'");
    }
    if (listener.tls->certificates.empty() && !written(path + ".tls.certificates[0]")) {
      error(path + ".tls", "E3020", "TLS needs a certificate");
    }
    const ClientCertificates& clients = listener.tls->client_certificates;
    if ((clients.verify == ClientVerification::off) != clients.trust.empty()) {
      error(path + ".tls.client_certificates", "E3020",
            clients.trust.empty() ? "verifying clients needs 'trust'"
                                  : "'trust' without 'verify' has no effect");
    }
  }

  static bool matches_everything(const When& when) {
    const auto any = [](const std::vector<std::string>& values, std::string_view also) {
      return values.empty() || std::any_of(values.begin(), values.end(), [&](const auto& value) {
               return value == "*" || value == also;
             });
    };
    return any(when.hosts, "*") && any(when.paths, "/*");
  }

  void check_listener_limits(const Listener& listener, const std::string& path) {
    const auto& limits = listener.limits;
    if (limits.header_bytes_max > limits.headers_bytes_max) {
      const bool own = written(path + ".limits.header_bytes_max");
      error(path + (own ? ".limits.header_bytes_max" : ".limits.headers_bytes_max"), "E3002",
            fmt::format("one header line may be larger ({}) than the whole head ({})",
                        size_text(limits.header_bytes_max), size_text(limits.headers_bytes_max)));
    }
  }

  void check_action(const Action& action, const std::string& path) {
    if (const auto* forward = std::get_if<Forward>(&action)) {
      check_forward(*forward, path);
    } else if (const auto* redirect = std::get_if<Redirect>(&action)) {
      check_redirect(*redirect, path + ".redirect");
    } else if (const auto* response = std::get_if<FixedResponse>(&action)) {
      const bool bodiless = response->status == 204 || response->status == 304;
      if (bodiless && !response->body.empty()) {
        error(path + ".respond.body", "E3003",
              fmt::format("a {} answer has no body", response->status));
      }
    }
  }

  void check_forward(const Forward& forward, const std::string& path) {
    if (forward.target_group.empty()) return;  // reported as missing or wrong
    used_target_groups_.insert(forward.target_group);
    if (config_.target_groups.contains(forward.target_group)) return;
    const auto names = names_of(config_.target_groups);
    error(
        path + ".forward", "E3004",
        fmt::format("there is no target group {}", shown(path + ".forward", forward.target_group)),
        names.empty() ? "there are no target groups" : suggestion(forward.target_group, names));
  }

  void check_redirect(const Redirect& redirect, const std::string& path) {
    const Redirect same;
    if (redirect.protocol == same.protocol && redirect.host == same.host &&
        redirect.port == same.port && redirect.path == same.path && redirect.query == same.query) {
      error(path, "E3005", "this redirect leads to the same URL: it would loop for ever",
            "change at least one of protocol, host, port, path and query");
    }
    if (redirect.protocol != same.protocol && redirect.protocol != "http" &&
        redirect.protocol != "https") {
      error(path + ".protocol", "E3006", "a redirect's protocol is http, https or #{protocol}");
    }
    const auto port = parse_whole(redirect.port);
    if (redirect.port != same.port && (!port || *port < 1 || *port > 65535)) {
      error(path + ".port", "E3006", "a redirect's port is 1 to 65535 or #{port}");
    }
    if (!redirect.path.starts_with('/')) {
      error(path + ".path", "E3006", "a redirect's path starts with '/'");
    }
    check_placeholders(redirect, path);
  }

  void check_placeholders(const Redirect& redirect, const std::string& path) {
    static const std::vector<std::string> kKnown{"protocol", "host", "port", "path", "query"};
    const std::pair<std::string_view, const std::string&> parts[] = {
        {"host", redirect.host}, {"path", redirect.path}, {"query", redirect.query}};
    for (const auto& [key, text] : parts) {
      for (auto start = text.find("#{"); start != std::string::npos;
           start = text.find("#{", start + 2)) {
        const auto end = std::min(text.find('}', start), text.size());
        const auto name = text.substr(start + 2, end - start - 2);
        if (std::find(kKnown.begin(), kKnown.end(), name) != kKnown.end()) continue;
        error(fmt::format("{}.{}", path, key), "E3006",
              "a redirect knows #{protocol}, #{host}, #{port}, #{path} and #{query} only");
        break;
      }
    }
  }

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
    std::map<Address, std::size_t> addresses;
    for (std::size_t i = 0; i < group.targets.size(); ++i) {
      const auto& address = group.targets[i].address;
      if (address.ip.empty()) continue;  // reported as missing or wrong
      const auto [first, is_new] = addresses.emplace(address, i);
      if (is_new) continue;
      error(fmt::format("{}.targets[{}].address", path, i), "E3008",
            fmt::format("target {} is twice in target group '{}'", address.text(), group.name),
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
    if (check.timeout > check.interval) {
      error(path + ".timeout", "E3011",
            fmt::format("the health check's timeout ({}) is longer than its interval ({})",
                        duration_text(check.timeout), duration_text(check.interval)));
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
  const Places& places_;
  std::vector<Problem> problems_;
  std::set<std::string> used_target_groups_;
  std::set<std::string> used_scaling_groups_;
};

}  // namespace

std::vector<Problem> validate(const Config& config, const Places& places) {
  return Validator(config, places).run();
}

}  // namespace lbd::config
