// Target groups: targets, health checks, ejection, retries.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "config/scalars.h"
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

Kind check_protocol(CheckProtocol& out) {
  Kind kind = word(out, {.words = {"http", "https", "tcp", "grpc"}, .later = {}});
  kind.fallback.clear();
  return kind;
}

/// What may stand in a request line: visible, and no fragment (RFC 9112 §3.2).
bool is_of_target(char c) noexcept { return c > ' ' && c < 0x7f && c != '#'; }

/// RFC 3986 §3.2.2, and a port.
bool is_of_host(char c) noexcept {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return letter || (c >= '0' && c <= '9') ||
         std::string_view("-._~!$&'()*+,;=%:[]").find(c) != std::string_view::npos;
}

Table health_check_table(HealthCheck& check) {
  const auto timeout = std::make_shared<std::optional<milliseconds>>();
  return {
      .doc = "How targets are probed, or `off`.",
      .fields =
          {
              {"protocol", check_protocol(check.protocol),
               "http and https ask for a path, in the group's version of HTTP; tcp only connects; "
               "grpc asks `grpc.health.v1.Health/Check`, over TLS as the group. Default: the "
               "group's."},
              {"service", text(check.service),
               "Service that a grpc check asks about. Default: the server as a whole."},
              {"path", required_text(check.path, "a path"), "Path that is asked for."},
              {"host", text(check.host),
               "Host header of the probe. Default: `tls.server_name` over https, else the target's "
               "name or address."},
              {"port", optional_port(check.port), "Port of the probe. Default: the target's."},
              {"interval", duration(check.interval, {.least = 10ms, .most = 24h}),
               "Time between two probes of a target."},
              {"timeout", optional_duration(*timeout, {.least = 1ms, .most = 24h}),
               "Time within which a probe must pass. Default: `2s`, or the interval when that is "
               "shorter."},
              {"jitter", ratio(check.jitter, {0, 1}),
               "Share of the interval by which probes are spread."},
              {"healthy", whole(check.healthy, {1, 100}),
               "Passes in a row until a target is up; a new one needs one."},
              {"unhealthy", whole(check.unhealthy, {1, 100}),
               "Failures in a row until a target is down."},
              {"codes", codes(check.codes), "Statuses that pass: 200, \"200-299,404\" or a list."},
              {"body", text(check.body), "Text that the answer's first 64 KiB must hold."},
          },
      .later = {},
      .after = [&check, timeout](Decoder& decoder, const Cursor& at) {
        check.timeout = timeout->value_or(std::min(check.timeout, check.interval));
        const auto path = member_of(at, "path");
        if (path && !check.path.starts_with('/')) {
          decoder.expected(*path, "a path that starts with '/'");
        } else if (path && !std::all_of(check.path.begin(), check.path.end(), is_of_target)) {
          decoder.expected(*path, "a path as it is sent: no blanks, no '#', others encoded as %20");
        }
        const auto host = member_of(at, "host");
        if (host && !std::all_of(check.host.begin(), check.host.end(), is_of_host)) {
          decoder.expected(*host, "a host name or address, perhaps with a port");
        }
      }};
}

