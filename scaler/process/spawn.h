// Starts a program in a session, and where asked a cgroup, of its own. posix_spawn could do all but
// the cgroup: a program must be in it before it first forks, or what it starts is neither measured
// nor ended with it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace lbd::scaler {

struct SpawnRequest {
  std::vector<std::string> arguments;    // the first is looked for in PATH
  std::vector<std::string> environment;  // NAME=value
  std::string working_dir;               // empty: ours
  int cgroup_procs = -1;                 // an open cgroup.procs to join; not closed here
};

struct Spawned {
  pid_t pid = 0;
  int error = 0;  // errno; 0: it runs
};

/// Returns once the program is loaded. stdin is /dev/null, stdout and stderr are ours, every other
/// descriptor is closed; signals are at their defaults and none is blocked. A cgroup that cannot be
/// joined is no error: see CgroupTree::holds. Thread: any.
[[nodiscard]] Spawned spawn(SpawnRequest request);

}  // namespace lbd::scaler
