#include <array>

#include "lbd/base/check.h"
#include "lbd/base/result.h"

namespace lbd {
namespace {

struct Row {
  std::string_view name;
  std::string_view flag;
  int status;
  std::string_view what;  // happened
  std::string_view look;  // at this
};

/// docs/reference/reasons.md has the same texts (a test compares them).
constexpr std::array<Row, static_cast<std::size_t>(Fault::kCount)> kRows{{
    {"none", "-", 0, "", ""},
    {"no_route", "NR", 404, "No rule matched and the listener has no default",
     "`lbd explain GET URL`; at layer 4 the client's server name"},
    {"no_healthy_target", "UH", 503, "The group has no target that may be used",
     "`lbd targets`; `fail_open`"},
    {"connect_failed", "UF", 502, "The target refused or reset the connection attempt",
     "is the service up; security groups"},
    {"connect_timeout", "UF", 504,
     "No connection, TLS handshake included, within `timeouts.connect`",
     "network path, dropped packets, full backlog"},
    {"tls_failed", "UF", 502,
     "The TLS handshake with the target failed: its certificate is not trusted or names another, "
     "no version in common, it wants a certificate of ours, or it speaks no TLS",
     "the reason in `lbd targets` and the log; `tls` of the group"},
    {"target_reset", "UC", 502, "The target closed before its response was complete",
     "its log; its keep-alive must outlast `timeouts.idle`"},
    {"bad_response", "UPE", 502, "What the target sent is no HTTP response, or over a limit",
     "protocol and port of the group; `limits`"},
    {"target_timeout", "UT", 504,
     "No response head within `timeouts.response_head`, a stalled body, or `timeouts.total`, "
     "which bounds connecting and retries too",
     "the target's latency"},
    {"queue_full", "UO", 503, "Every target has `requests_per_target_max` requests",
     "capacity; `lbd scale status`"},
    {"overload_shed", "OM", 503,
     "lbd itself is out of descriptors, local ports or memory, so it could not ask a target; no "
     "target is blamed",
     "`process_open_fds` against `process_max_fds`, `lbd_open_connections`"},
    {"client_gone", "DC", 499, "The client closed first; nobody received this status",
     "the client's own timeout"},
    {"client_protocol", "DPE", 400,
     "What the client sent is no HTTP request we accept, or with protocol tls no ClientHello; or "
     "its "
     "HTTP/2 connection ended by a breach or a flood",
     "the client; attacks look like this"},
    {"client_timeout", "DT", 408,
     "The client did not send its request, or did not take its response, in time",
     "`timeouts.request_head`, `body_idle`, `write_idle`, `limits.body_bytes_per_second_min`"},
    {"body_too_large", "DPE", 413, "The request body exceeds `limits.body_bytes_max`", "the limit"},
    {"header_too_large", "DPE", 431, "The request head exceeds a limit", "cookies; `limits`"},
    {"unsupported", "DPE", 501,
     "A method we do not know, CONNECT, or an upgrade: to anything but WebSocket, with `upgrade: "
     "off`, or asked for in a way that is none",
     "the client; `upgrade`"},
    {"bad_expectation", "DPE", 417, "An `Expect` field that asks for anything but `100-continue`",
     "the client"},
    {"drain_deadline", "DD", 502, "Cut because draining reached its deadline", "`drain_deadline`"},
    {"loop_detected", "LD", 508,
     "The request's `Via` names this lbd three times: a target leads back to one of its listeners",
     "the targets' addresses; with `forwarded_headers.via: false` loops go unnoticed"},
    {"tunnel_timeout", "SI", 504,
     "Nothing moved in a tunnel, or in a connection at layer 4, for `timeouts.tunnel_idle`, or it "
     "lasted `timeouts.tunnel_total`; nobody received this status, the log has the 101",
     "pings of the application; the limits"},
    {"access_denied", "AD", 403,
     "The client's address is in `access.deny`, or not in `access.allow`",
     "the lists; `forwarded_headers.trusted_proxies`"},
    {"rate_limited", "RL", 429,
     "A `rate_limits` entry has no token left for the request's key; `Retry-After` says when it "
     "has",
     "the client; the limit"},
    {"in_flight_limited", "RL", 429,
     "As many requests of the request's key are under way as an `in_flight_limits` entry allows",
     "the client; the limit; what keeps those requests so long"},
    {"upgrade_unsupported", "UPE", 502,
     "A WebSocket was asked for, and the group's targets speak HTTP/2 without extended CONNECT "
     "(RFC 8441)",
     "the group: `http_version: \"1.1\"`, or targets that offer it"},
    {"target_down", "-", 0, "The target went down while the request waited for its response", ""},
    {"closed", "-", 0, "", ""},
    {"cancelled", "-", 0, "", ""},
    {"io_error", "-", 0, "", ""},
}};

const Row& row(Fault fault) noexcept { return kRows[static_cast<std::size_t>(fault)]; }

}  // namespace

std::string_view fault_name(Fault fault) noexcept { return row(fault).name; }
std::string_view fault_flag(Fault fault) noexcept { return row(fault).flag; }
int fault_status(Fault fault) noexcept { return row(fault).status; }
std::string_view fault_what(Fault fault) noexcept { return row(fault).what; }
std::string_view fault_look(Fault fault) noexcept { return row(fault).look; }

void throw_exception_from_error(const Error& error, const boost::source_location& where) {
  bug("value() of a failed result", fault_name(error.fault), where.file_name(),
      static_cast<int>(where.line()));
}

void throw_exception_from_error(const Failure& error, const boost::source_location& where) {
  bug("value() of a failed result", error.message, where.file_name(),
      static_cast<int>(where.line()));
}

}  // namespace lbd
