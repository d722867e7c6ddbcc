#include "lbd/cli/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

#include "config/files.h"
#include "config/parse.h"
#include "config/scalars.h"
#include "config/schema.h"
#include "lbd/cli/client.h"
#include "lbd/cli/show.h"
#include "lbd/control/check_files.h"
#include "lbd/control/explain.h"

namespace lbd::cli {
namespace {

namespace json = boost::json;

struct Options {
  std::string config = "/etc/lbd/lbd.yaml";
  std::string socket = "/run/lbd/admin.sock";
  std::string output = "table";
  int timeout_seconds = 30;
  bool wait = false;
  std::string target;
  std::string group;
  std::string method;
  std::string url;
  std::vector<std::string> headers;
  std::string source;
  std::string sni;
  std::string listener;
  std::string explain_file;
  std::string span;
  std::uint64_t id = 0;
  std::uint32_t desired = 0;
  std::uint32_t limit = 50;
  std::string request_id;
  std::uint32_t requests_max = 20;
  bool acted = false;

  [[nodiscard]] bool as_json() const { return output == "json"; }
};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }
void complain(const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); }

using Show = std::string (*)(const json::value&);

/// Asks the daemon and prints what it says; the exit code of the command.
int converse(const Options& options, const std::string& method, const std::string& target,
             Show show) {
  const Result<Answer, AskFailure> answer =
      ask(options.socket, method, target, options.timeout_seconds);
  if (!answer) {
    complain("lbd: " + answer.error().message);
    return answer.error().denied ? kDenied : kUnreachable;
  }
  boost::system::error_code bad;
  const json::value body = json::parse(answer->body, bad);
  if (bad) {
    complain("lbd: the daemon's answer is not JSON");
    return kFailed;
  }
  if (answer->status >= 400) {
    const json::value* sentence =
        body.is_object() ? body.as_object().if_contains("error") : nullptr;
    complain("lbd: " + (sentence != nullptr ? std::string(sentence->as_string()) : answer->body));
    return answer->status == 403 ? kDenied : kFailed;
  }
  print(options.as_json() || show == nullptr ? answer->body : show(body));
  return kOk;
}

int check(const Options& options) {
  config::LoadResult loaded = config::load(options.config, config::DiskReader());
  if (loaded.config) {
    std::vector<config::Problem> files = control::check_files(*loaded.config);
    loaded.problems.insert(loaded.problems.end(), files.begin(), files.end());
    config::sort_problems(loaded.problems, loaded.config->files);
    if (!files.empty()) loaded.config.reset();
  }
  if (options.as_json()) {
    print(config::render_json(loaded));
  } else {
    const std::string text = config::render(loaded);
    if (!text.empty()) std::fputs(text.c_str(), stderr);
    if (loaded.config) {
      complain(fmt::format("{}: {} listeners, {} target groups, {} scaling groups: good",
                           options.config, loaded.config->listeners.size(),
                           loaded.config->target_groups.size(),
                           loaded.config->scaling_groups.size()));
    }
  }
  return loaded.config ? kOk : kBadConfig;
}

int reload(const Options& options) {
  const Result<Answer, AskFailure> answer =
      ask(options.socket, "POST", "/v1/reload", options.timeout_seconds);
  if (!answer) {
    complain("lbd: " + answer.error().message);
    return answer.error().denied ? kDenied : kUnreachable;
  }
  boost::system::error_code bad;
  const json::value body = json::parse(answer->body, bad);
  const json::value* text =
      !bad && body.is_object() ? body.as_object().if_contains("text") : nullptr;
  if (options.as_json()) print(answer->body);
  if (text != nullptr && !options.as_json())
    std::fputs(std::string(text->as_string()).c_str(), stderr);
  return answer->status == 200 ? kOk : kFailed;
}

