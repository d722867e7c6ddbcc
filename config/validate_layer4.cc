// Cross checks of what works at layer 4: listeners with protocol tcp or tls, groups with tcp.
#include <fmt/format.h>

#include <array>

#include "config/findings.h"

namespace lbd::config {
namespace {

using Keys = std::vector<std::string_view>;

std::string_view protocol_name(ListenerProtocol protocol) {
  constexpr std::array<std::string_view, 4> kNames{"http", "https", "tcp", "tls"};
  return kNames[static_cast<std::size_t>(protocol)];
}

std::string_view protocol_name(TargetProtocol protocol) {
  constexpr std::array<std::string_view, 3> kNames{"http", "https", "tcp"};
  return kNames[static_cast<std::size_t>(protocol)];
}

class Layer4Validator : Findings {
 public:
  Layer4Validator(const Config& config, const Places& places) : Findings(places), config_(config) {}

  std::vector<Problem> run() {
    for (const auto& [name, listener] : config_.listeners) {
      check_forwards(listener);
      if (is_layer4(listener)) check_listener(listener);
    }
    for (const auto& [name, group] : config_.target_groups) {
      if (group.protocol == TargetProtocol::tcp) check_group(group);
    }
    return std::move(problems_);
  }

 private:
  /// What has no meaning is refused, not ignored.
  void refuse(const std::string& path, const Keys& keys, const std::string& whose) {
    for (const std::string_view key : keys) {
      const std::string at = fmt::format("{}.{}", path, key);
      if (!written(at)) continue;
      error(at, "E3060", fmt::format("{}: '{}' has no meaning", whose, key),
            "it is for HTTP: remove it");
    }
  }

  void check_listener(const Listener& listener) {
    const std::string path = "listeners." + listener.name;
    const std::string whose =
        fmt::format("listener '{}' speaks {}", listener.name, protocol_name(listener.protocol));
    refuse(path,
           {"http2", "forwarded_headers", "trace", "compression", "limits", "upgrade", "desync",
            "error_pages", "reason_header", "timeouts.body_idle", "timeouts.write_idle",
            "timeouts.idle", "timeouts.total"},
           whose);
    if (listener.protocol == ListenerProtocol::tls && listener.tls) {
      error(path + ".tls", "E3061",
            fmt::format("listener '{}' passes TLS through: it has no certificate of its own",
                        listener.name),
            "'protocol: tcp' with 'tls' ends TLS here and passes on what is in it");
    }
    check_keys(listener.rate_limits, path + ".rate_limits", whose);
    check_keys(listener.in_flight_limits, path + ".in_flight_limits", whose);
    for (std::size_t i = 0; i < listener.rules.size(); ++i) {
      const Rule& rule = listener.rules[i];
      const std::string at = fmt::format("{}.rules[{}]", path, i);
      refuse(at, {"rewrite", "request_headers", "response_headers", "timeouts", "limits"}, whose);
      check_keys(rule.rate_limits, at + ".rate_limits", whose);
      check_keys(rule.in_flight_limits, at + ".in_flight_limits", whose);
      check_when(rule.when, listener, at + ".when");
      check_action(rule.then, listener, at + ".then");
    }
    if (listener.otherwise) check_action(*listener.otherwise, listener, path + ".default");
  }

  template <class Limit>
  void check_keys(const std::vector<Limit>& limits, const std::string& path,
                  const std::string& whose) {
    for (std::size_t i = 0; i < limits.size(); ++i) {
      if (limits[i].by == RateKey::source_ip || limits[i].by == RateKey::all) continue;
      error(fmt::format("{}[{}].by", path, i), "E3062",
            whose + ": what is limited is by source_ip, or all");
    }
  }

  void check_when(const When& when, const Listener& listener, const std::string& path) {
    const std::string whose =
        fmt::format("listener '{}' speaks {}", listener.name, protocol_name(listener.protocol));
    refuse(path,
           {"host", "path", "method", "header", "query", "cookie", "scheme", "host_regex",
            "path_regex", "header_regex", "query_regex", "cookie_regex"},
           whose);
    const bool names = listener.protocol == ListenerProtocol::tls || listener.tls;
    for (const std::string_view key : {"sni", "sni_regex"}) {
      const std::string at = fmt::format("{}.{}", path, key);
      if (names || !written(at)) continue;
      error(at, "E3063", fmt::format("{}: no client names a server", whose),
            "with 'protocol: tls' it is read from the ClientHello");
    }
    check_parts(when.any, listener, path + ".any");
    check_parts(when.all, listener, path + ".all");
    for (const When& part : when.none) check_when(part, listener, path + ".not");
  }

