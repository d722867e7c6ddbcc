#include "config/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "config/scalars.h"

namespace lbd::config {
namespace {

/// Collects sentences about one thing that is there before and after.
class Changes {
 public:
  Changes(std::vector<std::string>& out, std::string subject)
      : out_(out), subject_(std::move(subject)) {}

  void say(std::string_view what) { out_.push_back(fmt::format("{}: {}", subject_, what)); }

  template <class T>
  void number(std::string_view key, const T& before, const T& after) {
    if (before != after) say(fmt::format("{} {} → {}", key, before, after));
  }
  void duration(std::string_view key, milliseconds before, milliseconds after) {
    if (before == after) return;
    say(fmt::format("{} {} → {}", key, duration_text(before), duration_text(after)));
  }
  /// For values too long, or too private, to be shown.
  void changed(std::string_view key, bool differs) {
    if (differs) say(fmt::format("{} changed", key));
  }
  void set(std::string_view what, const std::set<std::string>& before,
           const std::set<std::string>& after) {
    for (const auto& item : before) {
      if (!after.contains(item)) say(fmt::format("removed {} {}", what, item));
    }
    for (const auto& item : after) {
      if (!before.contains(item)) say(fmt::format("added {} {}", what, item));
    }
  }

 private:
  std::vector<std::string>& out_;
  std::string subject_;
};

std::string list_text(const std::vector<std::string>& items) {
  std::string text;
  for (const auto& item : items) text += fmt::format("{}:{}", item.size(), item);
  return text;
}

std::string map_text(const std::map<std::string, std::string>& items) {
  std::vector<std::string> flat;
  for (const auto& [key, value] : items) {
    flat.push_back(key);
    flat.push_back(value);
  }
  return list_text(flat);
}

// ---- a text per value: equal texts mean equal values

std::string text_of(const StickyCookie& sticky) {
  return list_text({sticky.cookie, std::to_string(sticky.duration.count()),
                    std::to_string(static_cast<int>(sticky.same_site))});
}

std::string text_of(const std::optional<Stickiness>& stickiness) {
  if (!stickiness) return "";
  return list_text({std::to_string(static_cast<int>(stickiness->by)), stickiness->app_cookie,
                    text_of(stickiness->cookie)});
}

std::string text_of(const Mirror& mirror) {
  return list_text({"mirror", mirror.target_group, fmt::format("{}", mirror.share),
                    std::to_string(mirror.body_bytes_max), std::to_string(mirror.timeout.count())});
}

std::string text_of(const Action& action) {
  if (const auto* forward = std::get_if<Forward>(&action)) {
    std::vector<std::string> parts{"forward", forward->target_group};
    for (const auto& each : forward->weighted) {
      parts.push_back(each.target_group);
      parts.push_back(std::to_string(each.weight));
    }
    if (forward->sticky) parts.push_back(text_of(*forward->sticky));
    if (forward->mirror) parts.push_back(text_of(*forward->mirror));
    return list_text(parts);
  }
  if (const auto* redirect = std::get_if<Redirect>(&action)) {
    return list_text({"redirect", redirect->protocol, redirect->host, redirect->port,
                      redirect->path, redirect->query, std::to_string(redirect->status)});
  }
  const auto& response = std::get<FixedResponse>(action);
  return list_text(
      {"respond", std::to_string(response.status), response.content_type, response.body});
}

std::string text_of(const std::vector<Cidr>& networks) {
  std::vector<std::string> parts;
  parts.reserve(networks.size());
  for (const auto& each : networks)
    parts.push_back(fmt::format("{}/{}", each.ip, each.prefix_bits));
  return list_text(parts);
}

std::string text_of(const std::vector<FieldMatch>& fields) {
  std::vector<std::string> parts;
  parts.reserve(2 * fields.size());
  for (const auto& field : fields) {
    parts.push_back(field.name);
    parts.push_back(list_text(field.values));
  }
  return list_text(parts);
}

std::string text_of(const When& when);

std::string text_of(const std::vector<When>& parts) {
  std::vector<std::string> texts;
  texts.reserve(parts.size());
  for (const auto& part : parts) texts.push_back(text_of(part));
  return list_text(texts);
}

std::string text_of(const When& when) {
  return list_text({list_text(when.hosts), list_text(when.paths), list_text(when.hosts_regex),
                    list_text(when.paths_regex), list_text(when.methods), text_of(when.headers),
                    text_of(when.headers_regex), text_of(when.query), text_of(when.query_regex),
                    text_of(when.cookies), text_of(when.cookies_regex), text_of(when.source_ips),
                    when.scheme, list_text(when.server_names), list_text(when.server_names_regex),
                    when.share ? fmt::format("{}", *when.share) : "", text_of(when.any),
                    text_of(when.all), text_of(when.none)});
}

std::string text_of(const std::vector<NamedText>& texts) {
  std::vector<std::string> parts;
  for (const auto& each : texts) {
    parts.push_back(each.name);
    parts.push_back(each.text);
  }
  return list_text(parts);
}

std::string text_of(const HeaderEdits& edits) {
  return list_text({list_text(edits.remove), text_of(edits.set), text_of(edits.add)});
}

std::string text_of(const Rewrite& rewrite) {
  return list_text({rewrite.host, rewrite.path_prefix_from, rewrite.path_prefix_to,
                    rewrite.path_regex, rewrite.path_to, list_text(rewrite.query_remove),
                    text_of(rewrite.query_set), text_of(rewrite.query_add)});
}

std::string text_of(const AccessList& access) {
  return list_text({text_of(access.allow), text_of(access.deny)});
}

std::string text_of(const std::vector<RateLimit>& limits) {
  std::vector<std::string> parts;
  for (const auto& each : limits) {
    parts.push_back(fmt::format("{} {} {} {} {}", static_cast<int>(each.by), each.requests,
                                each.per.count(), each.burst, each.keys_max));
    parts.push_back(each.name);
  }
  return list_text(parts);
}

std::string text_of(const std::vector<InFlightLimit>& limits) {
  std::vector<std::string> parts;
  for (const auto& each : limits) {
    parts.push_back(
        fmt::format("{} {} {}", static_cast<int>(each.by), each.requests, each.keys_max));
    parts.push_back(each.name);
  }
  return list_text(parts);
}

std::string text_of(const Rule& rule) {
  const auto ms = [](const std::optional<milliseconds>& time) {
    return time ? std::to_string(time->count()) : "";
  };
  return list_text(
      {rule.name, text_of(rule.when), text_of(rule.then), text_of(rule.rewrite),
       text_of(rule.request_headers), text_of(rule.response_headers), ms(rule.total_timeout),
       ms(rule.response_head_timeout), rule.attempts ? std::to_string(*rule.attempts) : "",
       rule.body_bytes_max ? std::to_string(*rule.body_bytes_max) : "", text_of(rule.access),
       text_of(rule.in_flight_limits), text_of(rule.rate_limits)});
}

std::string text_of(const std::map<std::string, ErrorPage>& pages) {
  std::vector<std::string> parts;
  for (const auto& [status, page] : pages) {
    parts.insert(parts.end(), {status, page.content_type, page.body});
  }
  return list_text(parts);
}

std::string text_of(const HealthCheck& check) {
  std::string codes;
  for (const auto& range : check.codes) codes += fmt::format("{}-{},", range.first, range.last);
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {}", check.enabled,
                     static_cast<int>(check.protocol), check.service, check.path, check.host,
                     check.port.value_or(0), check.interval.count(), check.timeout.count(),
                     check.jitter, check.healthy, check.unhealthy, codes, check.body);
}

std::string text_of(const Passive& passive) {
  return fmt::format("{} {} {} {} {} {}", passive.enabled, passive.consecutive_connect_errors,
                     passive.consecutive_5xx, passive.ejection.count(),
                     passive.ejection_max.count(), passive.ejected_share_max);
}

std::string text_of(const Policy& policy) {
  std::string steps;
  for (const auto& step : policy.steps) {
    steps += fmt::format("[{} {} {}]", step.lower ? fmt::format("{}", *step.lower) : "",
                         step.upper ? fmt::format("{}", *step.upper) : "", step.adjustment);
  }
  return fmt::format(
      "{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", static_cast<int>(policy.kind),
      static_cast<int>(policy.signal), static_cast<int>(policy.statistic), policy.above,
      policy.threshold, policy.period.count(), policy.datapoints, policy.datapoints_to_alarm,
      static_cast<int>(policy.adjustment_type), steps, policy.min_adjustment,
      policy.cooldown ? policy.cooldown->count() : -1, policy.target, policy.scale_in_ratio,
      policy.scale_out_for.count(), policy.scale_in_for.count(), policy.scale_in_period.count(),
      policy.disable_scale_in, policy.warm_up ? policy.warm_up->count() : -1);
}

std::string text_of(const std::variant<ProcessProvider, Ec2Provider>& provider) {
  if (const auto* process = std::get_if<ProcessProvider>(&provider)) {
    return list_text({"process", list_text(process->command), map_text(process->environment),
                      list_text(process->zones), map_text(process->zone_addresses),
                      process->working_dir, fmt::format("{}", process->cpu_share),
                      std::to_string(process->stop_timeout.count())});
  }
  const auto& ec2 = std::get<Ec2Provider>(provider);
  return list_text({"ec2", ec2.region, ec2.launch_template_id, ec2.launch_template_name,
                    ec2.launch_template_version, list_text(ec2.subnets), map_text(ec2.tags),
                    ec2.profile, ec2.endpoint_url, std::to_string(ec2.describe_interval.count())});
}

// ---- things by name

void diff_node(const Node& before, const Node& after, std::vector<std::string>& out) {
  Changes changes(out, "node");
  changes.number("zone", before.zone, after.zone);
  changes.number("workers", before.workers, after.workers);
  changes.changed("cookie_key", before.cookie_key != after.cookie_key);
  changes.changed("deployment", before.deployment != after.deployment);
  changes.changed("state_dir", before.state_dir != after.state_dir);
  const auto dns_text = [](const Dns& dns) {
    std::vector<std::string> parts{fmt::format("{} {}", dns.min_ttl.count(), dns.max_ttl.count())};
    for (const Address& each : dns.resolvers) parts.push_back(each.text());
    return list_text(parts);
  };
  changes.changed("dns", dns_text(before.dns) != dns_text(after.dns));
  changes.changed("admin", before.admin.socket != after.admin.socket ||
                               before.admin.metrics != after.admin.metrics);
  changes.changed("access_log", !(before.access_log == after.access_log));
  changes.number("connections_max", before.connections_max, after.connections_max);
  changes.duration("drain_deadline", before.drain_deadline, after.drain_deadline);
  changes.number("log_level", before.log_level, after.log_level);
}

std::string text_of(const std::optional<ListenerTls>& tls) {
  if (!tls) return "";
  std::vector<std::string> parts{
      fmt::format("{} {} {} {} {} {}", static_cast<int>(tls->policy), tls->session_tickets,
                  tls->handshake_timeout.count(), static_cast<int>(tls->client_certificates.verify),
                  tls->client_certificates.headers, tls->client_certificates.trust)};
  for (const CertificateFiles& each : tls->certificates) {
    parts.push_back(each.chain);
    parts.push_back(each.key);
  }
  return list_text(parts);
}

std::set<std::string> listen_set(const Listener& listener) {
  std::set<std::string> addresses;
  for (const auto& address : listener.listen) addresses.insert(address.text());
  return addresses;
}

std::string text_of(const ForwardedHeaders& headers) {
  std::string proxies;
  for (const auto& proxy : headers.trusted_proxies) {
    proxies += fmt::format("{}/{},", proxy.ip, proxy.prefix_bits);
  }
  return fmt::format("{} {} {} {}", static_cast<int>(headers.x_forwarded_for), proxies,
                     headers.forwarded, headers.via);
}

/// Things with a name and a text: what was added, removed or changed.
template <class Items>
void diff_named(Changes& changes, std::string_view what, const Items& before, const Items& after) {
  std::map<std::string, std::string> old_texts;
  std::map<std::string, std::string> new_texts;
  for (const auto& item : before) old_texts[item.name] = text_of(item);
  for (const auto& item : after) new_texts[item.name] = text_of(item);
  for (const auto& [name, text] : old_texts) {
    const auto found = new_texts.find(name);
    if (found == new_texts.end()) {
      changes.say(fmt::format("removed {} '{}'", what, name));
    } else if (found->second != text) {
      changes.say(fmt::format("{} '{}' changed", what, name));
    }
  }
  for (const auto& [name, text] : new_texts) {
    if (!old_texts.contains(name)) changes.say(fmt::format("added {} '{}'", what, name));
  }
}

template <class T>
std::vector<std::string> names_in_both(const std::vector<T>& list, const std::vector<T>& other) {
  std::vector<std::string> names;
  for (const auto& item : list) {
    const bool both = std::any_of(other.begin(), other.end(),
                                  [&item](const T& o) { return o.name == item.name; });
    if (both) names.push_back(item.name);
  }
  return names;
}

void diff_one(const Listener& before, const Listener& after, Changes& changes) {
  changes.set("address", listen_set(before), listen_set(after));
  diff_named(changes, "rule", before.rules, after.rules);
  changes.changed("order of rules", names_in_both(before.rules, after.rules) !=
                                        names_in_both(after.rules, before.rules));
  const auto default_text = [](const Listener& l) {
    return l.otherwise ? text_of(*l.otherwise) : "";
  };
  changes.changed("default", default_text(before) != default_text(after));
  changes.changed("protocol", before.protocol != after.protocol);
  const auto http2_text = [](const ListenerHttp2& h) {
    return fmt::format("{} {} {} {} {}", h.enabled, h.cleartext, h.streams_max, h.stream_window,
                       h.connection_window);
  };
  changes.changed("http2", http2_text(before.http2) != http2_text(after.http2));
  changes.changed("tls", text_of(before.tls) != text_of(after.tls));
  const auto proxy_text = [](const ListenerProxyProtocol& p) {
    return p.enabled ? "on " + text_of(p.trusted) : "off";
  };
  changes.changed("proxy_protocol",
                  proxy_text(before.proxy_protocol) != proxy_text(after.proxy_protocol));
  changes.changed("forwarded_headers",
                  text_of(before.forwarded_headers) != text_of(after.forwarded_headers));
  const auto& [a, b] = std::pair(before.timeouts, after.timeouts);
  changes.duration("timeouts.request_head", a.request_head, b.request_head);
  changes.duration("timeouts.body_idle", a.body_idle, b.body_idle);
  changes.duration("timeouts.write_idle", a.write_idle, b.write_idle);
  changes.duration("timeouts.idle", a.idle, b.idle);
  changes.duration("timeouts.total", a.total, b.total);
  const auto limits_text = [](const ListenerLimits& l) {
    return fmt::format("{} {} {} {} {} {} {}", l.request_line_bytes_max, l.header_bytes_max,
                       l.headers_bytes_max, l.headers_max, l.body_bytes_max,
                       l.body_bytes_per_second_min, l.requests_per_connection_max);
  };
  changes.changed("limits", limits_text(before.limits) != limits_text(after.limits));
  changes.duration("timeouts.tunnel_idle", a.tunnel_idle, b.tunnel_idle);
  changes.duration("timeouts.tunnel_total", a.tunnel_total, b.tunnel_total);
  changes.changed("upgrade", before.upgrade != after.upgrade);
  changes.changed("compression", !(before.compression == after.compression));
  changes.changed("trace", !(before.trace == after.trace));
  changes.changed("desync", before.desync != after.desync);
  changes.changed("access", text_of(before.access) != text_of(after.access));
  changes.changed("in_flight_limits",
                  text_of(before.in_flight_limits) != text_of(after.in_flight_limits));
  changes.changed("rate_limits", text_of(before.rate_limits) != text_of(after.rate_limits));
  changes.changed("error_pages", text_of(before.error_pages) != text_of(after.error_pages));
  changes.number("reason_header", before.reason_header, after.reason_header);
}

void diff_targets(const TargetGroup& before, const TargetGroup& after, Changes& changes) {
  std::map<std::string, const Target*> old_targets;
  std::map<std::string, const Target*> new_targets;
  for (const auto& target : before.targets) old_targets[target.text()] = &target;
  for (const auto& target : after.targets) new_targets[target.text()] = &target;
  for (const auto& [address, target] : old_targets) {
    const auto found = new_targets.find(address);
    if (found == new_targets.end()) {
      changes.say("removed target " + address);
      continue;
    }
    const auto what = "target " + address;
    changes.number(what + " weight", target->weight, found->second->weight);
    changes.changed(what + " zone", target->zone != found->second->zone);
  }
  for (const auto& [address, target] : new_targets) {
    if (!old_targets.contains(address)) changes.say("added target " + address);
  }
}

std::string text_of(const UpstreamTls& tls) {
  const bool own = tls.certificate.has_value();
  return list_text({tls.verify ? "verify" : "", tls.trust, tls.server_name,
                    own ? tls.certificate->chain : "", own ? tls.certificate->key : ""});
}

void diff_one(const TargetGroup& before, const TargetGroup& after, Changes& changes) {
  diff_targets(before, after, changes);
  changes.changed("protocol", before.protocol != after.protocol);
  changes.changed("tls", text_of(before.tls) != text_of(after.tls));
  changes.number("port", before.port, after.port);
  changes.changed("balance", before.balance != after.balance);
  changes.changed("zones", before.zones != after.zones);
  changes.changed("http_version", before.http_version != after.http_version);
  changes.changed("proxy_protocol", before.proxy_protocol != after.proxy_protocol);
  changes.changed("health_check", text_of(before.health_check) != text_of(after.health_check));
  changes.changed("passive", text_of(before.passive) != text_of(after.passive));
  changes.number("fail_open", before.fail_open, after.fail_open);
  const auto rest = [](const TargetGroup& g) {
    return fmt::format("{} {} {}", g.retries.attempts, g.retries.budget_ratio,
                       g.retries.budget_min);
  };
  changes.changed("retries", rest(before) != rest(after));
  changes.changed("stickiness", text_of(before.stickiness) != text_of(after.stickiness));
  const auto& [a, b] = std::pair(before.timeouts, after.timeouts);
  changes.duration("timeouts.connect", a.connect, b.connect);
  changes.duration("timeouts.response_head", a.response_head, b.response_head);
  changes.duration("timeouts.body_idle", a.body_idle, b.body_idle);
  changes.duration("timeouts.idle", a.idle, b.idle);
  const auto limits_text = [](const UpstreamLimits& l) {
    return fmt::format("{} {} {} {} {}", l.response_headers_bytes_max, l.response_headers_max,
                       l.idle_connections_max, l.requests_per_target_max, l.streams_per_connection);
  };
  changes.changed("limits", limits_text(before.limits) != limits_text(after.limits));
  changes.changed("scaling_group", before.scaling_group != after.scaling_group);
}

void diff_one(const ScalingGroup& before, const ScalingGroup& after, Changes& changes) {
  changes.number("min", before.min, after.min);
  changes.number("max", before.max, after.max);
  changes.changed("desired", before.desired != after.desired);
  changes.changed("provider", text_of(before.provider) != text_of(after.provider));
  changes.duration("warm_up", before.warm_up, after.warm_up);
  changes.duration("cooldown", before.cooldown, after.cooldown);
  changes.duration("drain_deadline", before.drain_deadline, after.drain_deadline);
  changes.duration("grace", before.grace, after.grace);
  changes.duration("launch_timeout", before.launch_timeout, after.launch_timeout);
  changes.duration("zone_pause", before.zone_pause, after.zone_pause);
  changes.duration("zone_pause_max", before.zone_pause_max, after.zone_pause_max);
  changes.number("replace_unhealthy", before.replace_unhealthy, after.replace_unhealthy);
  changes.changed("cpu", before.cpu_sources != after.cpu_sources ||
                             before.node_exporter_port != after.node_exporter_port ||
                             before.node_exporter_path != after.node_exporter_path);
  diff_named(changes, "policy", before.policies, after.policies);
}

template <class T>
void diff_map(std::string_view what, const std::map<std::string, T>& before,
              const std::map<std::string, T>& after, std::vector<std::string>& out) {
  for (const auto& [name, value] : before) {
    const auto found = after.find(name);
    if (found == after.end()) {
      out.push_back(fmt::format("removed {} '{}'", what, name));
      continue;
    }
    Changes changes(out, fmt::format("{} '{}'", what, name));
    diff_one(value, found->second, changes);
  }
  for (const auto& [name, value] : after) {
    if (!before.contains(name)) out.push_back(fmt::format("added {} '{}'", what, name));
  }
}

}  // namespace

std::vector<std::string> diff(const Config& before, const Config& after) {
  std::vector<std::string> out;
  diff_node(before.node, after.node, out);
  diff_map("listener", before.listeners, after.listeners, out);
  diff_map("target group", before.target_groups, after.target_groups, out);
  diff_map("scaling group", before.scaling_groups, after.scaling_groups, out);
  return out;
}

}  // namespace lbd::config