Table passive_table(Passive& passive) {
  return {
      .doc = "Ejection of targets whose answers fail, or `off`.",
      .fields =
          {
              {"consecutive_connect_errors", whole(passive.consecutive_connect_errors, {1, 10'000}),
               "Failed connections in a row until a target is ejected."},
              {"consecutive_5xx", whole(passive.consecutive_5xx, {1, 10'000}),
               "5xx or broken answers in a row until a target is ejected."},
              {"ejection", duration(passive.ejection, {.least = 1ms, .most = 24h}),
               "Length of the first ejection; grows with each one in a row."},
              {"ejection_max", duration(passive.ejection_max, {.least = 1ms, .most = 24h}),
               "Longest ejection."},
              {"ejected_share_max", ratio(passive.ejected_share_max, {0, 1}),
               "Share of the group that may be ejected at once, but always one target."},
          },
      .later = {},
      .after = {}};
}

Table retries_table(Retries& retries) {
  return {
      .doc = "Second attempts of requests that may be repeated.",
      .fields =
          {
              {"attempts", whole(retries.attempts, {1, 10}), "Attempts in all; 1 is no retry."},
              {"budget_ratio", ratio(retries.budget_ratio, {0, 1}),
               "Retries as a share of the group's requests while failures last. What is in flight "
               "when a target or zone dies may all be retried once. 0: only `budget_min`."},
              {"budget_min", whole(retries.budget_min, {0, 10'000}),
               "Retries a second that are always allowed, per worker."},
          },
      .later = {},
      .after = {}};
}

Table timeouts_table(UpstreamTimeouts& timeouts) {
  return {.doc = "Deadlines towards a target.",
          .fields =
              {
                  {"connect", duration(timeouts.connect, {.least = 1ms}), "To connect."},
                  {"response_head", duration(timeouts.response_head, {.least = 1ms}),
                   "From the end of the request to the response head."},
                  {"body_idle", duration(timeouts.body_idle, {.least = 1ms}),
                   "Between two pieces of a response body."},
                  {"idle", duration(timeouts.idle, {.least = 1ms}),
                   "How long an unused connection is kept; less than the target's own."},
              },
          .later = {},
          .after = {}};
}

Table limits_table(UpstreamLimits& limits) {
  return {.doc = "What a target may send and be sent.",
          .fields =
              {
                  {"response_headers_bytes_max",
                   size(limits.response_headers_bytes_max, {64, 16 * 1024 * 1024}),
                   "Bytes of a response head."},
                  {"response_headers_max", whole(limits.response_headers_max, {1, 10'000}),
                   "Number of header lines of a response."},
                  {"idle_connections_max", whole(limits.idle_connections_max, {0, 100'000}),
                   "Unused connections kept per worker and target."},
                  {"requests_per_target_max",
                   whole_or(limits.requests_per_target_max, "off", {1, 1'000'000}),
                   "Requests in flight per target; `off` is no limit."},
                  {"streams_per_connection", whole(limits.streams_per_connection, {1, 100'000}),
                   "Requests at a time on one connection with HTTP/2; the target may allow less."},
              },
          .later = {},
          .after = {}};
}

Table zones_table(ZonePreference& zones) {
  return {.doc = "Which zone's targets are used.",
          .fields = {{"prefer", word(zones, {.words = {"off", "local", "strict"}, .later = {}}),
                      "local: the own zone while its capacity suffices; strict: only the own; off: "
                      "all alike."}},
          .later = {},
          .after = {}};
}

constexpr std::string_view kUnix = "unix:";

/// RFC 1035 §2.3.4, and underscores (RFC 2782).
bool is_dns_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > 253) return false;
  std::size_t label = 0;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c == '.' ? label == 0 : !letter && c != '-' && c != '_') return false;
    label = c == '.' ? 0 : label + 1;
    if (label > 63) return false;
  }
  return label > 0;
}

/// A name with a last dot is whole: the search list is not for it.
std::string lower_name(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return made;
}

/// An address whose port may come from the group, or a Unix socket.
Kind target_address(Address& out, std::uint16_t group_port) {
  return {.read =
              [&out, group_port](Decoder& decoder, const Cursor& at) {
                const auto* found = scalar_of(decoder, at, "an address such as 10.0.1.10:8080");
                if (found == nullptr) return;
                const bool unix_socket = found->starts_with(kUnix);
                auto address = unix_socket ? parse_unix_address(found->substr(kUnix.size()))
                                           : parse_address(*found, group_port);
                if (!address && unix_socket) {
                  return decoder.expected(at, address.error().message);
                }
                if (!address) {
                  const bool ip_only = parse_ip(*found).has_value();
                  const bool name =
                      found->find_first_of("ghijklmnopqrstuvwxyz") != std::string::npos;
                  return decoder.expected(at, address.error().message,
                                          ip_only ? "add a port here, or 'port' to the target group"
                                          : name ? "a name goes under 'name', its port under 'port'"
                                                 : "");
                }
                if (!unix_socket && address->port == 0)
                  return decoder.expected(at, "a port from 1 to 65535");
                out = std::move(*address);
              },
          .schema =
              [] {
                return json::object{{"type", "string"},
                                    {"pattern", "^(unix:[/@].+|[][0-9a-fA-F:.]+)$"}};
              },
          .fallback = ""};
}

/// A host's name, with a service's underscores.
Kind dns_name(std::string& out, std::string_view what) {
  return {.read =
              [&out, what](Decoder& decoder, const Cursor& at) {
                const auto* found = scalar_of(decoder, at, what);
                if (found == nullptr) return;
                if (parse_ip(*found)) {
                  return decoder.expected(at, what, "an IP address goes under 'address'");
                }
                if (!is_dns_name(*found)) return decoder.expected(at, what);
                out = lower_name(*found);
              },
          .schema =
              [] {
                return json::object{
                    {"type", "string"},
                    {"pattern", R"(^([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?$)"}};
              },
          .fallback = ""};
}

/// One of the three ways to say where a target is, with what belongs to it.
void check_place(Target& target, std::uint16_t group_port, Decoder& decoder, const Cursor& at) {
  const auto address = member_of(at, "address");
  const auto name = member_of(at, "name");
  const auto srv = member_of(at, "srv");
  const auto own_port = member_of(at, "port");
  const int places = (address ? 1 : 0) + (name ? 1 : 0) + (srv ? 1 : 0);
  if (places != 1) {
    return decoder.error(at.label, places == 0 ? "E2004" : "E2010",
                         at.path + (places == 0 ? ": required key 'address' is missing"
                                                : ": more than one of address, name and srv"),
                         places == 0 ? "or 'name', or 'srv', for one that is looked up" : "");
  }
  if (!name && own_port) {
    decoder.error(own_port->label, "E2010", at.path + ": only a target by name has a port",
                  srv ? "SRV records say it" : "write it behind the address");
  }
  if (const auto weight = member_of(at, "weight"); srv && weight) {
    decoder.error(weight->label, "E2010", at.path + ": SRV records say the weight");
  }
  if (!target.name.empty() && target.port == 0) target.port = group_port;
  if (!target.name.empty() && target.port == 0 && !own_port) {
    decoder.error(at.label, "E2004", at.path + ": required key 'port' is missing",
                  "add it here, or to the target group");
  }
}

Table target_table(Target& target, std::uint16_t group_port) {
  return {
      .doc = "One target, or those that a name has.",
      .fields =
          {
              {"address", target_address(target.address, group_port),
               "Address, with port unless the group has one; or a Unix socket: "
               "`unix:/run/app.sock`, abstract `unix:@app`."},
              {"name", dns_name(target.name, "a host name such as app.internal"),
               "Name whose addresses (A and AAAA records) are targets, looked up as their time to "
               "live says."},
              {"port", port(target.port), "Port of a target by `name`. Default: the group's."},
              {"srv", dns_name(target.srv, "a service name such as _http._tcp.app.internal"),
               "Name whose SRV records name targets, with port and weight; those of the lowest "
               "priority."},
              {"zone", text(target.zone), "Its Availability Zone."},
              {"weight", whole(target.weight, {0, 1000}),
               "Share relative to others; 0 gets no new requests."},
          },
      .later = {},
      .after = [&target, group_port](
                   Decoder& decoder,
                   const Cursor& at) { check_place(target, group_port, decoder, at); },
      .one_of = {"address", "name", "srv"}};
}

/// `targets` needs the group's port, which may stand below it: look it up first.
Kind targets(TargetGroup& group) {
  return list({.read =
                   [&group](Decoder& decoder, const Cursor& at) {
                     Target target;
                     target.origin = origin_of(at);
                     decode(decoder, at, target_table(target, group.port));
                     group.targets.push_back(std::move(target));
                   },
               .sample =
                   [] {
                     Target sample;
                     return schema_of(target_table(sample, 1));
                   }});
}

/// Checks go the way of the requests unless they say otherwise. Over https they name the host that
/// TLS names: some servers refuse a request for another (421).
void follow_protocol(TargetGroup& group, const Cursor& at) {
  const auto check = member_of(at, "health_check");
  const bool own = check && member_of(*check, "protocol");
  if (!own && group.protocol == TargetProtocol::https) {
    group.health_check.protocol = CheckProtocol::https;
  }
  if (!own && group.protocol == TargetProtocol::tcp) {
    group.health_check.protocol = CheckProtocol::tcp;
  }
  HealthCheck& how = group.health_check;
  how.http2 = group.http_version == HttpVersion::http_2;
  if (checks_use_tls(group) && how.host.empty()) how.host = group.tls.server_name;
}

constexpr std::string_view kSecureHttp2 = "use protocol: https and http_version: \"2\"";
constexpr std::string_view kPlainHttp2 =
    "use http_version: \"2\", and protocol: https if targets speak TLS";

}  // namespace

Table target_group_table(TargetGroup& group) {
  return {.doc = "One target group.",
          .fields =
              {
                  {"protocol",
                   word(group.protocol, {.words = {"http", "https", "tcp"},
                                         .later = {"tls"},
                                         .others = {{"h2", kSecureHttp2},
                                                    {"http2", kSecureHttp2},
                                                    {"grpcs", kSecureHttp2},
                                                    {"h2c", kPlainHttp2},
                                                    {"grpc", kPlainHttp2}}}),
                   "What targets speak: HTTP, over TLS (https) or not, or anything over TCP (tcp), "
                   "for listeners at layer 4; see docs/operations/layer4.md."},
                  {"http_version", word(group.http_version, {.words = {"1.1", "2"}, .later = {}}),
                   "HTTP/1.1, or HTTP/2: by ALPN over https, which every target must choose then, "
                   "and by prior knowledge over http (h2c). gRPC needs 2. See "
                   "docs/operations/http2.md."},
                  {"tls", object([&group] { return upstream_tls_table(group.tls); }),
                   "How targets are trusted, with protocol https."},
                  {"port", port(group.port), "Port of instances, and of targets that name none."},
                  {"balance",
                   word(group.balance,
                        {.words = {"round_robin", "least_requests", "random", "least_latency"},
                         .later = {"consistent_hash", "first", "maglev", "ring_hash"}}),
                   "How a target is picked."},
                  {"zones", object([&group] { return zones_table(group.zones); }),
                   "Which zone's targets are used."},
                  {"proxy_protocol",
                   word(group.proxy_protocol, {.words = {"off", "v1", "v2"}, .later = {}}),
                   "PROXY protocol header that connections to targets begin with. Each client gets "
                   "connections of its own."},
                  {"health_check", or_off(group.health_check.enabled, object([&group] {
                                            return health_check_table(group.health_check);
                                          })),
                   "How targets are probed, or `off`."},
                  {"passive", or_off(group.passive.enabled, object([&group] {
                                       return passive_table(group.passive);
                                     })),
                   "Ejection of targets whose answers fail, or `off`."},
                  {"fail_open", flag(group.fail_open),
                   "With every target down: use them all (true) or answer 503 (false)."},
                  {"retries", object([&group] { return retries_table(group.retries); }),
                   "Second attempts of requests that may be repeated."},
                  {"stickiness",
                   object([&group] { return stickiness_table(group.stickiness.emplace()); }),
                   "Requests of one session go to one target: see docs/operations/sessions.md."},
                  {"timeouts", object([&group] { return timeouts_table(group.timeouts); }),
                   "Deadlines towards a target."},
                  {"limits", object([&group] { return limits_table(group.limits); }),
                   "What a target may send and be sent."},
                  {"targets", targets(group), "Targets with fixed addresses, or names of such."},
                  {"scaling_group", text(group.scaling_group),
                   "Scaling group whose instances are targets too."},
              },
          .later = {"stickiness", "slow_start", "mirror"},
          .after = [&group](Decoder& decoder, const Cursor& at) {
            follow_protocol(group, at);
            check_upstream_tls(group, decoder, at);
          }};
}

}  // namespace lbd::config
