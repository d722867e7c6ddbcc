// The formats of the access log's lines.
#include <fmt/format.h>

#include <array>
#include <ctime>

#include "lbd/http/target.h"
#include "lbd/worker/log_line.h"

namespace lbd::worker {
namespace {

using proxy::AttemptRecord;
using proxy::RequestRecord;

struct Moment {
  std::tm utc{};
  long us = 0;
};

Moment moment_of(WallTime when) noexcept {
  const auto us =
      std::chrono::duration_cast<std::chrono::microseconds>(when.time_since_epoch()).count();
  const std::time_t whole = us / 1'000'000;
  Moment moment;
  ::gmtime_r(&whole, &moment.utc);
  moment.us = us % 1'000'000;
  return moment;
}

using TimeText = std::array<char, 40>;

/// ISO 8601, microseconds, UTC.
std::string_view iso_time(WallTime when, TimeText& text) noexcept {
  const auto [utc, us] = moment_of(when);
  const auto end = fmt::format_to_n(
      text.data(), text.size(), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900,
      utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, us);
  return {text.data(), std::min(end.size, text.size())};
}

/// As Apache's %t, in UTC.
std::string_view clf_time(WallTime when, TimeText& text) noexcept {
  static constexpr std::array<std::string_view, 12> kMonths{
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::tm utc = moment_of(when).utc;
  const auto end =
      fmt::format_to_n(text.data(), text.size(), "{:02}/{}/{:04}:{:02}:{:02}:{:02} +0000",
                       utc.tm_mday, kMonths[static_cast<std::size_t>(utc.tm_mon)],
                       utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
  return {text.data(), std::min(end.size, text.size())};
}

std::size_t attempts_of(const RequestRecord& record) noexcept {
  return std::min<std::size_t>(record.attempt_count, record.attempts.size());
}

/// What the client spoke, as far as it is known.
std::string_view protocol_of(const RequestRecord& record) noexcept {
  return record.layer4.empty() ? http::version_name(record.version) : record.layer4;
}

const AttemptRecord* last_attempt(const RequestRecord& record) noexcept {
  const std::size_t count = attempts_of(record);
  return count == 0 ? nullptr : &record.attempts[count - 1];
}

void json_attempts(const RequestRecord& record, Line& line) noexcept {
  line.begin("attempts");
  line.raw("[");
  for (std::size_t i = 0; i < attempts_of(record); ++i) {
    const AttemptRecord& attempt = record.attempts[i];
    line.raw(i == 0 ? "{" : ",{");
    line.text("target", attempt.target, kShortBytesMax);
    if (attempt.fault != Fault::none)
      line.text("reason", fault_name(attempt.fault), kShortBytesMax);
    if (attempt.status != 0) line.number("status", static_cast<std::uint64_t>(attempt.status));
    line.seconds("connect_seconds", attempt.connect_us);
    if (record.layer4.empty()) line.seconds("response_seconds", attempt.response_us);
    line.raw("}");
  }
  line.raw("]");
}

void json_client(const RequestRecord& record, Line& line) noexcept {
  line.text("client_ip", record.client_ip, kShortBytesMax);
  line.number("client_port", record.client_port);
  if (record.layer4.empty()) {
    line.text("method", record.method, kShortBytesMax);
    line.text("host", record.authority, kHostBytesMax);
    line.text("uri", record.target, kLongBytesMax);
    line.text("user_agent", record.user_agent, kLongBytesMax);
  }
  if (!record.referer.empty()) line.text("referer", record.referer, kLongBytesMax);
  if (!record.tls_version.empty()) {
    line.text("tls_version", record.tls_version, kShortBytesMax);
    line.text("tls_cipher", record.tls_cipher, kShortBytesMax);
  }
  if (!record.server_name.empty()) line.text("sni", record.server_name, kNameBytesMax);
}

void json(const RequestRecord& record, Line& line) {
  TimeText time{};
  line.text("time", iso_time(record.started, time), kShortBytesMax);
  line.text("request_id", record.id, kNameBytesMax);
  const std::string_view trace = record.trace_id.empty() ? record.amzn_trace_id : record.trace_id;
  if (!trace.empty()) line.text("trace_id", trace, kNameBytesMax);
  line.number("generation", record.generation);
  line.text("protocol", protocol_of(record), kShortBytesMax);
  line.text("listener", record.listener, kNameBytesMax);
  line.text("rule", record.rule, kNameBytesMax);
  line.text("target_group", record.group, kNameBytesMax);
  line.text("zone", record.zone, kNameBytesMax);
  if (const AttemptRecord* last = last_attempt(record)) {
    line.text("target", last->target, kShortBytesMax);
    if (record.layer4.empty()) line.seconds("ttfb_seconds", record.ttfb_us);
  }
  json_client(record, line);
  if (record.layer4.empty()) line.number("status", static_cast<std::uint64_t>(record.status));
  if (record.grpc_status >= 0) {
    line.number("grpc_status", static_cast<std::uint64_t>(record.grpc_status));
  }
  if (record.layer4.empty()) {
    line.text("origin", record.by_target ? "target" : "lb", kShortBytesMax);
  }
  if (!record.redirect_url.empty()) line.text("location", record.redirect_url, kLongBytesMax);
  if (record.reason != Fault::none) {
    line.text("reason", fault_name(record.reason), kShortBytesMax);
    line.text("reason_flag", fault_flag(record.reason), kShortBytesMax);
  }
  if (record.desync != http::DesyncReason::none) {
    const http::DesyncClass found = http::desync_class(record.desync);
    line.text("desync_class", http::desync_class_name(found), kShortBytesMax);
    line.text("desync_reason", http::desync_name(record.desync), kShortBytesMax);
  }
  if (record.cut) line.flag("cut", true);
  line.number("request_bytes", record.request_bytes);
  line.number("response_bytes", record.response_bytes);
  if (record.coding != http::Coding::identity) {
    line.text("coding", http::coding_name(record.coding), kShortBytesMax);
    line.number("plain_bytes", record.plain_bytes);
  }
  line.seconds("duration_seconds", record.duration_us);
  json_attempts(record, line);
  line.raw("}\n");
}

/// The Common Log Format: host ident authuser [time] "request" status bytes.
void clf_fields(const RequestRecord& record, Line& line) noexcept {
  TimeText time{};
  line.word(record.client_ip, kShortBytesMax);
  line.raw(" - - [");
  line.raw(clf_time(record.started, time));
  line.raw("] \"");
  line.quoted(record.method, kShortBytesMax);
  line.raw(" ");
  line.word(record.target, kLongBytesMax);
  line.raw(" ");
  line.raw(protocol_of(record));
  line.raw("\" ");
  line.decimal(static_cast<std::uint64_t>(record.status));
  line.raw(" ");
  if (record.response_bytes == 0) {
    line.raw("-");
  } else {
    line.decimal(record.response_bytes);
  }
}

void clf(const RequestRecord& record, Line& line) {
  clf_fields(record, line);
  line.raw("\n");
}

void combined(const RequestRecord& record, Line& line) {
  clf_fields(record, line);
  line.raw(" \"");
  line.quoted(record.referer, kLongBytesMax);
  line.raw("\" \"");
  line.quoted(record.user_agent, kLongBytesMax);
  line.raw("\"\n");
}

std::string_view alb_type(const RequestRecord& record) noexcept {
  if (!record.layer4.empty()) return record.layer4;
  const bool tls = !record.tls_version.empty();
  if (record.tunnel) return tls ? "wss" : "ws";
  if (record.version == http::Version::http_2) return "h2";
  return tls ? "https" : "http";
}

void alb_address(std::string_view ip, std::uint16_t port, Line& line) noexcept {
  line.word(ip, kShortBytesMax);
  line.raw(":");
  line.decimal(port);
}

/// Of what a client waits for: until it goes to the target that answers, that one's head, the rest.
/// -1 each when no target answered.
void alb_times(const RequestRecord& record, Line& line) noexcept {
  const AttemptRecord* last = last_attempt(record);
  if (last == nullptr || !record.by_target) return line.raw(" -1 -1 -1 ");
  const std::uint64_t at_target = std::uint64_t{last->connect_us} + last->response_us;
  line.raw(" ");
  line.milliseconds(record.ttfb_us - std::min(record.ttfb_us, at_target));
  line.raw(" ");
  line.milliseconds(std::min(record.ttfb_us, at_target));
  line.raw(" ");
  line.milliseconds(record.duration_us - std::min(record.duration_us, record.ttfb_us));
  line.raw(" ");
}

void alb_request(const RequestRecord& record, Line& line) noexcept {
  line.raw("\"");
  line.quoted(record.method, kShortBytesMax);
  line.raw(" ");
  if (record.layer4.empty() && !record.target.starts_with("http")) {  // absolute-form has them
    line.raw(record.tls_version.empty() ? "http" : "https");
    line.raw("://");
    line.word(record.authority, kHostBytesMax);
    if (http::host_of(record.authority).size() == record.authority.size()) {
      line.raw(":");
      line.decimal(record.local_port);
    }
  }
  line.word(record.target, kLongBytesMax);
  line.raw(" ");
  line.raw(protocol_of(record));
  line.raw("\" \"");
  line.quoted(record.user_agent, kLongBytesMax);
  line.raw("\" ");
}

std::string_view alb_action(const RequestRecord& record) noexcept {
  switch (record.action) {
    case RequestRecord::Action::forward:
      return "forward";
    case RequestRecord::Action::redirect:
      return "redirect";
    case RequestRecord::Action::fixed_response:
      return "fixed-response";
    case RequestRecord::Action::none:
      break;
  }
  return "-";
}

void alb_attempts(const RequestRecord& record, Line& line) noexcept {
  const std::size_t count = attempts_of(record);
  line.raw(count == 0 ? " \"-" : " \"");
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) line.raw(" ");
    line.word(record.attempts[i].target, kShortBytesMax);
  }
  line.raw(count == 0 ? "\" \"-" : "\" \"");
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) line.raw(" ");
    if (const int status = record.attempts[i].status; status != 0) {
      line.decimal(static_cast<std::uint64_t>(status));
    } else {
      line.raw("-");
    }
  }
  line.raw("\"");
}