/// What `lbd explain` was asked, as explain_question() takes it.
std::map<std::string, std::string> asked(const Options& options) {
  std::string headers;
  for (const std::string& each : options.headers) headers += each + "\n";
  return {{"method", options.method}, {"url", options.url}, {"headers", headers},
          {"source", options.source}, {"sni", options.sni}, {"listener", options.listener}};
}

int explain(const Options& options) {
  const auto question = control::explain_question(asked(options));
  if (!question) {
    complain("lbd: " + question.error().message);
    return kUsage;
  }
  if (options.explain_file.empty()) {
    std::string target = "/v1/explain?";
    for (const auto& [name, value] : asked(options)) target += name + "=" + encoded(value) + "&";
    target.pop_back();
    return converse(options, "GET", target, show_explanation);
  }
  const config::LoadResult loaded = config::load(options.explain_file, config::DiskReader());
  if (!loaded.config) {
    std::fputs(config::render(loaded).c_str(), stderr);
    return kBadConfig;
  }
  const auto answer = control::explain_file(*loaded.config, *question);
  if (!answer) {
    complain("lbd: " + answer.error().message);
    return kFailed;
  }
  print(options.as_json() ? json::serialize(*answer) + "\n" : show_explanation(*answer));
  return kOk;
}

int pause(const Options& options) {
  std::chrono::milliseconds span{};
  if (const auto parsed = config::parse_duration(options.span)) {
    span = *parsed;
  } else {
    complain("lbd: a duration has a unit, for example 30m or 2h");
    return kUsage;
  }
  return converse(options, "POST",
                  fmt::format("/v1/scale/pause?group={}&seconds={}", encoded(options.group),
                              span.count() / 1000),
                  nullptr);
}

class CommandLine {
 public:
  CommandLine(const std::function<int(const std::string&)>& run_daemon) : run_daemon_(run_daemon) {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", "lbd " LBD_VERSION);
    local_commands();
    daemon_commands();
    explain_command();
    scale_commands();
    why_command();
  }

