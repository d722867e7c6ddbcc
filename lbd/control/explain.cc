#include "lbd/control/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cctype>
#include <memory>

#include "lbd/control/plane.h"
#include "lbd/http/target.h"
#include "lbd/route/changes.h"

namespace lbd::control {
namespace {

namespace json = boost::json;

using route::Table;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// "http://host:8080/path?query"; false when it is not one.
bool split_url(std::string url, ExplainQuestion& question) {
  url.resize(std::min(url.find('#'), url.size()));
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return false;
  question.scheme = lower(url.substr(0, scheme));
  if (question.scheme != "http" && question.scheme != "https") return false;
  const std::size_t start = scheme + 3;
  const std::size_t slash = std::min(url.find_first_of("/?", start), url.size());
  question.authority = url.substr(start, slash - start);
  const std::size_t mark = std::min(url.find('?', slash), url.size());
  question.path = url.substr(slash, mark - slash);
  if (question.path.empty()) question.path = "/";
  if (mark < url.size()) question.query = url.substr(mark + 1);
  return !question.authority.empty();
}

Outcome<void> split_headers(std::string_view text, ExplainQuestion& question) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(':');
    if (colon == line.npos || !http::is_token(line.substr(0, colon))) {
      return failure(fmt::format("'{}' is no header: write it as 'Name: value'", line));
    }
    std::string_view value = line.substr(colon + 1);
    value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
    question.headers.emplace_back(line.substr(0, colon), value);
  }
  return {};
}

/// The question as rules see it; views into it.
struct Asked {
  explicit Asked(const ExplainQuestion& question) {
    head.authority = question.authority;
    head.path = question.path;
    head.query = question.query;
    head.method_text = question.method;
    target = question.path + (question.query.empty() ? "" : "?" + question.query);
    head.target = target;
    for (const auto& [name, value] : question.headers) {
      const http::HeaderId id = http::header_id(name);
      if (id == http::HeaderId::host) head.authority = value;
      head.headers.push_back({name, value, id});
    }
    request = {.authority = head.authority,
               .path = question.path,
               .query = question.query,
               .method = question.method,
               .scheme = question.scheme,
               .server_name = question.server_name,
               .headers = &head.headers,
               .source = route::ip_bytes(question.source)};
  }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

  std::string target;
  http::RequestHead head;
  route::Request request;
};

std::string_view fate_name(Table::Fate fate) {
  switch (fate) {
    case Table::Fate::lost:
      return "lost";
    case Table::Fate::sometimes:
      return "sometimes";
    case Table::Fate::matched:
      break;
  }
  return "matched";
}

json::value group_row(const std::string& group, double share, const TargetsOf& targets_of) {
  json::array targets;
  for (const ExplainTarget& each : targets_of(group)) {
    targets.push_back({{"address", each.address},
                       {"zone", each.zone},
                       {"weight", each.weight},
                       {"state", each.state},
                       {"usable", each.usable}});
  }
  return {{"target_group", group}, {"share", share}, {"targets", std::move(targets)}};
}

json::array group_rows(const config::Forward& forward, const TargetsOf& targets_of) {
  if (forward.weighted.empty()) return {group_row(forward.target_group, 1, targets_of)};
  double sum = 0;
  for (const config::WeightedGroup& each : forward.weighted) sum += each.weight;
  json::array rows;
  for (const config::WeightedGroup& each : forward.weighted) {
    rows.push_back(group_row(each.target_group, each.weight / sum, targets_of));
  }
  return rows;
}

