#include "lbd/control/admin.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/json.hpp>
#include <charconv>

#include "lbd/control/explain.h"
#include "lbd/control/plane.h"
#include "lbd/control/why.h"
#include "scaler/policy.h"

namespace lbd::control {
namespace {

namespace json = boost::json;

std::string rfc3339(WallTime when) {
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(when.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(static_cast<std::time_t>(ms / 1000)), ms % 1000);
}

ServerReply reply(int status, const json::value& body) {
  return {status, "application/json", json::serialize(body) + "\n"};
}
ServerReply error(int status, std::string_view sentence) {
  return reply(status, {{"error", sentence}});
}

std::string parameter(const ServerRequest& request, const std::string& name) {
  const auto found = request.query.find(name);
  return found == request.query.end() ? std::string() : found->second;
}

std::optional<std::uint64_t> number(const ServerRequest& request, const std::string& name) {
  const std::string text = parameter(request, name);
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failed != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  return value;
}

json::value status(Plane& plane) {
  json::array listeners;
  for (const std::string& bound : plane.publisher().bound()) {
    const std::size_t space = bound.find(' ');
    listeners.push_back({{"name", bound.substr(0, space)}, {"address", bound.substr(space + 1)}});
  }
  std::uint32_t connections = 0;
  for (const auto& worker : plane.workers()) connections += worker->connections();
  const ConfigState& state = plane.state();
  return {{"schema_version", 1},
          {"version", LBD_VERSION},
          {"summary", plane.summary()},
          {"ready", plane.ready()},
          {"stopping", plane.stopping()},
          {"zone", plane.publisher().own_zone()},
          {"workers", plane.workers().size()},
          {"connections", connections},
          {"uptime_seconds",
           std::chrono::duration<double>(plane.clock().now() - plane.started()).count()},
          {"listeners", std::move(listeners)},
          {"config",
           {{"generation", state.generation},
            {"accepted_at", rfc3339(state.last_success)},
            {"last_reload_successful", state.last_reload_successful},
            {"last_error", state.last_error}}}};
}

json::array names(Plane& plane) {
  json::array rows;
  for (const NameRow& row : plane.names().rows()) {
    json::object made{{"target_group", row.group},
                      {"name", row.name},
                      {"addresses", row.addresses},
                      {"failure", net::dns_fault_name(row.fault)},
                      {"failures", row.failures},
                      {"again_in_seconds", std::chrono::duration<double>(row.again_in).count()}};
    made["answered_at"] = row.answered ? json::value(rfc3339(row.answered_at)) : json::value();
    rows.push_back(std::move(made));
  }
  return rows;
}

json::value targets(Plane& plane) {
  json::array rows;
  for (const auto& [group, group_rows] : plane.targets().rows()) {
    for (const TargetRow& row : group_rows) {
      const std::string address = row.address.text();
      const auto live = plane.live().targets().find({group, address});
      std::uint32_t in_flight = 0;
      std::uint64_t requests = 0;
      if (live != plane.live().targets().end()) {
        in_flight = live->second->in_flight();
        for (const upstream::TargetLoad& load : live->second->loads())
          requests += load.requests.get();
      }
      rows.push_back({{"target_group", group},
                      {"address", address},
                      {"zone", row.zone},
                      {"weight", row.weight},
                      {"instance", row.instance},
                      {"name", row.name},
                      {"state", upstream::state_name(row.state)},
                      {"reason", row.reason},
                      {"since", rfc3339(row.since)},
                      {"in_flight", in_flight},
                      {"requests", requests}});
    }
  }
  return {{"schema_version", 1}, {"targets", std::move(rows)}, {"names", names(plane)}};
}

json::value seconds_or_null(const std::optional<Duration>& value) {
  if (!value) return nullptr;
  return std::chrono::duration<double>(*value).count();
}
json::value value_or_null(const std::optional<double>& value) {
  if (!value) return nullptr;
  return *value;
}

json::value instance_row(const scaler::InstanceStatus& instance) {
  const bool v6 = instance.address.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + instance.address + "]" : instance.address;
  return {{"id", instance.id},
          {"token", instance.token},
          {"zone", instance.zone},
          {"address", instance.port != 0 ? fmt::format("{}:{}", host, instance.port) : host},
          {"state", scaler::state_name(instance.state)},
          {"in_state_seconds", std::chrono::duration<double>(instance.in_state).count()},
          {"reason", instance.reason},
          {"health_reason", instance.health_reason},
          {"unhealthy", instance.unhealthy},
          {"in_flight", instance.in_flight},
          {"requests_per_second", instance.requests_per_second},
          {"cpu", value_or_null(instance.cpu)}};
}

json::value group_row(const scaler::GroupStatus& group) {
  json::array instances;
  for (const scaler::InstanceStatus& instance : group.instances)
    instances.push_back(instance_row(instance));
  json::array signals;
  for (const scaler::SignalStatus& signal : group.signals) {
    signals.push_back({{"policy", signal.policy},
                       {"signal", scaler::signal_name(signal.signal)},
                       {"value", value_or_null(signal.value)},
                       {"threshold", signal.threshold},
                       {"age_seconds", seconds_or_null(signal.age)}});
  }
  json::array zones;
  for (const scaler::ZoneStatus& zone : group.zones) {
    zones.push_back({{"zone", zone.zone},
                     {"good", zone.instances},
                     {"closed", zone.closed},
                     {"closed_for_seconds", std::chrono::duration<double>(zone.closed_for).count()},
                     {"reason", zone.reason}});
  }
  return {{"name", group.name},
          {"desired", group.desired},
          {"min", group.min},
          {"max", group.max},
          {"paused", group.paused},
          {"paused_for_seconds", std::chrono::duration<double>(group.paused_for).count()},
          {"decision", group.decision},
          {"kind", group.kind},
          {"sentence", group.sentence},
          {"provider_error", group.provider_error},
          {"store_error", group.store_error},
          {"instances", std::move(instances)},
          {"signals", std::move(signals)},
          {"zone_status", std::move(zones)}};
}

json::value scale_status(Plane& plane) {
  json::array groups;
  for (const scaler::GroupStatus& group : plane.scaler().status())
    groups.push_back(group_row(group));
  return {{"schema_version", 1}, {"groups", std::move(groups)}};
}

json::value decision_row(const scaler::Decision& decision) {
  json::array signals;
  for (const scaler::SignalInput& signal : decision.inputs.signals) {
    signals.push_back({{"policy", signal.policy},
                       {"signal", signal.signal},
                       {"value", value_or_null(signal.value)},
                       {"threshold", signal.threshold}});
  }
  return {{"id", decision.id},
          {"group", decision.group},
          {"at", rfc3339(decision.first)},
          {"until", rfc3339(decision.last)},
          {"repeats", decision.repeats},
          {"action", decision.acted ? decision.kind : "none"},
          {"kind", decision.kind},
          {"sentence", decision.sentence},
          {"outcome", decision.outcome},
          {"inputs",
           {{"counted", decision.inputs.counted},
            {"alive", decision.inputs.alive},
            {"desired", decision.inputs.desired},
            {"min", decision.inputs.min},
            {"max", decision.inputs.max},
            {"signals", std::move(signals)}}}};
}

ServerReply scale_history(Plane& plane, const ServerRequest& request) {
  scaler::HistoryQuery query;
  query.group = parameter(request, "group");
  query.acted_only = parameter(request, "acted") == "1";
  query.rows_max = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(number(request, "limit").value_or(100), 10'000));
  query.before_id = number(request, "before").value_or(0);
  const auto decisions = plane.store().decisions(query);
  if (!decisions) return error(500, decisions.error().message);
  json::array rows;
  for (const scaler::Decision& decision : *decisions) rows.push_back(decision_row(decision));
  return reply(200, {{"schema_version", 1}, {"decisions", std::move(rows)}});
}

ServerReply scale_decision(Plane& plane, const ServerRequest& request) {
  std::uint64_t id = number(request, "id").value_or(0);
  if (id == 0) {  // the newest
    const auto newest = plane.store().decisions({.rows_max = 1});
    if (!newest) return error(500, newest.error().message);
    if (newest->empty()) return error(404, "no decision has been made yet");
    return reply(200, decision_row(newest->front()));
  }
  const auto decision = plane.store().decision(id);
  if (!decision) return error(500, decision.error().message);
  if (!*decision) return error(404, fmt::format("there is no decision {}", id));
  return reply(200, decision_row(**decision));
}

ServerReply drain(Plane& plane, const ServerRequest& request, bool drained) {
  const std::string target = parameter(request, "target");
  if (target.empty()) return error(400, "which target? Its address or instance id is missing");
  if (!plane.targets().set_drain(parameter(request, "group"), target, drained)) {
    return error(404, fmt::format("there is no target '{}'", target));
  }
  plane.publish_changes();
  return reply(200, {{"target", target}, {"draining", drained}});
}

ServerReply reload(Plane& plane) {
  const ReloadVerdict verdict = plane.reload();
  return reply(verdict.accepted ? 200 : 422, {{"accepted", verdict.accepted},
                                              {"unchanged", verdict.unchanged},
                                              {"generation", plane.state().generation},
                                              {"text", verdict.text}});
}

ServerReply set_desired(Plane& plane, const ServerRequest& request) {
  const auto desired = number(request, "desired");
  if (!desired || *desired > UINT32_MAX) return error(400, "desired must be a number");
  const auto done = plane.scaler().set_desired(parameter(request, "group"),
                                               static_cast<std::uint32_t>(*desired), request.peer);
  if (!done) return error(422, done.error().message);
  return reply(200, {{"desired", *desired}});
}

ServerReply pause(Plane& plane, const ServerRequest& request) {
  const auto seconds = number(request, "seconds");
  if (!seconds || *seconds > 7 * 86'400) return error(400, "seconds must be a number up to a week");
  const auto done =
      plane.scaler().pause(parameter(request, "group"),
                           std::chrono::seconds(static_cast<std::int64_t>(*seconds)), request.peer);
  if (!done) return error(422, done.error().message);
  return reply(200, {{"paused_for_seconds", *seconds}});
}

ServerReply explain(Plane& plane, const ServerRequest& request) {
  const Outcome<ExplainQuestion> question = explain_question(request.query);
  if (!question) return error(400, question.error().message);
  const Outcome<json::value> answer = explain_running(plane, *question);
  if (!answer) return error(404, answer.error().message);
  return reply(200, *answer);
}

ServerReply why(Plane& plane, const ServerRequest& request) {
  const WhyQuestion question{parameter(request, "id"),
                             std::min<std::uint64_t>(number(request, "limit").value_or(20), 1000)};
  json::object answer = why(plane, question);
  const bool found = !answer["requests"].as_array().empty();
  if (!found && !question.id.empty()) return error(404, unknown_request(plane, question.id));
  return reply(200, answer);
}

ServerReply read(Plane& plane, const ServerRequest& request) {
  if (request.path == "/v1/status") return reply(200, status(plane));
  if (request.path == "/v1/targets") return reply(200, targets(plane));
  if (request.path == "/v1/scale/status") return reply(200, scale_status(plane));
  if (request.path == "/v1/scale/history") return scale_history(plane, request);
  if (request.path == "/v1/explain") return explain(plane, request);
  if (request.path == "/v1/why") return why(plane, request);
  if (request.path == "/v1/scale/decision") return scale_decision(plane, request);
  return error(404, fmt::format("no such resource: {}", request.path));
}

ServerReply write(Plane& plane, const ServerRequest& request) {
  if (!request.may_write) return error(403, "this socket's peer may not change anything");
  if (request.path == "/v1/reload") return reload(plane);
  if (request.path == "/v1/targets/drain") return drain(plane, request, true);
  if (request.path == "/v1/targets/undrain") return drain(plane, request, false);
  if (request.path == "/v1/scale/set") return set_desired(plane, request);
  if (request.path == "/v1/scale/pause") return pause(plane, request);
  return error(404, fmt::format("no such resource: {}", request.path));
}

}  // namespace

ServerReply answer_admin(Plane& plane, const ServerRequest& request) {
  if (request.method == "GET") return read(plane, request);
  if (request.method == "POST") return write(plane, request);
  return error(405, "GET reads, POST changes");
}

}  // namespace lbd::control