  void check_parts(const std::vector<When>& parts, const Listener& listener,
                   const std::string& path) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      check_when(parts[i], listener, fmt::format("{}[{}]", path, i));
    }
  }

  void check_action(const Action& action, const Listener& listener, const std::string& path) {
    const auto* forward = std::get_if<Forward>(&action);
    if (forward == nullptr) {
      error(path, "E3064",
            fmt::format("listener '{}' speaks {}: connections can only be forwarded", listener.name,
                        protocol_name(listener.protocol)));
    } else if (forward->sticky) {
      error(path + ".stickiness", "E3060",
            fmt::format("listener '{}' speaks {}: 'stickiness' has no meaning", listener.name,
                        protocol_name(listener.protocol)),
            "it is for HTTP: remove it");
    } else if (forward->mirror) {
      error(path + ".mirror", "E3060",
            fmt::format("listener '{}' speaks {}: 'mirror' has no meaning", listener.name,
                        protocol_name(listener.protocol)),
            "it is for HTTP: remove it");
    }
  }

  /// Layer 4 to layer 4, HTTP to HTTP.
  void check_forwards(const Listener& listener) {
    const std::string path = "listeners." + listener.name;
    for (std::size_t i = 0; i < listener.rules.size(); ++i) {
      check_forward(listener.rules[i].then, listener, fmt::format("{}.rules[{}].then", path, i));
    }
    if (listener.otherwise) check_forward(*listener.otherwise, listener, path + ".default");
  }

  void check_forward(const Action& action, const Listener& listener, const std::string& path) {
    const auto* forward = std::get_if<Forward>(&action);
    if (forward == nullptr) return;
    const std::string at = path + ".forward";
    if (!forward->target_group.empty()) check_pair(listener, forward->target_group, at);
    for (const WeightedGroup& each : forward->weighted) {
      check_pair(listener, each.target_group, fmt::format("{}.{}", at, each.target_group));
    }
    if (forward->mirror && !is_layer4(listener)) {
      check_pair(listener, forward->mirror->target_group, path + ".mirror.target_group");
    }
  }

  void check_pair(const Listener& listener, const std::string& group, const std::string& path) {
    const auto found = config_.target_groups.find(group);
    if (found == config_.target_groups.end()) return;  // validate_listener.cc says so
    const bool layer4 = found->second.protocol == TargetProtocol::tcp;
    if (layer4 == is_layer4(listener)) return;
    error(path, "E3065",
          fmt::format("listener '{}' speaks {}, but target group {} speaks {}", listener.name,
                      protocol_name(listener.protocol), shown(path, group),
                      protocol_name(found->second.protocol)),
          layer4 ? "a listener with 'protocol: tcp' or 'tls' forwards to it"
                 : "forward to a group with 'protocol: tcp'");
  }

  void check_group(const TargetGroup& group) {
    const std::string path = "target_groups." + group.name;
    refuse(
        path,
        {"http_version", "stickiness", "retries.budget_ratio", "retries.budget_min",
         "timeouts.response_head", "timeouts.body_idle", "timeouts.idle",
         "limits.response_headers_bytes_max", "limits.response_headers_max",
         "limits.idle_connections_max", "limits.streams_per_connection", "passive.consecutive_5xx"},
        fmt::format("target group '{}' speaks tcp", group.name));
    if (group.balance != Balance::least_latency) return;
    error(path + ".balance", "E3066",
          fmt::format("target group '{}' speaks tcp: it has no responses whose latency could be "
                      "measured",
                      group.name),
          "use least_requests");
  }

  const Config& config_;
};

}  // namespace

std::vector<Problem> validate_layer4(const Config& config, const Places& places) {
  return Layer4Validator(config, places).run();
}

}  // namespace lbd::config