/// "GET /x, Host: a": the request as the target gets it; empty when it is not rewritten.
std::string rewritten(const config::Rule& rule, const ExplainQuestion& question,
                      const http::RequestHead& head) {
  const route::Rewrite rewrite(rule.rewrite);
  if (rewrite.empty()) return {};
  using config::Variable;
  const std::string host(http::host_of(head.authority));
  route::Variables values;
  const auto set = [&values](Variable variable, std::string_view value) {
    values[static_cast<std::size_t>(variable)] = value;
  };
  set(Variable::protocol, question.scheme);
  set(Variable::host, host);
  set(Variable::path, head.path.substr(1));
  set(Variable::query, head.query);
  set(Variable::method, question.method);
  set(Variable::client_ip, question.source);
  set(Variable::sni, question.server_name);
  BufferPool pool;
  Buffer text(pool);
  const route::Rewritten url = rewrite.apply(head, values, text);
  return fmt::format("{} {}, Host: {}", question.method, url.target, url.authority);
}

/// Whether lists of addresses keep the request out; not if its address is not known.
bool denied(const ExplainQuestion& question, const config::AccessList& list) {
  return !question.source.empty() &&
         !route::AccessList(list).admits(route::ip_bytes(question.source));
}

std::string refusal(Fault fault, bool layer4) {
  return layer4 ? fmt::format("close {}", fault_name(fault))
                : fmt::format("respond {} {}", fault_status(fault), fault_name(fault));
}

/// What is done with a request that a rule, or the default, takes.
json::object answer_row(const config::Rule& rule, const ExplainQuestion& question,
                        const TargetsOf& targets_of, bool layer4) {
  const config::Action& action = rule.then;
  json::object row{{"rule", rule.name}};
  if (denied(question, rule.access)) {
    row["action"] = refusal(Fault::access_denied, layer4);
  } else if (const auto* forward = std::get_if<config::Forward>(&action)) {
    row["action"] = "forward";
    row["groups"] = group_rows(*forward, targets_of);
    if (forward->mirror) {
      row["mirror"] = group_row(forward->mirror->target_group, forward->mirror->share, targets_of);
    }
  } else if (const auto* redirect = std::get_if<config::Redirect>(&action)) {
    row["action"] = fmt::format("redirect {}", redirect->status);
  } else {
    row["action"] = fmt::format("respond {}", std::get<config::FixedResponse>(action).status);
  }
  return row;
}

Outcome<json::value> whole_answer(const ExplainQuestion& question, json::array listeners) {
  if (listeners.empty())
    return failure(fmt::format("there is no listener '{}'", question.listener));
  return json::value{{"schema_version", 1},
                     {"method", question.method},
                     {"scheme", question.scheme},
                     {"host", question.authority},
                     {"path", question.path},
                     {"query", question.query},
                     {"source", question.source},
                     {"sni", question.server_name},
                     {"listeners", std::move(listeners)}};
}

bool wanted(const ExplainQuestion& question, const std::string& listener) {
  return question.listener.empty() || question.listener == listener;
}

bool may_serve(const TargetRow& row) {
  return row.weight > 0 && row.state == upstream::TargetState::healthy;
}

std::vector<ExplainTarget> running_targets(Plane& plane, const std::string& group) {
  const auto found = plane.targets().rows().find(group);
  if (found == plane.targets().rows().end()) return {};
  const auto settings = plane.config().target_groups.find(group);
  const bool open = settings != plane.config().target_groups.end() && settings->second.fail_open &&
                    std::none_of(found->second.begin(), found->second.end(), may_serve);
  std::vector<ExplainTarget> targets;
  for (const TargetRow& row : found->second) {
    const bool fallback = open && row.weight > 0 && row.state != upstream::TargetState::draining;
    targets.push_back({row.address.text(), row.zone, row.weight,
                       std::string(upstream::state_name(row.state)), may_serve(row) || fallback});
  }
  return targets;
}

}  // namespace

