// Cross checks of listeners, rules and their actions.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "config/findings.h"
#include "config/scalars.h"
#include "config/suggest.h"

namespace lbd::config {
namespace {

class ListenerValidator : Findings {
 public:
  ListenerValidator(const Config& config, const Places& places)
      : Findings(places), config_(config) {}

  ListenerFindings run() {
    for (const auto& [name, listener] : config_.listeners) check_listener(listener);
    return {std::move(problems_), std::move(used_target_groups_)};
  }

 private:
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
      check_changes(rule, listener, at);
      if (listener.protocol == ListenerProtocol::http && asks_for_sni(rule.when)) {
        warning(at + ".when", "W3010",
                fmt::format("rule '{}' asks for a TLS server name (sni) but listener '{}' speaks "
                            "plain http",
                            rule.name, listener.name));
      }
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
              fmt::format("listener '{}' has neither rules nor a default: it {}", listener.name,
                          is_layer4(listener) ? "closes every connection" : "answers 404 only"),
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
    if (listener.protocol == ListenerProtocol::http) {
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
    if (clients.headers && clients.verify == ClientVerification::off) {
      error(path + ".tls.client_certificates.headers", "E3023",
            "without 'verify' no client is asked for a certificate, and 'headers' has no effect",
            "add 'verify: required' and 'trust'");
    }
  }

  /// Where its absence makes the conditions fail.
  static bool asks_for_sni(const When& when) {
    const auto all = [](const std::vector<When>& parts) {
      return !parts.empty() && std::all_of(parts.begin(), parts.end(), &asks_for_sni);
    };
    return !when.server_names.empty() || !when.server_names_regex.empty() || all(when.any) ||
           std::any_of(when.all.begin(), when.all.end(), &asks_for_sni);
  }

  static bool matches_everything(const When& when) {
    const auto any = [](const std::vector<std::string>& values, std::string_view also) {
      return values.empty() || std::any_of(values.begin(), values.end(), [&](const auto& value) {
               return value == "*" || value == also;
             });
    };
    When rest = when;
    rest.hosts.clear();
    rest.paths.clear();
    return any(when.hosts, "*") && any(when.paths, "/*") && rest == When{};
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

  /// What only a target could notice needs one.
  void check_changes(const Rule& rule, const Listener& listener, const std::string& path) {
    if (!std::holds_alternative<Forward>(rule.then)) {
      for (const std::string_view key :
           {"rewrite", "request_headers", "timeouts", "retries", "limits"}) {
        const auto at = fmt::format("{}.{}", path, key);
        if (!written(at)) continue;
        error(
            at, "E3021",
            fmt::format("rule '{}' is answered by lbd itself: '{}' has no effect", rule.name, key));
      }
    }
    const std::uint64_t most = listener.limits.body_bytes_max;
    if (rule.body_bytes_max && most > 0 && *rule.body_bytes_max > most) {
      error(path + ".limits.body_bytes_max", "E3022",
            fmt::format("rule '{}' allows larger bodies ({}) than its listener ({})", rule.name,
                        size_text(*rule.body_bytes_max), size_text(most)),
            "raise the listener's limit and lower it in other rules");
    }
  }

  void check_forward(const Forward& forward, const std::string& path) {
    if (!forward.target_group.empty()) check_group(forward.target_group, path + ".forward");
    for (const auto& each : forward.weighted) {
      check_group(each.target_group, fmt::format("{}.forward.{}", path, each.target_group));
    }
    if (forward.mirror) check_mirror(forward, path);
  }

  void check_mirror(const Forward& forward, const std::string& path) {
    const std::string& group = forward.mirror->target_group;
    if (group.empty()) return;
    const std::string at = path + ".mirror.target_group";
    check_group(group, at);
    const bool weighted =
        std::any_of(forward.weighted.begin(), forward.weighted.end(),
                    [&](const WeightedGroup& each) { return each.target_group == group; });
    if (group == forward.target_group || weighted) {
      error(at, "E3024", fmt::format("{} would get its own requests twice", shown(at, group)),
            "mirror to a group of its own");
    }
  }

  void check_group(const std::string& group, const std::string& path) {
    used_target_groups_.insert(group);
    if (config_.target_groups.contains(group)) return;
    const auto names = names_of(config_.target_groups);
    error(path, "E3004", fmt::format("there is no target group {}", shown(path, group)),
          names.empty() ? "there are no target groups" : suggestion(group, names));
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

  const Config& config_;
  std::set<std::string> used_target_groups_;
};

}  // namespace

ListenerFindings validate_listeners(const Config& config, const Places& places) {
  return ListenerValidator(config, places).run();
}

}  // namespace lbd::config
