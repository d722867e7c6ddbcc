// The composition root: makes every component once and runs them until told to stop.
#pragma once

#include <string>

namespace lbd {

struct DaemonOptions {
  std::string config_path;
};

/// Runs in the foreground until SIGTERM or SIGINT; SIGHUP reloads, SIGUSR1 reopens the access log.
/// Returns the exit code: 0 after a graceful stop, 1 when it cannot start, 78 when the
/// configuration is wrong.
int run_daemon(const DaemonOptions& options);

}  // namespace lbd