void alb_rule(const RequestRecord& record, Line& line) noexcept {
  if (record.rule_number < 0) return line.raw("-1");
  line.decimal(static_cast<std::uint64_t>(record.rule_number));
}

std::string_view alb_class(http::DesyncClass found) noexcept {
  switch (found) {
    case http::DesyncClass::acceptable:
      return "Acceptable";
    case http::DesyncClass::ambiguous:
      return "Ambiguous";
    case http::DesyncClass::severe:
      return "Severe";
    case http::DesyncClass::compliant:
      break;
  }
  return "-";
}

/// The fields of AWS's Application Load Balancer, in its order (Elastic Load Balancing user guide,
/// "Access log entries"), so that what reads those reads these. Names where it has ARNs; bytes
/// without heads.
void alb(const RequestRecord& record, Line& line) {
  TimeText time{};
  const auto quoted = [&line](std::string_view value, std::size_t bytes_max) {
    line.raw(" \"");
    line.quoted(value, bytes_max);
    line.raw("\"");
  };
  const AttemptRecord* last = last_attempt(record);
  line.raw(alb_type(record));
  line.raw(" ");
  line.raw(iso_time(record.started + std::chrono::microseconds(record.duration_us), time));
  line.raw(" ");
  line.word(record.listener, kNameBytesMax);
  line.raw(" ");
  alb_address(record.client_ip, record.client_port, line);
  line.raw(" ");
  line.word(last != nullptr ? last->target : "", kShortBytesMax);
  alb_times(record, line);
  line.decimal(static_cast<std::uint64_t>(record.status));
  line.raw(" ");
  if (last != nullptr && last->status != 0) {
    line.decimal(static_cast<std::uint64_t>(last->status));
  } else {
    line.raw("-");
  }
  line.raw(" ");
  line.decimal(record.request_bytes);
  line.raw(" ");
  line.decimal(record.response_bytes);
  line.raw(" ");
  alb_request(record, line);
  line.word(record.tls_cipher, kShortBytesMax);
  line.raw(" ");
  line.word(record.tls_version, kShortBytesMax);
  line.raw(" ");
  line.word(record.group, kNameBytesMax);
  quoted(record.amzn_trace_id.empty() ? record.trace_id : record.amzn_trace_id, kNameBytesMax);
  quoted(record.server_name, kNameBytesMax);
  line.raw(" \"-\" ");
  alb_rule(record, line);
  line.raw(" ");
  line.raw(iso_time(record.started, time));
  quoted(alb_action(record), kShortBytesMax);
  quoted(record.redirect_url, kLongBytesMax);
  quoted(record.reason == Fault::none ? "" : fault_name(record.reason), kShortBytesMax);
  alb_attempts(record, line);
  const bool departs = record.desync != http::DesyncReason::none;
  quoted(departs ? alb_class(http::desync_class(record.desync)) : "", kShortBytesMax);
  quoted(departs ? http::desync_name(record.desync) : "", kShortBytesMax);
  line.raw("\n");
}

}  // namespace

LineFormat line_format(config::LogFormat format) noexcept {
  switch (format) {
    case config::LogFormat::json:
      return &json;
    case config::LogFormat::clf:
      return &clf;
    case config::LogFormat::combined:
      return &combined;
    case config::LogFormat::alb:
      return &alb;
  }
  return &json;
}

}  // namespace lbd::worker
