// Listeners.
#include <fmt/format.h>

#include <algorithm>

#include "config/scalars.h"
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

Table forwarded_headers_table(ForwardedHeaders& headers) {
  return {.doc = "What targets learn about the client.",
          .fields =
              {
                  {"x_forwarded_for",
                   word(headers.x_forwarded_for,
                        {.words = {"append", "replace", "preserve", "remove"}, .later = {}}),
                   "What happens to X-Forwarded-For."},
                  {"trusted_proxies", networks(headers.trusted_proxies),
                   "Peers whose X-Forwarded-*, Forwarded and x-request-id are believed."},
                  {"forwarded", flag(headers.forwarded), "Whether to add Forwarded (RFC 7239)."},
                  {"via", flag(headers.via), "Whether to add Via."},
              },
          .later = {},
          .after = {}};
}

Table trace_table(TraceHeaders& trace) {
  const auto mode = [](TraceMode& out) {
    return word(out, {.words = {"pass", "make", "remove"}, .later = {}});
  };
  return {.doc = "Fields by which a request is followed from service to service.",
          .fields =
              {
                  {"traceparent", mode(trace.traceparent),
                   "W3C Trace Context: `pass` on what comes, `make` one where none or a wrong one "
                   "comes, or `remove` it; tracestate goes with it."},
                  {"x_amzn_trace_id", mode(trace.x_amzn_trace_id),
                   "X-Amzn-Trace-Id: `pass`, `make` as an ALB does (Root, or Self before what "
                   "comes), or `remove`."},
                  {"sampled", ratio(trace.sampled, {0, 1}),
                   "Share of the traces made here whose `sampled` flag is set."},
              },
          .later = {},
          .after = {}};
}

Table timeouts_table(ListenerTimeouts& timeouts) {
  return {.doc = "Deadlines of a client connection.",
          .fields =
              {
                  {"request_head", duration(timeouts.request_head, {.least = 1ms}),
                   "From the first byte of a request head to its end."},
                  {"body_idle", duration(timeouts.body_idle, {.least = 1ms}),
                   "Between two pieces of a request body."},
                  {"write_idle", duration(timeouts.write_idle, {.least = 1ms}),
                   "How long a client may read nothing of its response."},
                  {"idle", duration(timeouts.idle, {.least = 1ms}),
                   "Between two requests of a connection."},
                  {"total", duration(timeouts.total, {.least = 1ms, .off = true}),
                   "A whole request; `off` is no limit."},
                  {"tunnel_idle", duration(timeouts.tunnel_idle, {.least = 1ms, .off = true}),
                   "How long nothing may move in a tunnel (WebSocket); `off` is no limit."},
                  {"tunnel_total", duration(timeouts.tunnel_total, {.least = 1ms, .off = true}),
                   "A whole tunnel, from the response's head; `off` is no limit."},
              },
          .later = {},
          .after = {}};
}

