#include "lbd/control/why.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "lbd/control/plane.h"
#include "lbd/proxy/grpc.h"
#include "lbd/worker/recent.h"

namespace lbd::control {
namespace {

namespace json = boost::json;
using proxy::AttemptRecord;
using proxy::RequestRecord;

constexpr std::chrono::milliseconds kPatience{500};

/// What clients chose, as text that is no danger to a terminal: else `\xHH`.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = c >= ' ' && c < 0x7f && c != '\\';
    out += plain ? std::string(1, c) : fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string time_text(WallTime when) {
  const auto us =
      std::chrono::duration_cast<std::chrono::microseconds>(when.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z",
                     fmt::gmtime(static_cast<std::time_t>(us / 1'000'000)), us % 1'000'000);
}

double seconds(std::uint64_t us) { return static_cast<double>(us) / 1e6; }

std::string span(std::uint64_t us) {
  if (us < 1'000'000) return fmt::format("{:.1f} ms", static_cast<double>(us) / 1e3);
  return fmt::format("{:.3f} s", seconds(us));
}

std::size_t attempts_of(const RequestRecord& record) noexcept {
  return std::min<std::size_t>(record.attempt_count, record.attempts.size());
}

const AttemptRecord* last_attempt(const RequestRecord& record) noexcept {
  const std::size_t count = attempts_of(record);
  return count == 0 ? nullptr : &record.attempts[count - 1];
}

/// Of what the client waited for until the response's head.
struct Phases {
  std::uint64_t before_us = 0;  // the last attempt
  std::uint64_t connect_us = 0;
  std::uint64_t head_us = 0;
  std::uint64_t rest_us = 0;
};
Phases phases_of(const RequestRecord& record) noexcept {
  const AttemptRecord* last = last_attempt(record);
  if (last == nullptr || last->response_us == 0) return {};
  const auto minus = [](std::uint64_t a, std::uint64_t b) { return a - std::min(a, b); };
  return {minus(record.ttfb_us, std::uint64_t{last->connect_us} + last->response_us),
          last->connect_us, last->response_us, minus(record.duration_us, record.ttfb_us)};
}

// ---- sentences

std::string url_of(const RequestRecord& record) {
  const bool whole = record.authority.empty() || record.target.starts_with("http");
  const std::string_view scheme = record.tls_version.empty() ? "http://" : "https://";
  return whole ? shown(record.target)
               : fmt::format("{}{}{}", scheme, shown(record.authority), shown(record.target));
}

std::string who_asked(const RequestRecord& record) {
  const std::string client = fmt::format("{}, port {}", record.client_ip, record.client_port);
  if (!record.layer4.empty()) {
    const std::string name =
        record.server_name.empty() ? "" : fmt::format(" for {}", shown(record.server_name));
    return fmt::format("At {} {} connected to listener {} ({}){}.", time_text(record.started),
                       client, record.listener, record.layer4, name);
  }
  if (record.method.empty()) {
    return fmt::format("At {} {} sent listener {} something that is no request.",
                       time_text(record.started), client, record.listener);
  }
  return fmt::format("At {} {} asked listener {} for {} {} over {}{}.", time_text(record.started),
                     client, record.listener, shown(record.method), url_of(record),
                     http::version_name(record.version),
                     record.tls_version.empty() ? "" : fmt::format(", {}", record.tls_version));
}

std::string what_the_rule_did(const RequestRecord& record) {
  using Action = RequestRecord::Action;
  const std::string rule = fmt::format("Rule {} of generation {} ", record.rule, record.generation);
  switch (record.action) {
    case Action::forward:
      return rule + fmt::format("forwarded it to target group {}.", record.group);
    case Action::redirect:
      return rule + "redirected it.";
    case Action::fixed_response:
      return rule + "answered it.";
    case Action::none:
      break;
  }
  if (record.rule != "none") return rule + "took it, and it was refused before anything was done.";
  return record.reason == Fault::no_route ? "No rule took it."
                                          : "It was refused before a rule was looked for.";
}

std::string how_it_went(const AttemptRecord& attempt, bool layer4) {
  if (layer4 && attempt.fault == Fault::none && attempt.connect_us > 0) {
    return fmt::format("connected in {}", span(attempt.connect_us));
  }
  const std::string connected =
      attempt.connect_us > 0 ? fmt::format("connected in {}, ", span(attempt.connect_us)) : "";
  std::string text = connected;
  if (attempt.status != 0) {
    text += fmt::format("answered {} after {}", attempt.status, span(attempt.response_us));
  }
  if (attempt.fault != Fault::none) {
    text +=
        fmt::format("{}{} after {} ({})", attempt.status != 0 ? ", then " : "",
                    fault_name(attempt.fault), span(attempt.failed_us), fault_what(attempt.fault));
  } else if (attempt.status == 0) {
    text +=
        fmt::format("had not answered after {}, when the request ended", span(attempt.failed_us));
  }
  return text;
}

void add_attempts(const RequestRecord& record, json::array& out) {
  const std::size_t kept = attempts_of(record);
  for (std::size_t i = 0; i < kept; ++i) {
    const AttemptRecord& attempt = record.attempts[i];
    const std::size_t number = i + 1 < kept ? i + 1 : record.attempt_count;
    const std::string zone =
        attempt.zone.empty() ? "" : fmt::format(" in zone {}", shown(attempt.zone));
    out.emplace_back(fmt::format("Attempt {} at {}{}: {}.", number, shown(attempt.target), zone,
                                 how_it_went(attempt, !record.layer4.empty())));
  }
  if (record.attempt_count > kept) {
    out.emplace_back(fmt::format("Those between attempt {} and the last are not kept.", kept - 1));
  }
}

std::string what_the_client_got(const RequestRecord& record) {
  if (!record.layer4.empty()) {
    return record.cut ? "The connection was cut." : "Both sides ended the connection.";
  }
  if (record.status == 0) return "The client got no status, but the end of its stream.";
  if (record.reason == Fault::client_gone && !record.by_target) {
    return "The client did not wait for an answer.";
  }
  const std::string grpc =
      record.grpc_status >= 0 ? fmt::format(" with grpc-status {}", record.grpc_status) : "";
  return fmt::format("The client got {}{} from {}{}{}.", record.status, grpc,
                     record.by_target ? "the target" : "lbd", record.tunnel ? " and a tunnel" : "",
                     record.cut ? ", cut short" : "");
}

std::string time_it_took(const RequestRecord& record) {
  const std::string all = fmt::format("It took {}", span(record.duration_us));
  if (record.ttfb_us == 0) return all + ".";
  const Phases phases = phases_of(record);
  return fmt::format(
      "{}: {} before the last attempt, {} to connect, {} for the response's head, {} for the rest.",
      all, span(phases.before_us), span(phases.connect_us), span(phases.head_us),
      span(phases.rest_us));
}

std::string_view without_reason(const RequestRecord& record) noexcept {
  const std::string_view why = kept_for(record);
  if (why == "cut") return "The response is not whole.";
  if (why == "error") return "The error is the target's own: see its log.";
  if (why == "retried") return "It is kept because it was tried more than once.";
  return "It is kept because it was slow (node.access_log.slow).";
}

json::array sentences(const RequestRecord& record) {
  json::array out;
  out.emplace_back(who_asked(record));
  out.emplace_back(what_the_rule_did(record));
  add_attempts(record, out);
  out.emplace_back(what_the_client_got(record));
  if (record.reason != Fault::none) {
    out.emplace_back(fmt::format("Reason: {} ({}). {}.", fault_name(record.reason),
                                 fault_flag(record.reason), fault_what(record.reason)));
    out.emplace_back(fmt::format("Look at: {}.", fault_look(record.reason)));
  } else {
    out.emplace_back(without_reason(record));
  }
  if (record.desync != http::DesyncReason::none) {
    const http::DesyncClass found = http::desync_class(record.desync);
    out.emplace_back(
        fmt::format("Servers may read the request differently: {}, class {} "
                    "(docs/operations/desync.md).",
                    http::desync_name(record.desync), http::desync_class_name(found)));
  }
  out.emplace_back(time_it_took(record));
  out.emplace_back(fmt::format("Bytes of bodies: {} of the request, {} of the response.",
                               record.request_bytes, record.response_bytes));
  return out;
}

// ---- fields

json::array attempt_rows(const RequestRecord& record) {
  json::array rows;
  for (std::size_t i = 0; i < attempts_of(record); ++i) {
    const AttemptRecord& attempt = record.attempts[i];
    rows.push_back({{"target", shown(attempt.target)},
                    {"zone", shown(attempt.zone)},
                    {"status", attempt.status},
                    {"reason", attempt.fault == Fault::none ? "" : fault_name(attempt.fault)},
                    {"connect_seconds", seconds(attempt.connect_us)},
                    {"response_seconds", seconds(attempt.response_us)},
                    {"failed_seconds", seconds(attempt.failed_us)}});
  }
  return rows;
}

// ---- the workers' answers

struct Answers {
  std::mutex mutex;
  std::condition_variable came;
  std::vector<worker::KeptRecord> records;
  std::size_t count = 0;
};

void tell(Answers& answers, std::vector<worker::KeptRecord> found) {
  const std::lock_guard lock(answers.mutex);
  answers.records.insert(answers.records.end(), found.begin(), found.end());
  ++answers.count;
  answers.came.notify_one();
}

}  // namespace

std::string_view kept_for(const RequestRecord& record) noexcept {
  if (record.reason != Fault::none) return fault_name(record.reason);
  if (record.cut) return "cut";
  const bool grpc = record.grpc_status >= 0 && proxy::is_grpc_failure(record.grpc_status);
  if (record.status >= 500 || grpc) return "error";
  return record.attempt_count > 1 ? "retried" : "slow";
}

json::object describe(const RequestRecord& record) {
  const bool failed = record.reason != Fault::none;
  const bool departs = record.desync != http::DesyncReason::none;
  const Phases phases = phases_of(record);
  json::object out{{"time", time_text(record.started)},
                   {"request_id", shown(record.id)},
                   {"trace_id", shown(record.trace_id)},
                   {"generation", record.generation},
                   {"protocol", http::version_name(record.version)},
                   {"listener", record.listener},
                   {"rule", record.rule},
                   {"target_group", record.group},
                   {"client_ip", record.client_ip},
                   {"client_port", record.client_port},
                   {"method", shown(record.method)},
                   {"host", shown(record.authority)},
                   {"uri", shown(record.target)},
                   {"tls_version", record.tls_version},
                   {"sni", shown(record.server_name)},
                   {"status", record.status},
                   {"origin", record.by_target ? "target" : "lb"},
                   {"cut", record.cut},
                   {"tunnel", record.tunnel},
                   {"kept_for", kept_for(record)},
                   {"reason", failed ? fault_name(record.reason) : ""},
                   {"reason_flag", failed ? fault_flag(record.reason) : ""},
                   {"what", fault_what(record.reason)},
                   {"look_at", fault_look(record.reason)}};
  out["grpc_status"] = record.grpc_status >= 0 ? json::value(record.grpc_status) : json::value();
  out["desync_class"] =
      departs ? http::desync_class_name(http::desync_class(record.desync)) : std::string_view();
  out["desync_reason"] = departs ? http::desync_name(record.desync) : std::string_view();
  out["request_bytes"] = record.request_bytes;
  out["response_bytes"] = record.response_bytes;
  out["duration_seconds"] = seconds(record.duration_us);
  out["ttfb_seconds"] = seconds(record.ttfb_us);
  out["phases"] = {{"before_seconds", seconds(phases.before_us)},
                   {"connect_seconds", seconds(phases.connect_us)},
                   {"head_seconds", seconds(phases.head_us)},
                   {"rest_seconds", seconds(phases.rest_us)}};
  out["attempt_count"] = record.attempt_count;
  out["attempts"] = attempt_rows(record);
  out["sentences"] = sentences(record);
  return out;
}

json::object why(Plane& plane, const WhyQuestion& question) {
  const auto answers = std::make_shared<Answers>();  // may outlive this call
  for (const auto& worker : plane.workers()) {
    worker->recall(question.id, question.most, [answers](std::vector<worker::KeptRecord> found) {
      tell(*answers, std::move(found));
    });
  }
  const std::size_t asked = plane.workers().size();
  std::unique_lock lock(answers->mutex);
  answers->came.wait_until(lock, plane.clock().now() + kPatience,
                           [&] { return answers->count == asked; });
  std::vector<worker::KeptRecord>& records = answers->records;
  std::stable_sort(records.begin(), records.end(),
                   [](const worker::KeptRecord& a, const worker::KeptRecord& b) {
                     return a.record().started > b.record().started;
                   });
  json::array rows;
  for (std::size_t i = 0; i < std::min(records.size(), question.most); ++i) {
    rows.push_back(describe(records[i].record()));
  }
  return {{"schema_version", 1},
          {"workers_silent", asked - answers->count},
          {"requests", std::move(rows)}};
}

std::string unknown_request(Plane& plane, const std::string& id) {
  const auto slow = std::chrono::duration<double>(plane.config().node.access_log.slow).count();
  return fmt::format(
      "request '{}' is not among those that are kept: of each worker the last {} that failed, "
      "were answered 5xx, tried again, cut, or took {} s and more, and the last {} that were "
      "refused for what the client did, since lbd started. Search the access log for it",
      shown(id), worker::Recent::kOthersMax, slow, worker::Recent::kOfClientsMax);
}

}  // namespace lbd::control
