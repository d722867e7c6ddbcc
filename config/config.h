// The configuration as a value: what an admin wrote, with every default filled in and every unit
// resolved. Parsing and checking live in parse.cc and validate.cc; nothing here refers to YAML.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/rule.h"
#include "config/values.h"

namespace lbd::config {

struct Admin {
  std::string socket = "/run/lbd/admin.sock";
  std::optional<Address> metrics = Address{"127.0.0.1", 9600};  // `off` turns it off
};

enum class LogFormat : std::uint8_t { json, clf, combined, alb };

struct AccessLog {
  bool enabled = true;
  std::string path = "-";  // a file, "-" for stdout, or "unix:PATH" for a stream socket
  LogFormat format = LogFormat::json;
  double sample = 1;         // share of requests; errors and slow ones are always kept
  milliseconds slow{1'000};  // from here on a request is slow

  bool operator==(const AccessLog&) const = default;
};

/// How names of targets are looked up.
struct Dns {
  std::vector<Address> resolvers;  // empty: those of the host, and its hosts file
  milliseconds min_ttl{5'000};     // answers hold at least and at most this long
  milliseconds max_ttl{300'000};
};

struct Node {
  std::string zone = "auto";  // auto: IMDSv2, else none
  std::uint32_t workers = 0;  // 0 (auto): one per usable CPU
  std::string state_dir = "/var/lib/lbd";
  std::string cookie_key;  // signs sticky cookies; empty: one that is kept in the state directory
  std::string deployment;  // owner of EC2 instances; empty: the state directory's own random id
  Admin admin;
  Dns dns;
  AccessLog access_log;
  std::uint32_t connections_max =
      50'000;                      // client connections per process; above it new ones are shed
  seconds drain_deadline{60};      // SIGTERM: finish what is in flight within this
  std::string log_level = "info";  // debug | info | warning | error
};

// ---- listeners

/// How a client's or upstream's address headers are treated. Source: RFC 7239.
enum class ForwardedMode : std::uint8_t { append, replace, preserve, remove };

struct ForwardedHeaders {
  ForwardedMode x_forwarded_for = ForwardedMode::append;
  std::vector<Cidr>
      trusted_proxies;    // peers whose X-Forwarded-*, Forwarded and x-request-id are believed
  bool forwarded = true;  // add RFC 7239 Forwarded
  bool via = true;        // add Via
};

/// What becomes of a request's trace context: as it came; made where there is none; taken away.
enum class TraceMode : std::uint8_t { pass, make, remove };

struct TraceHeaders {
  TraceMode traceparent = TraceMode::pass;  // W3C Trace Context, with tracestate
  TraceMode x_amzn_trace_id = TraceMode::pass;
  double sampled = 1;  // share of the traces begun here that say so

  bool operator==(const TraceHeaders&) const = default;
};

struct ListenerTimeouts {
  milliseconds request_head{10'000};  // first byte of a head to its end
  milliseconds body_idle{30'000};     // between two pieces of a request body
  milliseconds write_idle{30'000};    // a client that reads nothing
  milliseconds idle{60'000};          // keep-alive between requests
  milliseconds total{0};              // whole request; 0: no limit
  milliseconds tunnel_idle{600'000};  // a tunnel in which nothing moves; 0: no limit
  milliseconds tunnel_total{0};       // a whole tunnel; 0: no limit
};

struct ListenerLimits {
  std::uint32_t request_line_bytes_max = 16 * 1024;
  std::uint32_t header_bytes_max = 16 * 1024;     // one header line
  std::uint32_t headers_bytes_max = 64 * 1024;    // the whole request head
  std::uint32_t headers_max = 128;                // count of header fields
  std::uint64_t body_bytes_max = 0;               // 0: no limit
  std::uint32_t body_bytes_per_second_min = 240;  // beyond the first body_idle; 0: no limit
  std::uint32_t requests_per_connection_max = 0;  // 0: no limit
};

enum class ListenerProtocol : std::uint8_t {
  http,
  https
};  // tcp, tls: not in this version (a clear error)

/// PEM files: the certificate first, then its chain; and its key.
struct CertificateFiles {
  std::string chain;
  std::string key;
  Origin origin;
};
/// Mozilla's server side TLS profiles, version 6.0.
enum class TlsPolicy : std::uint8_t { intermediate, modern };
enum class ClientVerification : std::uint8_t { off, optional, required };
struct ClientCertificates {
  ClientVerification verify = ClientVerification::off;
  std::string trust;     // PEM file of the authorities
  bool headers = false;  // X-Amzn-Mtls-Clientcert-* for targets
};
struct ListenerTls {
  TlsPolicy policy = TlsPolicy::intermediate;
  std::vector<CertificateFiles> certificates;  // the first for clients without a known name
  ClientCertificates client_certificates;
  bool session_tickets = true;
  milliseconds handshake_timeout{10'000};
};

/// What becomes of requests that servers could read differently (docs/operations/desync.md).
enum class DesyncMode : std::uint8_t { monitor, defensive, strictest };

/// What clients may switch their connections to.
enum class Upgrade : std::uint8_t { off, websocket };

/// RFC 9113, with clients.
struct ListenerHttp2 {
  bool enabled = true;     // offered by ALPN, with protocol https
  bool cleartext = false;  // by prior knowledge, with protocol http
  std::uint32_t streams_max = 100;
  std::uint32_t stream_window = 256 * 1024;       // bytes
  std::uint32_t connection_window = 1024 * 1024;  // bytes
};

enum class Coding : std::uint8_t { gzip, br, zstd };
enum class Effort : std::uint8_t { low, medium, high };

/// Bodies of responses in a coding that the client accepts.
struct Compression {
  std::vector<Coding> algorithms{Coding::zstd, Coding::br, Coding::gzip};  // the best liked first
  std::vector<std::string> types{"text/*",
                                 "application/json",
                                 "application/javascript",
                                 "application/xml",
                                 "application/*+json",
                                 "application/*+xml",
                                 "image/svg+xml",
                                 "application/wasm",
                                 "application/manifest",
                                 "font/ttf",
                                 "font/otf",
                                 "application/vnd.ms-fontobject",
                                 "image/bmp",
                                 "application/x-javascript"};
  std::uint64_t bytes_min = 1024;
  Effort effort = Effort::medium;

  bool operator==(const Compression&) const = default;
};

/// What connections must begin with: the PROXY protocol's header, version 1 or 2.
struct ListenerProxyProtocol {
  bool enabled = false;
  std::vector<Cidr> trusted;  // peers that may send it; others are closed
};

struct Listener {
  std::string name;
  std::vector<Address> listen;
  ListenerProtocol protocol = ListenerProtocol::http;
  std::optional<ListenerTls> tls;  // with protocol https
  ListenerHttp2 http2;
  ListenerProxyProtocol proxy_protocol;
  std::optional<Compression> compression;
  std::vector<Rule> rules;          // in order, first match wins
  std::optional<Action> otherwise;  // YAML key `default`; absent: 404 no_route
  ForwardedHeaders forwarded_headers;
  TraceHeaders trace;
  ListenerTimeouts timeouts;
  ListenerLimits limits;
  Upgrade upgrade = Upgrade::websocket;
  DesyncMode desync = DesyncMode::defensive;
  bool reason_header = false;  // add x-lbd-reason to responses lbd makes itself
  AccessList access;
  std::vector<InFlightLimit> in_flight_limits;
  std::vector<RateLimit> rate_limits;
  std::map<std::string, ErrorPage> error_pages;  // by "503", or "5xx" for all that have no own
  Origin origin;
};

// ---- target groups
// -------------------------------------------------------------------------------------------------

enum class CheckProtocol : std::uint8_t { http, https, tcp, grpc };

struct CodeRange {
  int first = 200;
  int last = 200;
};

struct HealthCheck {
  bool enabled = true;
  CheckProtocol protocol = CheckProtocol::http;  // default: the group's
  bool http2 = false;                            // as the group, which is not said twice
  std::string service;                           // of grpc; empty: the server as a whole
  std::string path = "/";
  std::string host;                   // Host header; empty: the target's address
  std::optional<std::uint16_t> port;  // absent: the target's
  milliseconds interval{5'000};
  milliseconds timeout{2'000};  // at most the interval
  double jitter = 0.1;          // ± share of the interval
  std::uint32_t healthy = 2;    // passes in a row to go up (a new target: 1)
  std::uint32_t unhealthy = 2;  // failures in a row to go down
  std::vector<CodeRange> codes{{200, 299}};
  std::string body;  // substring the first 64 KiB must hold; empty: any
};

struct Passive {  // outlier ejection, after Envoy's consecutive rules
  bool enabled = true;
  std::uint32_t consecutive_connect_errors = 3;  // refused, reset while connecting, timed out
  std::uint32_t consecutive_5xx = 5;             // target-made 5xx or broken responses in a row
  milliseconds ejection{30'000};  // × number of ejections in a row, at most ejection_max
  milliseconds ejection_max{300'000};
  double ejected_share_max = 0.5;  // of the group, but always at least one target
};

enum class Balance : std::uint8_t { round_robin, least_requests, random, least_latency };
enum class ZonePreference : std::uint8_t { off, local, strict };

struct Retries {
  std::uint32_t attempts = 3;    // in all, the first included
  double budget_ratio = 0.2;     // of the group's requests, beyond those in flight once
  std::uint32_t budget_min = 3;  // a second, per worker
};

enum class StickyBy : std::uint8_t { lb_cookie, app_cookie };

/// Requests of one session go to one target (docs/adr/0011).
struct Stickiness {
  StickyBy by = StickyBy::lb_cookie;
  StickyCookie cookie;
  std::string app_cookie;  // the application's, with by app_cookie
};

struct UpstreamTimeouts {
  milliseconds connect{2'000};
  milliseconds response_head{60'000};
  milliseconds body_idle{30'000};
  milliseconds idle{50'000};  // an idle kept connection; below the target's own keep-alive
};

struct UpstreamLimits {
  std::uint32_t response_headers_bytes_max = 64 * 1024;
  std::uint32_t response_headers_max = 128;
  std::uint32_t idle_connections_max = 64;     // per worker and target
  std::uint32_t requests_per_target_max = 0;   // in flight per target, all workers; 0: no limit
  std::uint32_t streams_per_connection = 100;  // with HTTP/2; or what the target allows, if less
};

/// The PROXY protocol's header that connections to targets begin with.
enum class ProxyVersion : std::uint8_t { off, v1, v2 };

/// An address, or a name that is looked up: of a host, or of a service.
struct Target {
  Address address;           // empty with a name
  std::string zone;          // empty: unknown
  std::uint32_t weight = 1;  // 0: gets no new requests
  Origin origin;
  std::string name = {};   // with A and AAAA records
  std::uint16_t port = 0;  // with `name`
  std::string srv = {};    // with SRV records, which have ports and weights
  [[nodiscard]] bool by_name() const noexcept { return !name.empty() || !srv.empty(); }
  /// What it is called: an address, "app.internal:8080", "_http._tcp.app.internal".
  [[nodiscard]] std::string text() const;
};

enum class TargetProtocol : std::uint8_t { http, https };
enum class HttpVersion : std::uint8_t { http_1_1, http_2 };

/// Towards targets, for requests and checks over https.
struct UpstreamTls {
  bool verify = true;
  std::string trust;        // PEM file of the authorities; empty: the system's
  std::string server_name;  // SNI, and what certificates must name; empty: the target's IP address
  std::optional<CertificateFiles> certificate;  // shown to targets that want one
};

struct TargetGroup {
  std::string name;
  TargetProtocol protocol = TargetProtocol::http;
  HttpVersion http_version = HttpVersion::http_1_1;
  UpstreamTls tls;
  std::uint16_t port = 0;  // of instances, and of targets without one
  Balance balance = Balance::least_requests;
  ZonePreference zones = ZonePreference::local;
  ProxyVersion proxy_protocol = ProxyVersion::off;
  HealthCheck health_check;
  Passive passive;
  bool fail_open = true;  // all down: balance over all (ALB); false: 503
  Retries retries;
  std::optional<Stickiness> stickiness;
  UpstreamTimeouts timeouts;
  UpstreamLimits limits;
  std::vector<Target> targets;
  std::string scaling_group;  // empty: static targets only
  Origin origin;
};

/// Whether anything of the group goes over TLS.
[[nodiscard]] inline bool uses_tls(const TargetGroup& group) noexcept {
  return group.protocol == TargetProtocol::https ||
         (group.health_check.enabled && group.health_check.protocol == CheckProtocol::https);
}
/// Whether its checks do.
[[nodiscard]] inline bool checks_use_tls(const TargetGroup& group) noexcept {
  return group.health_check.protocol == CheckProtocol::https ||
         (group.health_check.protocol == CheckProtocol::grpc &&
          group.protocol == TargetProtocol::https);
}

// ---- scaling groups
// ------------------------------------------------------------------------------------------------

enum class Signal : std::uint8_t {
  cpu,                  // 0..1, mean over in-service instances
  requests_per_target,  // completed requests per second and target
  in_flight_per_target,
  latency,  // seconds, mean response time of the window
};
/// How the figures of the instances become one.
enum class Statistic : std::uint8_t { average, minimum, maximum };
enum class PolicyKind : std::uint8_t { step, simple, target_tracking };
enum class AdjustmentType : std::uint8_t { change, exact, percent };

/// One step: applies while lower <= value - threshold < upper (above), or lower < value - threshold
/// <= upper (below). EC2 Auto Scaling's rule. Absent bound: infinite.
struct Step {
  std::optional<double> lower;
  std::optional<double> upper;
  double adjustment = 0;
};

/// Short form: `{ signal: cpu, above: 90%, for: 30s, add: 1 }` is a step policy with one step.
struct Policy {
  std::string name;  // default: "<signal>-<above|below|target>-<n>"
  PolicyKind kind = PolicyKind::step;
  Signal signal = Signal::cpu;
  // step and simple: an alarm
  bool above = true;     // which side of the threshold breaches
  double threshold = 0;  // cpu as a ratio, latency in seconds
  Statistic statistic = Statistic::average;
  milliseconds period{10'000};            // one datapoint: a mean; M of N below
  std::uint32_t datapoints = 1;           // N
  std::uint32_t datapoints_to_alarm = 1;  // M; `for: 30s` means N = M = 30 s / period
  AdjustmentType adjustment_type = AdjustmentType::change;
  std::vector<Step> steps;
  std::uint32_t min_adjustment = 1;      // with percent
  std::optional<milliseconds> cooldown;  // simple only; absent: the group's
  // target tracking
  double target = 0;
  double scale_in_ratio = 0.9;  // scale in only below this share of the target (CPU default 0.7)
  milliseconds scale_out_for{30'000};
  milliseconds scale_in_for{900'000};
  milliseconds scale_in_period{60'000};  // one datapoint of scale_in_for; `period` of scale_out_for
  bool disable_scale_in = false;
  std::optional<milliseconds> warm_up;  // absent: the group's
  Origin origin;
};

/// The period that suits an alarm over `window` when none is written: 10 s, and a minute from 15
/// minutes on, but short enough that at least three fit; the window may end up somewhat longer when
/// it is no multiple of anything near.
[[nodiscard]] milliseconds default_period(milliseconds window);

struct Ec2Provider {
  std::string region;              // empty: AWS_REGION, AWS_DEFAULT_REGION, profile, IMDS
  std::string launch_template_id;  // one of id and name
  std::string launch_template_name;
  std::string launch_template_version = "$Default";
  std::vector<std::string> subnets;  // one per zone (or several); zones come from DescribeSubnets
  std::map<std::string, std::string> tags;
  std::string profile;       // of the shared credentials files
  std::string endpoint_url;  // overrides AWS_ENDPOINT_URL_EC2 / AWS_ENDPOINT_URL
  milliseconds describe_interval{5'000};
};

struct ProcessProvider {
  std::vector<std::string>
      command;  // {port}, {address}, {zone}, {id} are replaced in each argument
  std::map<std::string, std::string> environment;
  std::vector<std::string> zones{"local"};
  std::map<std::string, std::string>
      zone_addresses;  // zone → the address its instances bind; default 127.0.0.1
  std::string working_dir;
  double cpu_share = 1.0;    // CPUs each instance is given; the cpu signal is usage ÷ this
  seconds stop_timeout{10};  // SIGTERM, then SIGKILL
};

/// Where the cpu signal comes from, in order of preference; the first that has a fresh value wins.
enum class CpuSource : std::uint8_t { provider, orca, node_exporter, cloudwatch };

struct ScalingGroup {
  std::string name;
  std::variant<ProcessProvider, Ec2Provider> provider;
  std::uint32_t min = 1;
  std::uint32_t max = 1;
  std::optional<std::uint32_t> desired;  // initial; absent: min
  milliseconds warm_up{30'000};    // after in service, an instance counts as warming for this long
  milliseconds cooldown{300'000};  // of simple policies
  milliseconds drain_deadline{300'000};
  milliseconds grace{300'000};  // a launched instance may take this long to its first passing check
  milliseconds launch_timeout{
      900'000};                      // no instance reported running by then: given up and replaced
  milliseconds zone_pause{180'000};  // no launches in a zone that failed; twice as long each time
  milliseconds zone_pause_max{1'800'000};
  bool replace_unhealthy = true;
  std::vector<CpuSource> cpu_sources{CpuSource::provider, CpuSource::orca, CpuSource::node_exporter,
                                     CpuSource::cloudwatch};
  std::uint16_t node_exporter_port = 9100;
  std::string node_exporter_path = "/metrics";
  std::vector<Policy> policies;
  Origin origin;
};

struct Config {
  int version = 1;
  Node node;
  std::map<std::string, Listener> listeners;
  std::map<std::string, TargetGroup> target_groups;
  std::map<std::string, ScalingGroup> scaling_groups;
  std::vector<std::string> files;  // every file read, in order
};

}  // namespace lbd::config