  int run(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      const int code = app_.exit(error);
      return code == 0 ? kOk : kUsage;
    }
    return action_();
  }

 private:
  CLI::App* command(CLI::App& parent, const std::string& name, const std::string& help,
                    std::function<int()> action) {
    CLI::App* made = parent.add_subcommand(name, help);
    made->callback([this, action = std::move(action)] { action_ = action; });
    return made;
  }
  CLI::App* asking(CLI::App& parent, const std::string& name, const std::string& help,
                   std::function<int()> action) {
    CLI::App* made = command(parent, name, help, std::move(action));
    made->add_option("--socket", options_.socket, "Admin socket of the daemon")
        ->envname("LBD_SOCKET");
    made->add_option("--output,-o", options_.output, "table or json")
        ->check(CLI::IsMember({"table", "json"}));
    made->add_option("--timeout", options_.timeout_seconds, "Seconds to wait for an answer");
    return made;
  }

  void local_commands() {
    CLI::App* run = command(app_, "run", "Run the daemon in the foreground",
                            [this] { return run_daemon_(options_.config); });
    run->add_option("-c,--config", options_.config, "Configuration file");
    CLI::App* check_command =
        command(app_, "check", "Check a configuration file", [this] { return check(options_); });
    check_command->add_option("file,-c,--config", options_.config, "Configuration file");
    check_command->add_option("--output,-o", options_.output)
        ->check(CLI::IsMember({"table", "json"}));
    command(app_, "schema", "Print the JSON Schema of the configuration", [] {
      print(config::write_schema());
      return static_cast<int>(kOk);
    });
  }

  void explain_command() {
    CLI::App* made =
        asking(app_, "explain", "Say which rule a request takes, and why the others do not",
               [this] { return explain(options_); });
    made->add_option("method", options_.method, "GET, POST, …")->required();
    made->add_option("url", options_.url, "http://host/path")->required();
    made->add_option("-H,--header", options_.headers, "Name: value; may be repeated")
        ->allow_extra_args(false);
    made->add_option("--source", options_.source, "The client's address");
    made->add_option("--sni", options_.sni, "Server name of the TLS handshake; the URL's host");
    made->add_option("--listener", options_.listener, "Only this listener");
    made->add_option("-c,--config", options_.explain_file,
                     "A configuration file, instead of what the daemon runs");
  }

  void daemon_commands() {
    CLI::App* reload_command =
        asking(app_, "reload", "Load the configuration again, all or nothing",
               [this] { return reload(options_); });
    reload_command->add_flag("--wait", options_.wait, "Wait for the verdict (always so)");
    asking(app_, "status", "What runs",
           [this] { return converse(options_, "GET", "/v1/status", show_status); });
    asking(app_, "targets", "Every target and its state",
           [this] { return converse(options_, "GET", "/v1/targets", show_targets); });
    for (const auto* name : {"drain", "undrain"}) {
      CLI::App* drain =
          asking(app_, name, "Stop (or go on) sending new requests to a target", [this, name] {
            return converse(options_, "POST",
                            fmt::format("/v1/targets/{}?target={}&group={}", name,
                                        encoded(options_.target), encoded(options_.group)),
                            nullptr);
          });
      drain->add_option("target", options_.target, "Address or instance id")->required();
      drain->add_option("--group", options_.group, "Only in this target group");
    }
    CLI::App* why =
        asking(app_, "why-scale", "Why the scaler did, or did not do, what it did", [this] {
          return converse(options_, "GET", fmt::format("/v1/scale/decision?id={}", options_.id),
                          show_decision);
        });
    why->add_option("decision", options_.id, "Its id; the newest when absent");
  }

  void why_command() {
    CLI::App* made = asking(app_, "why", "What became of a request, and why", [this] {
      const std::string target = fmt::format("/v1/why?id={}&limit={}", encoded(options_.request_id),
                                             options_.requests_max);
      return converse(options_, "GET", target,
                      options_.request_id.empty() ? show_notable : show_why);
    });
    made->add_option("request_id", options_.request_id,
                     "Its x-request-id; without it the last that failed, were retried or slow");
    made->add_option("--limit", options_.requests_max, "Most requests")->check(CLI::Range(1, 1000));
  }

  void scale_commands() {
    CLI::App* scale = app_.add_subcommand("scale", "Scaling groups");
    scale->require_subcommand(1);
    asking(*scale, "status", "Instances, signals and the last sentence",
           [this] { return converse(options_, "GET", "/v1/scale/status", show_scale_status); });
    CLI::App* history = asking(*scale, "history", "Decisions and non-decisions", [this] {
      return converse(options_, "GET",
                      fmt::format("/v1/scale/history?group={}&limit={}&acted={}",
                                  encoded(options_.group), options_.limit, options_.acted ? 1 : 0),
                      show_history);
    });
    history->add_option("--group", options_.group, "Only this scaling group");
    history->add_option("--limit", options_.limit, "Most rows");
    history->add_flag("--acted", options_.acted, "Only what was done");
    CLI::App* set = asking(*scale, "set", "Set the number of instances wanted", [this] {
      return converse(options_, "POST",
                      fmt::format("/v1/scale/set?group={}&desired={}", encoded(options_.group),
                                  options_.desired),
                      nullptr);
    });
    set->add_option("group", options_.group, "Scaling group")->required();
    set->add_option("desired", options_.desired, "Instances")->required();
    CLI::App* hold = asking(*scale, "pause", "Do nothing for a while (0s: go on)",
                            [this] { return pause(options_); });
    hold->add_option("group", options_.group, "Scaling group")->required();
    hold->add_option("duration", options_.span, "For example 30m")->required();
  }

  const std::function<int(const std::string&)>& run_daemon_;
  Options options_;
  CLI::App app_{"lbd: layer-7 load balancer and autoscaler"};
  std::function<int()> action_;
};

}  // namespace

int main(int argc, char** argv,
         const std::function<int(const std::string& config_path)>& run_daemon) {
  return CommandLine(run_daemon).run(argc, argv);
}

}  // namespace lbd::cli