Table limits_table(ListenerLimits& limits) {
  constexpr std::uint32_t kHeadMax = 16 * 1024 * 1024;
  return {
      .doc = "What a client may send.",
      .fields =
          {
              {"request_line_bytes_max", size(limits.request_line_bytes_max, {64, kHeadMax}),
               "Bytes of the request line."},
              {"header_bytes_max", size(limits.header_bytes_max, {64, kHeadMax}),
               "Bytes of one header line."},
              {"headers_bytes_max", size(limits.headers_bytes_max, {64, kHeadMax}),
               "Bytes of the whole request head."},
              {"headers_max", whole(limits.headers_max, {1, 10'000}), "Number of header lines."},
              {"body_bytes_max", size_or_off(limits.body_bytes_max),
               "Bytes of a request body; `off` is no limit."},
              {"body_bytes_per_second_min",
               whole_or(limits.body_bytes_per_second_min, "off", {1, 1'000'000'000}),
               "Bytes a second that a request body must bring on average, beyond a first "
               "`timeouts.body_idle` of waiting; `off` is no limit."},
              {"requests_per_connection_max",
               whole_or(limits.requests_per_connection_max, "off", {1, 1'000'000'000}),
               "Requests until a connection is closed; `off` is no limit."},
          },
      .later = {},
      .after = {}};
}

Table proxy_protocol_table(ListenerProxyProtocol& proxy) {
  return {.doc =
              "The PROXY protocol's header (version 1 or 2), with which every connection must "
              "begin, or `off`. The address that it names is the client's for all purposes.",
          .fields =
              {
                  {"trusted", some_networks(proxy.trusted),
                   "Networks of the proxies that may connect; others are closed.", true},
              },
          .later = {},
          .after = {}};
}

}  // namespace

Table listener_table(Listener& listener) {
  return {
      .doc = "One listener.",
      .fields =
          {
              {"listen", addresses(listener.listen),
               "Address and port to listen on, or a list of them.", true},
              {"protocol",
               word(listener.protocol, {.words = {"http", "https"}, .later = {"tcp", "tls", "h2"}}),
               "What clients speak."},
              {"tls", object([&listener] { return listener_tls_table(listener.tls.emplace()); }),
               "Certificates and how they are used; with protocol https."},
              {"http2", object([&listener] { return listener_http2_table(listener.http2); }),
               "HTTP/2 with clients."},
              {"proxy_protocol", or_off(listener.proxy_protocol.enabled, object([&listener] {
                                          return proxy_protocol_table(listener.proxy_protocol);
                                        })),
               "Whether connections come through a proxy that says who its client is (PROXY "
               "protocol), or `off`."},
              {"rules", objects(listener.rules, &rule_table),
               "Rules, in order: the first that matches decides."},
              {"default",
               action([&listener](Action found) { listener.otherwise = std::move(found); }),
               "What to do when no rule matches; without it the answer is 404."},
              {"forwarded_headers",
               object([&listener] { return forwarded_headers_table(listener.forwarded_headers); }),
               "What targets learn about the client."},
              {"trace", object([&listener] { return trace_table(listener.trace); }),
               "Fields by which a request is followed from service to service."},
              {"compression",
               object([&listener] { return compression_table(listener.compression.emplace()); }),
               "Bodies of responses in a coding that the client accepts; without it none. See "
               "docs/operations/compression.md."},
              {"timeouts", object([&listener] { return timeouts_table(listener.timeouts); }),
               "Deadlines of a client connection."},
              {"limits", object([&listener] { return limits_table(listener.limits); }),
               "What a client may send."},
              {"upgrade", word(listener.upgrade, {.words = {"off", "websocket"}, .later = {}}),
               "What clients may switch their connections to, where a rule forwards."},
              {"desync",
               word(listener.desync, {.words = {"monitor", "defensive", "strictest"}, .later = {}}),
               "What becomes of requests that servers could read differently: see "
               "docs/operations/desync.md."},
              {"access", object([&listener] { return access_table(listener.access); }),
               "Who may send requests, by address; others get 403."},
              {"in_flight_limits", objects(listener.in_flight_limits, &in_flight_limit_table),
               "How many requests of a key may be under way at once; further ones get 429."},
              {"rate_limits", objects(listener.rate_limits, &rate_limit_table),
               "Token buckets that each request takes a token of; without one it gets 429."},
              {"error_pages", error_pages(listener.error_pages),
               "What clients see of errors that lbd answers itself, by status (`503`) or class "
               "(`5xx`)."},
              {"reason_header", flag(listener.reason_header),
               "Whether to add x-lbd-reason to answers that lbd makes itself."},
          },
      .later = {},
      .after = [&listener](Decoder&, const Cursor&) {
        for (std::size_t i = 0; i < listener.rules.size(); ++i) {
          auto& name = listener.rules[i].name;
          if (name.empty()) name = fmt::format("rule-{}", i + 1);
        }
      }};
}

}  // namespace lbd::config
