#include "lbd/control/metrics.h"

#include <prometheus/text_serializer.h>

#include <map>
#include <sstream>

#include "lbd/control/families.h"
#include "lbd/control/plane.h"
#include "lbd/control/process_stats.h"
#include "lbd/control/scaler_metrics.h"
#include "lbd/http/h2_server.h"
#include "lbd/http/message.h"
#include "scaler/policy.h"

namespace lbd::control {
namespace {

double seconds_of(WallTime time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

/// `made` is called with version, whether it was resumed, and how many.
template <class Made>
void each_handshake(const upstream::HandshakeCounts& counts, Made made) {
  const auto count = [&](net::TlsKind kind) {
    return static_cast<double>(counts.made[static_cast<std::size_t>(kind)].get());
  };
  made("TLSv1.2", "false", count(net::TlsKind::tls12));
  made("TLSv1.2", "true", count(net::TlsKind::tls12_resumed));
  made("TLSv1.3", "false", count(net::TlsKind::tls13));
  made("TLSv1.3", "true", count(net::TlsKind::tls13_resumed));
}

void collect_target_handshakes(const std::string& group, const upstream::HandshakeCounts& counts,
                               Families& out) {
  each_handshake(counts, [&](const char* version, const char* resumed, double count) {
    out.counter("lbd_target_tls_handshakes_total",
                "TLS handshakes with targets for requests; health checks are not counted.",
                {{"target_group", group}, {"version", version}, {"resumed", resumed}}, count);
  });
  for (std::size_t fault = 1; fault < counts.failed.size(); ++fault) {
    const std::string_view reason = net::tls_fault_name(static_cast<net::TlsFault>(fault));
    out.counter("lbd_target_tls_errors_total", "TLS handshakes with targets that failed.",
                {{"target_group", group}, {"reason", std::string(reason)}},
                static_cast<double>(counts.failed[fault].get()));
  }
}

void collect_handshakes(const std::string& listener, const upstream::HandshakeCounts& counts,
                        Families& out) {
  each_handshake(counts, [&](const char* version, const char* resumed, double count) {
    out.counter("lbd_tls_handshakes_total", "TLS handshakes with clients.",
                {{"listener", listener}, {"version", version}, {"resumed", resumed}}, count);
  });
  for (std::size_t fault = 1; fault < counts.failed.size(); ++fault) {
    const std::string_view reason = net::tls_fault_name(static_cast<net::TlsFault>(fault));
    out.counter("lbd_tls_errors_total", "TLS handshakes that failed, by reason.",
                {{"listener", listener}, {"side", "client"}, {"reason", std::string(reason)}},
                static_cast<double>(counts.failed[fault].get()));
  }
}

void collect_proxy_faults(const std::string& listener, const upstream::ListenerLoad& load,
                          Families& out) {
  for (std::size_t fault = 1; fault < load.proxy_refused.size(); ++fault) {
    const std::string_view reason = net::proxy_fault_name(static_cast<net::ProxyFault>(fault));
    out.counter("lbd_proxy_protocol_errors_total",
                "Connections closed for want of a good PROXY protocol header, by reason.",
                {{"listener", listener}, {"reason", std::string(reason)}},
                static_cast<double>(load.proxy_refused[fault].get()));
  }
}

void collect_certificates(const Certificates& certificates, Families& out) {
  for (const CertificateRow& row : certificates.rows()) {
    std::vector<Label> labels{{"name", row.name}, {"file", row.chain_file}};
    if (row.target_group.empty()) {
      labels.push_back({"listener", row.listener});
    } else {
      labels.push_back({"target_group", row.target_group});
    }
    out.gauge("lbd_certificate_not_after_timestamp_seconds", "When a certificate expires.", labels,
              seconds_of(row.not_after));
    out.gauge("lbd_certificate_current", "0: its files have changed and are no use as they are.",
              labels, row.current ? 1 : 0);
  }
}

void collect_compression(const std::string& listener, const upstream::CompressionCounts& counts,
                         Families& out) {
  for (std::size_t i = 1; i < upstream::kCodings; ++i) {
    const std::string coding(http::coding_name(static_cast<http::Coding>(i)));
    const std::vector<Label> labels{{"listener", listener}, {"coding", coding}};
    out.counter("lbd_compressed_responses_total", "Responses compressed, by coding.", labels,
                static_cast<double>(counts.responses[i].get()));
    out.counter("lbd_compression_in_bytes_total", "Bytes of bodies before compression.", labels,
                static_cast<double>(counts.bytes_in[i].get()));
    out.counter("lbd_compression_out_bytes_total", "Bytes of bodies after compression.", labels,
                static_cast<double>(counts.bytes_out[i].get()));
  }
  out.counter("lbd_compression_skipped_total",
              "Responses not compressed because too many were at once.", {{"listener", listener}},
              static_cast<double>(counts.skipped.get()));
}

void collect_desync(const std::string& listener, const upstream::ListenerLoad& load,
                    Families& out) {
  for (std::size_t i = 1; i < static_cast<std::size_t>(http::DesyncReason::kCount); ++i) {
    const auto count = static_cast<double>(load.desync[i].get());
    if (count == 0) continue;
    const auto reason = static_cast<http::DesyncReason>(i);
    out.counter("lbd_desync_requests_total",
                "Requests that servers could read differently, by class and reason.",
                {{"listener", listener},
                 {"class", std::string(http::desync_class_name(http::desync_class(reason)))},
                 {"reason", std::string(http::desync_name(reason))}},
                count);
  }
}

std::string protocol_of(const config::Listener& listener) {
  if (listener.protocol == config::ListenerProtocol::tls) return "tls";
  if (listener.protocol == config::ListenerProtocol::tcp) return "tcp";
  return listener.tls ? "https" : "http";
}

void collect_http2(const std::string& listener, const upstream::ListenerLoad& load, Families& out) {
  out.counter("lbd_http2_connections_total", "Client connections that spoke HTTP/2.",
              {{"listener", listener}}, static_cast<double>(load.http2_connections.get()));
  for (std::size_t kind = 1; kind < load.http2_floods.size(); ++kind) {
    const std::string_view what = http::h2_flood_name(static_cast<http::H2Flood>(kind));
    out.counter("lbd_http2_floods_total", "HTTP/2 connections closed for a flood, by kind.",
                {{"listener", listener}, {"kind", std::string(what)}},
                static_cast<double>(load.http2_floods[kind].get()));
  }
}

/// `group`: empty before one is known.
template <class Counts>
void collect_failures(const std::string& group, const Counts& failures, Families& out) {
  for (std::size_t fault = 1; fault < failures.size(); ++fault) {
    const auto count = static_cast<double>(failures[fault].get());
    if (count == 0) continue;
    out.counter(
        "lbd_request_failures_total", "Requests that failed, by reason.",
        {{"target_group", group}, {"reason", std::string(fault_name(static_cast<Fault>(fault)))}},
        count);
  }
}

void collect_listeners(Plane& plane, Families& out) {
  const auto& configured = plane.config().listeners;
  for (const auto& [name, count] : plane.live().rate_evictions()) {
    out.counter("lbd_rate_limit_evictions_total",
                "Keys whose place in a rate limit's table went to another before they were full.",
                {{"listener", name}}, static_cast<double>(count));
  }
  for (const auto& [name, listener] : plane.live().listeners()) {
    const auto found = configured.find(name);
    const bool https = found != configured.end() && found->second.tls.has_value();
    const std::string protocol = found != configured.end() ? protocol_of(found->second) : "http";
    const bool proxied = found != configured.end() && found->second.proxy_protocol.enabled;
    const bool compresses = found != configured.end() && found->second.compression;
    for (const upstream::ListenerLoad& load : listener->loads) {
      const std::vector<Label> labels{{"listener", name}};
      out.gauge("lbd_open_connections", "Client connections open now.",
                {{"listener", name}, {"protocol", protocol}}, load.connections.get());
      if (https) collect_handshakes(name, load.handshakes, out);
      if (proxied) collect_proxy_faults(name, load, out);
      out.counter("lbd_connections_total", "Client connections accepted.", labels,
                  static_cast<double>(load.accepted.get()));
      collect_http2(name, load, out);
      out.counter("lbd_connections_shed_total",
                  "Client connections closed at once because of connections_max.", labels,
                  static_cast<double>(load.shed.get()));
      out.counter("lbd_in_flight_uncounted_total",
                  "Requests let in beside an in-flight limit whose table was full.", labels,
                  static_cast<double>(load.flights_uncounted.get()));
      out.gauge("lbd_tunnels", "Tunnels (WebSocket) open now.", labels, load.tunnels.get());
      out.counter("lbd_tunnels_total", "Tunnels (WebSocket) opened.", labels,
                  static_cast<double>(load.tunnels_opened.get()));
      collect_desync(name, load, out);
      if (compresses) collect_compression(name, load.compression, out);
      collect_failures("", load.failures, out);
    }
  }
}

void collect_names(const Names& names, Families& out) {
  for (const auto& [group, counts] : names.counts()) {
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const auto fault = static_cast<net::DnsFault>(i);
      if (fault == net::DnsFault::cancelled) continue;
      const std::string result =
          fault == net::DnsFault::none ? "ok" : std::string(net::dns_fault_name(fault));
      out.counter("lbd_name_lookups_total", "Look-ups of targets' names, by how they ended.",
                  {{"target_group", group}, {"result", result}}, static_cast<double>(counts[i]));
    }
  }
  std::map<std::string, double> failing;
  for (const NameRow& row : names.rows()) {
    failing[row.group] += row.fault == net::DnsFault::none ? 0 : 1;
  }
  for (const auto& [group, count] : failing) {
    out.gauge("lbd_names_failing", "Names whose last look-up failed; they keep what they had.",
              {{"target_group", group}}, count);
  }
}

using Durations = std::array<std::optional<HistogramSum>, upstream::ClassDurations::kNames.size()>;

/// Of all workers, by class of status.
Durations durations_of(const upstream::LiveRoute& route) {
  Durations durations;
  for (const upstream::RouteLoad& load : route.loads) {
    for (std::size_t i = 0; i < durations.size(); ++i) {
      const LatencyHistogram* found = load.duration.find(i);
      if (found == nullptr) continue;
      if (!durations[i]) durations[i].emplace();
      durations[i]->add(*found);
    }
  }
  return durations;
}

void collect_durations(const upstream::LiveRoute& route, Families& out) {
  const Durations durations = durations_of(route);
  for (std::size_t i = 0; i < durations.size(); ++i) {
    if (!durations[i]) continue;
    out.histogram("lbd_request_duration_seconds",
                  "Time from a request's head to the end of its response, by class of status.",
                  {{"listener", route.listener},
                   {"rule", route.rule},
                   {"code_class", std::string(upstream::ClassDurations::kNames[i])}},
                  *durations[i]);
  }
}

void collect_statuses(const upstream::LiveRoute& route, const upstream::RouteLoad& load,
                      Families& out) {
  load.counts.each([&](std::uint32_t packed, std::uint64_t count) {
    const bool other = packed == upstream::StatusCounts::kOther;
    const bool by_target = (packed & 1U) != 0;
    const auto method = static_cast<http::Method>((packed >> 1) & 15U);
    out.counter("lbd_requests_total",
                "Requests answered, by status code and by who made the answer: lb or target.",
                {{"listener", route.listener},
                 {"rule", route.rule},
                 {"method", other ? "other" : std::string(http::method_name(method))},
                 {"code", other ? "other" : std::to_string(packed >> 5)},
                 {"origin", other       ? "other"
                            : by_target ? "target"
                                        : "lb"}},
                static_cast<double>(count));
  });
}

void collect_routes(Plane& plane, Families& out) {
  const auto& configured = plane.config().listeners;
  for (const auto& entry : plane.live().routes()) {
    const upstream::LiveRoute& route = *entry.second;
    const std::vector<Label> labels{{"listener", route.listener}, {"rule", route.rule}};
    const auto found = configured.find(route.listener);
    const bool layer4 = found != configured.end() && config::is_layer4(found->second);
    for (const upstream::RouteLoad& load : route.loads) {
      if (layer4) {
        out.counter("lbd_layer4_connections_total", "Connections at layer 4, by rule.", labels,
                    static_cast<double>(load.connections.get()));
      }
      out.counter("lbd_request_body_bytes_total",
                  "Bytes of request bodies, or at layer 4, received.", labels,
                  static_cast<double>(load.request_bytes.get()));
      out.counter("lbd_response_body_bytes_total", "Bytes of response bodies, or at layer 4, sent.",
                  labels, static_cast<double>(load.response_bytes.get()));
      collect_statuses(route, load, out);
    }
    if (!layer4) collect_durations(route, out);
  }
}

void collect_grpc(const std::string& group, const upstream::GroupLoad& load, Families& out) {
  for (std::size_t status = 0; status < load.grpc.size(); ++status) {
    const auto count = static_cast<double>(load.grpc[status].get());
    if (count == 0) continue;
    const bool known = status + 1 < load.grpc.size();
    out.counter("lbd_grpc_responses_total", "Responses to gRPC requests, by grpc-status.",
                {{"target_group", group}, {"grpc_status", known ? std::to_string(status) : "none"}},
                count);
  }
}

void collect_sticky(const std::string& group, const upstream::GroupLoad& load, Families& out) {
  const auto count = [&](const char* outcome, std::uint64_t requests) {
    out.counter("lbd_sticky_requests_total",
                "Requests of sticky groups: kept at the target of their cookie, new, or moved.",
                {{"target_group", group}, {"outcome", outcome}}, static_cast<double>(requests));
  };
  count("kept", load.sticky_kept.get());
  count("new", load.sticky_new.get());
  count("moved", load.sticky_moved.get());
}

void collect_mirrored(const std::string& group, const upstream::GroupLoad& load, Families& out) {
  for (std::size_t i = 0; i < upstream::kMirrorOutcomes; ++i) {
    const auto count = static_cast<double>(load.mirrored[i].get());
    if (count == 0) continue;
    const auto outcome = static_cast<upstream::MirrorOutcome>(i);
    out.counter(
        "lbd_mirrored_requests_total", "Copies of other groups' requests.",
        {{"target_group", group}, {"outcome", std::string(upstream::mirror_outcome_name(outcome))}},
        count);
  }
}

void collect_groups(Plane& plane, Families& out) {
  const auto& configured = plane.config().target_groups;
  for (const auto& [name, group] : plane.live().groups()) {
    const std::vector<Label> labels{{"target_group", name}};
    const auto found = configured.find(name);
    const bool https =
        found != configured.end() && found->second.protocol == config::TargetProtocol::https;
    const bool sticky = found != configured.end() && found->second.stickiness;
    for (const upstream::GroupLoad& load : group->loads) {
      collect_grpc(name, load, out);
      if (https) collect_target_handshakes(name, load.handshakes, out);
      if (sticky) collect_sticky(name, load, out);
      out.gauge("lbd_requests_in_flight", "Requests at a target group now.", labels,
                load.in_flight.get());
      out.counter("lbd_retries_total", "Attempts after the first.",
                  {{"target_group", name}, {"outcome", "made"}},
                  static_cast<double>(load.retries.get()));
      out.counter("lbd_retries_total", "Attempts after the first.",
                  {{"target_group", name}, {"outcome", "over_budget"}},
                  static_cast<double>(load.retries_refused.get()));
      out.counter("lbd_fail_open_requests_total", "Requests sent although no target was healthy.",
                  labels, static_cast<double>(load.fail_open.get()));
      out.counter("lbd_cross_zone_requests_total", "Attempts sent outside the node's own zone.",
                  labels, static_cast<double>(load.cross_zone.get()));
      collect_mirrored(name, load, out);
      collect_failures(name, load.failures, out);
    }
  }
}

void collect_http2(Plane& plane, Families& out) {
  std::map<std::string, double> open;
  for (const auto& [name, group] : plane.config().target_groups) {
    if (group.http_version == config::HttpVersion::http_2) open[name] = 0;
  }
  for (const auto& [key, target] : plane.live().targets()) {
    const auto found = open.find(key.first);
    if (found == open.end()) continue;
    for (const upstream::TargetLoad& load : target->loads()) {
      found->second += load.http2_connections.get();
    }
  }
  for (const auto& [name, count] : open) {
    out.gauge("lbd_target_http2_connections", "Open connections to targets over HTTP/2.",
              {{"target_group", name}}, count);
  }
}

void collect_targets(Plane& plane, Families& out) {
  collect_http2(plane, out);
  for (const auto& [key, sums] : plane.live().zone_totals()) {
    const std::vector<Label> labels{{"target_group", key.first}, {"zone", key.second}};
    for (std::size_t digit = 1; digit < sums.responses.size(); ++digit) {
      std::vector<Label> with_class = labels;
      with_class.push_back({"code_class", std::to_string(digit) + "xx"});
      out.counter("lbd_target_responses_total", "Responses of targets, by class.",
                  std::move(with_class), static_cast<double>(sums.responses[digit]));
    }
    out.histogram("lbd_target_response_seconds",
                  "Time from sending a request to a target to its response's head.", labels,
                  sums.response);
    out.histogram("lbd_target_connect_seconds", "Time to connect to a target.", labels,
                  sums.connect);
  }
  using upstream::TargetState;
  for (const auto& [group, rows] : plane.targets().rows()) {
    for (const TargetRow& row : rows) {
      for (const TargetState state :
           {TargetState::initial, TargetState::healthy, TargetState::unhealthy,
            TargetState::ejected, TargetState::draining}) {
        out.gauge("lbd_targets", "Targets, by state.",
                  {{"target_group", group},
                   {"zone", row.zone},
                   {"state", std::string(upstream::state_name(state))}},
                  row.state == state ? 1 : 0);
      }
    }
  }
  for (const auto& [group, counts] : plane.targets().checker().counts()) {
    out.counter("lbd_health_checks_total", "Health checks, by how they ended.",
                {{"target_group", group}, {"result", "pass"}}, static_cast<double>(counts.passed));
    out.counter("lbd_health_checks_total", "Health checks, by how they ended.",
                {{"target_group", group}, {"result", "fail"}}, static_cast<double>(counts.failed));
  }
  out.counter("lbd_health_checks_skipped_total",
              "Health checks that gave no verdict because lbd was short of a resource.", {},
              static_cast<double>(plane.targets().checker().shortages()));
  for (const auto& [group, counts] : plane.targets().ejections()) {
    for (std::size_t cause = 0; cause < counts.size(); ++cause) {
      out.counter(
          "lbd_ejections_total", "Targets taken out because their requests failed.",
          {{"target_group", group}, {"reason", std::string(health::kEjectionCauses[cause])}},
          static_cast<double>(counts[cause]));
    }
  }
}

void collect_config(Plane& plane, Families& out) {
  const ConfigState& state = plane.state();
  out.gauge("lbd_config_generation", "Number of the running configuration.", {},
            static_cast<double>(state.generation));
  out.gauge("lbd_config_last_reload_successful", "1 when the last reload was accepted.", {},
            state.last_reload_successful ? 1 : 0);
  out.gauge("lbd_config_last_reload_success_timestamp_seconds",
            "When the running configuration was accepted.", {}, seconds_of(state.last_success));
  out.counter("lbd_config_reloads_total", "Reloads, by result.", {{"result", "success"}},
              static_cast<double>(state.accepted));
  out.counter("lbd_config_reloads_total", "Reloads, by result.", {{"result", "failure"}},
              static_cast<double>(state.rejected));
  if (plane.access_log() != nullptr) {
    out.counter("lbd_access_log_lines_total", "Access log lines written.", {},
                static_cast<double>(plane.access_log()->lines()));
    out.counter("lbd_access_log_write_failures_total",
                "Writes of the access log that failed and are tried again.", {},
                static_cast<double>(plane.access_log()->failures()));
    out.counter("lbd_access_log_dropped_total",
                "Access log lines dropped because the log could not keep up.", {},
                static_cast<double>(plane.access_log()->dropped()));
    out.counter("lbd_access_log_sampled_out_total", "Requests that sampling left out of the log.",
                {}, static_cast<double>(plane.access_log()->left_out()));
  }
}

void collect_process(Plane& plane, Families& out) {
  const ProcessStats stats = read_process_stats();
  out.counter("process_cpu_seconds_total", "User and system CPU time.", {}, stats.cpu_seconds);
  out.gauge("process_open_fds", "Open file descriptors.", {}, stats.open_fds);
  out.gauge("process_max_fds", "Most file descriptors allowed.", {}, stats.max_fds);
  out.gauge("process_virtual_memory_bytes", "Virtual memory.", {}, stats.virtual_bytes);
  out.gauge("process_resident_memory_bytes", "Resident memory.", {}, stats.resident_bytes);
  out.gauge("process_start_time_seconds", "When the process started.", {},
            stats.start_time_seconds);
  out.gauge("process_threads", "Threads.", {}, stats.threads);
  out.gauge("lbd_workers", "Worker threads.", {}, static_cast<double>(plane.workers().size()));
  out.gauge("lbd_build_info", "1, with the version as a label.", {{"version", LBD_VERSION}}, 1);
}

}  // namespace

std::vector<prometheus::MetricFamily> Collector::Collect() const {
  Families out;
  collect_listeners(plane_, out);
  collect_names(plane_.names(), out);
  collect_certificates(plane_.certificates(), out);
  collect_routes(plane_, out);
  collect_groups(plane_, out);
  collect_targets(plane_, out);
  collect_config(plane_, out);
  for (const scaler::GroupStatus& group : plane_.scaler().status())
    collect_scaling_group(group, out);
  plane_.collect_more(out);
  collect_process(plane_, out);
  return out.take();
}

ServerReply answer_metrics(Plane& plane, const ServerRequest& request) {
  const std::string text = "text/plain; charset=utf-8";
  if (request.method != "GET" && request.method != "HEAD") return {405, text, "GET only\n"};
  if (request.path == "/healthz") return {200, text, "ok\n"};
  if (request.path == "/readyz") {
    if (plane.stopping()) return {503, text, "stopping\n"};
    return plane.ready() ? ServerReply{200, text, "ready\n"} : ServerReply{503, text, "starting\n"};
  }
  if (request.path != "/metrics") return {404, text, "/metrics, /healthz, /readyz\n"};
  std::ostringstream body;
  prometheus::TextSerializer().Serialize(body, Collector(plane).Collect());
  // Prometheus 3 and later refuse a scrape without the format's exact type.
  return {200, "text/plain; version=0.0.4; charset=utf-8", body.str()};
}

}  // namespace lbd::control