Outcome<ExplainQuestion> explain_question(const std::map<std::string, std::string>& asked) {
  const auto value = [&asked](const char* name) {
    const auto found = asked.find(name);
    return found == asked.end() ? std::string() : found->second;
  };
  ExplainQuestion question;
  if (!value("method").empty()) question.method = value("method");
  if (!http::is_token(question.method)) {
    return failure(fmt::format("'{}' is not a method", question.method));
  }
  if (!split_url(value("url"), question)) {
    return failure("the URL must be like http://host/path?query");
  }
  const Outcome<void> headers = split_headers(value("headers"), question);
  if (!headers) return headers.error();
  question.source = value("source");
  if (!question.source.empty() && !route::ip_bytes(question.source)) {
    return failure(fmt::format("'{}' is not an IP address", question.source));
  }
  const std::string host = lower(std::string(http::host_of(question.authority)));
  const bool literal = host.starts_with('[') || route::ip_bytes(host).has_value();
  question.server_name = lower(value("sni"));
  if (question.server_name.empty() && question.scheme == "https" && !literal) {
    question.server_name = host;
  }
  question.listener = value("listener");
  return question;
}

json::value explain(const config::Listener& listener, const Table& table,
                    const ExplainQuestion& question, const TargetsOf& targets_of) {
  const Asked asked(question);
  const bool layer4 = config::is_layer4(listener);
  json::array rules;
  json::array answers;
  bool decided = false;
  const std::vector<Table::Verdict> verdicts = table.explain(asked.request);
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const config::Rule& rule = listener.rules[i];
    rules.push_back({{"rule", rule.name},
                     {"fate", fate_name(verdicts[i].fate)},
                     {"reason", verdicts[i].reason}});
    if (verdicts[i].fate == Table::Fate::lost) continue;
    decided = verdicts[i].fate == Table::Fate::matched;
    answers.push_back(answer_row(rule, question, targets_of, layer4));
    const std::string sent = rewritten(rule, question, asked.head);
    if (!sent.empty()) answers.back().as_object()["sent"] = sent;
  }
  if (!decided && listener.otherwise) {
    config::Rule otherwise;
    otherwise.name = "default";
    otherwise.then = *listener.otherwise;
    answers.push_back(answer_row(otherwise, question, targets_of, layer4));
  } else if (!decided) {
    answers.push_back({{"rule", nullptr}, {"action", refusal(Fault::no_route, layer4)}});
  }
  if (denied(question, listener.access)) {
    answers = {json::object{{"rule", nullptr}, {"action", refusal(Fault::access_denied, layer4)}}};
  }
  const bool passthrough = listener.protocol == config::ListenerProtocol::tls;
  if (passthrough && question.scheme == "http") {
    rules.clear();  // no ClientHello, no rule
    answers = {
        json::object{{"rule", nullptr}, {"action", refusal(Fault::client_protocol, layer4)}}};
  }
  return {
      {"listener", listener.name}, {"rules", std::move(rules)}, {"answers", std::move(answers)}};
}

Outcome<json::value> explain_running(Plane& plane, const ExplainQuestion& question) {
  json::array listeners;
  const auto targets_of = [&plane](const std::string& group) {
    return running_targets(plane, group);
  };
  for (const auto& listener : plane.publisher().listeners()) {
    if (!wanted(question, listener->settings.name)) continue;
    listeners.push_back(explain(listener->settings, listener->table, question, targets_of));
  }
  return whole_answer(question, std::move(listeners));
}

Outcome<json::value> explain_file(const config::Config& config, const ExplainQuestion& question) {
  json::array listeners;
  const auto targets_of = [&config](const std::string& group) {
    std::vector<ExplainTarget> targets;
    const auto found = config.target_groups.find(group);
    if (found == config.target_groups.end()) return targets;
    for (const config::Target& each : found->second.targets) {
      targets.push_back({each.address.text(), each.zone, each.weight, "", each.weight > 0});
    }
    return targets;
  };
  for (const auto& [name, listener] : config.listeners) {
    if (!wanted(question, name)) continue;
    listeners.push_back(explain(listener, Table(listener.rules), question, targets_of));
  }
  return whole_answer(question, std::move(listeners));
}

}  // namespace lbd::control
