#include "lbd/cli/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cstdio>
#include <cstdlib>

#include "config/files.h"
#include "config/parse.h"
#include "config/scalars.h"
#include "config/schema.h"
#include "lbd/cli/client.h"
#include "lbd/cli/show.h"
#include "lbd/control/check_files.h"
#include "lbd/route/table.h"

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
  std::string span;
  std::uint64_t id = 0;
  std::uint32_t desired = 0;
  std::uint32_t limit = 50;
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

/// "http://host:8080/path?query" → authority and path; false when it is not one.
bool split_url(const std::string& url, std::string& authority, std::string& path) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return false;
  const std::size_t start = scheme + 3;
  const std::size_t slash = url.find_first_of("/?", start);
  authority = url.substr(start, slash - start);
  path = slash == std::string::npos || url[slash] == '?'
             ? "/"
             : url.substr(slash, url.find('?', slash) - slash);
  return !authority.empty();
}

std::string action_text(const config::Action& action) {
  if (const auto* forward = std::get_if<config::Forward>(&action))
    return "forward to " + forward->target_group;
  if (const auto* redirect = std::get_if<config::Redirect>(&action))
    return fmt::format("redirect {}", redirect->status);
  return fmt::format("respond {}", std::get<config::FixedResponse>(action).status);
}

int explain(const Options& options) {
  const config::LoadResult loaded = config::load(options.config, config::DiskReader());
  if (!loaded.config) {
    std::fputs(config::render(loaded).c_str(), stderr);
    return kBadConfig;
  }
  std::string authority;
  std::string path;
  if (!split_url(options.url, authority, path)) {
    complain("lbd: the URL must be like http://host/path");
    return kUsage;
  }
  for (const auto& [name, listener] : loaded.config->listeners) {
    print(fmt::format("listener {}\n", name));
    const std::vector<route::Table::Verdict> verdicts =
        route::Table(listener.rules).explain(authority, path);
    bool matched = false;
    for (std::size_t i = 0; i < verdicts.size(); ++i) {
      matched = verdicts[i].matched;
      print(fmt::format("  {} {}: {}{}\n", matched ? "→" : " ", listener.rules[i].name,
                        verdicts[i].reason,
                        matched ? ", " + action_text(listener.rules[i].then) : ""));
    }
    if (matched) continue;
    print(listener.otherwise ? "  → default: " + action_text(*listener.otherwise) + "\n"
                             : "  → no rule matches: 404 no_route\n");
  }
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
    scale_commands();
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
    CLI::App* explain_command =
        command(app_, "explain", "Say which rule a request matches, and why the others do not",
                [this] { return explain(options_); });
    explain_command->add_option("method", options_.method, "GET, POST, …")->required();
    explain_command->add_option("url", options_.url, "http://host/path")->required();
    explain_command->add_option("-c,--config", options_.config, "Configuration file");
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
