#include "lbd/cli/show.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <vector>

namespace lbd::cli {
namespace {

namespace json = boost::json;

/// A field as text; "-" when it is absent, null or empty. Control characters are shown as '?':
/// nothing a target says may drive the reader's terminal.
std::string text_of(const json::value& row, std::string_view key) {
  const json::value* value = row.is_object() ? row.as_object().if_contains(key) : nullptr;
  if (value == nullptr || value->is_null()) return "-";
  std::string text;
  if (const auto* string = value->if_string()) {
    text = std::string(*string);
  } else if (const auto* real = value->if_double()) {
    text = fmt::format("{:.2f}", *real);
  } else {
    text = json::serialize(*value);
  }
  std::replace_if(
      text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; }, '?');
  return text.empty() ? "-" : text;
}

const json::array& rows_of(const json::value& answer, std::string_view key) {
  static const json::array kNone;
  const json::value* rows = answer.is_object() ? answer.as_object().if_contains(key) : nullptr;
  return rows != nullptr && rows->is_array() ? rows->as_array() : kNone;
}

/// Columns as wide as their widest cell; the last one is not padded.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      out += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    out += '\n';
  }
  return out;
}

std::string percent(const json::value& row, std::string_view key) {
  const json::value* value = row.as_object().if_contains(key);
  if (value == nullptr || !value->is_number()) return "-";
  return fmt::format("{:.0f}%", value->to_number<double>() * 100);
}

std::string silent_workers(const json::value& answer) {
  const std::string count = text_of(answer, "workers_silent");
  if (count == "0") return {};
  return fmt::format("{} workers did not answer in time: what they know is missing\n", count);
}

std::string answer_text(const json::value& answer) {
  std::string out = fmt::format("  ⇒ {}: {}\n", text_of(answer, "rule"), text_of(answer, "action"));
  if (text_of(answer, "sent") != "-") out += fmt::format("    as {}\n", text_of(answer, "sent"));
  std::vector<std::vector<std::string>> rows;
  const auto add = [&rows](const json::value& group, std::string_view word) {
    const std::string name =
        fmt::format("    {}{} {}", word, text_of(group, "target_group"), percent(group, "share"));
    if (rows_of(group, "targets").empty()) rows.push_back({name, "no targets"});
    for (const json::value& target : rows_of(group, "targets")) {
      rows.push_back({name, text_of(target, "address"), text_of(target, "zone"),
                      text_of(target, "state"),
                      text_of(target, "usable") == "true" ? "may serve" : "is not used"});
    }
  };
  for (const json::value& group : rows_of(answer, "groups")) add(group, "");
  if (const json::value* mirror = answer.as_object().if_contains("mirror")) {
    add(*mirror, "mirror to ");
  }
  return out + table(rows);
}

}  // namespace

std::string show_explanation(const json::value& answer) {
  std::string out;
  for (const json::value& listener : rows_of(answer, "listeners")) {
    out += fmt::format("listener {}\n", text_of(listener, "listener"));
    std::vector<std::vector<std::string>> rows;
    for (const json::value& rule : rows_of(listener, "rules")) {
      const std::string fate = text_of(rule, "fate");
      rows.push_back({fmt::format("  {} {}",
                                  fate == "matched" ? "→"
                                  : fate == "lost"  ? " "
                                                    : "~",
                                  text_of(rule, "rule")),
                      text_of(rule, "reason")});
    }
    out += table(rows);
    for (const json::value& each : rows_of(listener, "answers")) out += answer_text(each);
  }
  return out;
}

std::string show_status(const json::value& answer) {
  std::string out =
      fmt::format("lbd {}  {}\n", text_of(answer, "version"), text_of(answer, "summary"));
  const json::value& config = answer.as_object().at("config");
  out += fmt::format("zone {}  workers {}  connections {}  up {} s\n", text_of(answer, "zone"),
                     text_of(answer, "workers"), text_of(answer, "connections"),
                     text_of(answer, "uptime_seconds"));
  out += fmt::format("config generation {} since {}\n", text_of(config, "generation"),
                     text_of(config, "accepted_at"));
  for (const json::value& listener : rows_of(answer, "listeners")) {
    out +=
        fmt::format("listener {} on {}\n", text_of(listener, "name"), text_of(listener, "address"));
  }
  if (!config.as_object().at("last_reload_successful").as_bool()) {
    out += "last reload was rejected:\n" +
           std::string(config.as_object().at("last_error").as_string());
  }
  return out + "next: lbd targets, lbd scale status\n";
}

std::string show_targets(const json::value& answer) {
  std::vector<std::vector<std::string>> rows{
      {"TARGET GROUP", "ADDRESS", "ZONE", "STATE", "IN FLIGHT", "REQUESTS", "FROM", "REASON"}};
  for (const json::value& row : rows_of(answer, "targets")) {
    rows.push_back({text_of(row, "target_group"), text_of(row, "address"), text_of(row, "zone"),
                    text_of(row, "state"), text_of(row, "in_flight"), text_of(row, "requests"),
                    text_of(row, "name") != "-" ? text_of(row, "name") : text_of(row, "instance"),
                    text_of(row, "reason")});
  }
  std::string out = table(rows);
  for (const json::value& name : rows_of(answer, "names")) {
    const std::string failure = text_of(name, "failure");
    if (failure == "none") continue;
    out += fmt::format("{}: {} cannot be looked up ({}): ", text_of(name, "target_group"),
                       text_of(name, "name"), failure);
    const std::string answered = text_of(name, "answered_at");
    out += answered == "-" ? "no answer yet\n"
                           : fmt::format("its addresses are those of {}\n", answered);
  }
  return out;
}

