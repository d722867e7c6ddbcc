// The command line: one binary, subcommands.
#pragma once

#include <functional>
#include <string>

namespace lbd::cli {

/// Exit codes (docs/reference/cli.md).
enum Exit : int {
  kOk = 0,
  kFailed = 1,
  kUsage = 64,
  kUnreachable = 69,
  kDenied = 77,
  kBadConfig = 78,
};

/// Parses and runs. `run_daemon` is given by main, so that the CLI does not depend on the daemon.
int main(int argc, char** argv,
         const std::function<int(const std::string& config_path)>& run_daemon);

}  // namespace lbd::cli