std::string show_scale_status(const json::value& answer) {
  std::string out;
  for (const json::value& group : rows_of(answer, "groups")) {
    out += fmt::format("{}  desired {}  min {}  max {}\n  {}\n", text_of(group, "name"),
                       text_of(group, "desired"), text_of(group, "min"), text_of(group, "max"),
                       text_of(group, "sentence"));
    for (const auto* key : {"provider_error", "store_error"}) {
      if (text_of(group, key) != "-") out += fmt::format("  {}: {}\n", key, text_of(group, key));
    }
    std::vector<std::vector<std::string>> rows{
        {"  INSTANCE", "ZONE", "ADDRESS", "STATE", "CPU", "IN FLIGHT", "REASON"}};
    for (const json::value& row : rows_of(group, "instances")) {
      rows.push_back({"  " + text_of(row, "id"), text_of(row, "zone"), text_of(row, "address"),
                      text_of(row, "state"), percent(row, "cpu"), text_of(row, "in_flight"),
                      text_of(row, "reason")});
    }
    out += table(rows);
    for (const json::value& signal : rows_of(group, "signals")) {
      out += fmt::format("  {}: {} is {}, threshold {}, {} s old\n", text_of(signal, "policy"),
                         text_of(signal, "signal"), text_of(signal, "value"),
                         text_of(signal, "threshold"), text_of(signal, "age_seconds"));
    }
  }
  return out.empty() ? "no scaling groups\n" : out;
}

std::string show_history(const json::value& answer) {
  std::vector<std::vector<std::string>> rows{{"ID", "AT", "GROUP", "ACTION", "SENTENCE"}};
  const json::array& decisions = rows_of(answer, "decisions");
  for (auto row = decisions.rbegin(); row != decisions.rend();
       ++row) {  // the newest last, next to the prompt
    std::string sentence = text_of(*row, "sentence");
    if (text_of(*row, "outcome") != "-") sentence += " → " + text_of(*row, "outcome");
    if (text_of(*row, "repeats") != "1")
      sentence += fmt::format(" (×{})", text_of(*row, "repeats"));
    rows.push_back({text_of(*row, "id"), text_of(*row, "at"), text_of(*row, "group"),
                    text_of(*row, "action"), sentence});
  }
  return table(rows);
}

std::string show_why(const json::value& answer) {
  std::string out;
  for (const json::value& request : rows_of(answer, "requests")) {
    out += fmt::format("{}request {}\n", out.empty() ? "" : "\n", text_of(request, "request_id"));
    for (const json::value& sentence : rows_of(request, "sentences")) {
      out += fmt::format("  {}\n", std::string_view(sentence.as_string()));
    }
  }
  return out + silent_workers(answer);
}

std::string show_notable(const json::value& answer) {
  std::vector<std::vector<std::string>> rows{{"TIME", "REQUEST ID", "STATUS", "REASON", "REQUEST"}};
  const json::array& requests = rows_of(answer, "requests");
  for (auto row = requests.rbegin(); row != requests.rend(); ++row) {
    const std::string host = text_of(*row, "host");
    rows.push_back({text_of(*row, "time"), text_of(*row, "request_id"), text_of(*row, "status"),
                    text_of(*row, "kept_for"),
                    fmt::format("{} {}{}", text_of(*row, "method"), host == "-" ? "" : host,
                                text_of(*row, "uri"))});
  }
  return (requests.empty() ? "nothing has failed, been retried or been slow\n" : table(rows)) +
         silent_workers(answer);
}

std::string show_decision(const json::value& answer) {
  std::string out =
      fmt::format("decision {} of {} at {}\n{}\n", text_of(answer, "id"), text_of(answer, "group"),
                  text_of(answer, "at"), text_of(answer, "sentence"));
  if (text_of(answer, "outcome") != "-")
    out += fmt::format("outcome: {}\n", text_of(answer, "outcome"));
  if (text_of(answer, "repeats") != "1") {
    out += fmt::format("the same for {} ticks, until {}\n", text_of(answer, "repeats"),
                       text_of(answer, "until"));
  }
  const json::value& inputs = answer.as_object().at("inputs");
  out += fmt::format("inputs: {} counted, {} alive, desired {}, min {}, max {}\n",
                     text_of(inputs, "counted"), text_of(inputs, "alive"),
                     text_of(inputs, "desired"), text_of(inputs, "min"), text_of(inputs, "max"));
  for (const json::value& signal : rows_of(inputs, "signals")) {
    out += fmt::format("  {}: {} {} against {}\n", text_of(signal, "policy"),
                       text_of(signal, "signal"), text_of(signal, "value"),
                       text_of(signal, "threshold"));
  }
  return out;
}

}  // namespace lbd::cli
