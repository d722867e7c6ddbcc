// What the kernel knows of a process: identity, liveness, CPU time. Linux /proc and cgroup v2.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lbd/base/clock.h"

namespace lbd::scaler {

struct ProcessStat {
  char state = '?';  // Z: a zombie
  pid_t session = 0;
  Duration cpu{};             // user + system, with that of children it has waited for
  std::uint64_t started = 0;  // clock ticks since boot: with the pid, an identity
};

/// /proc/PID/stat; nothing when there is no such process.
[[nodiscard]] std::optional<ProcessStat> read_stat(pid_t pid);
/// CPU time of each session that has a live process, from one walk over /proc.
[[nodiscard]] std::map<pid_t, Duration> cpu_by_session();
/// The process whose environment holds `entry` ("NAME=value") and that leads its session; nothing
/// when none does or it belongs to another user.
[[nodiscard]] std::optional<pid_t> find_by_environment(const std::string& entry);
/// Whether the process's environment holds `entry`. False when it has ended, belongs to another
/// user or has written over its environment.
[[nodiscard]] bool has_environment(pid_t pid, const std::string& entry);
/// SIGKILL to each process of the session whose environment holds `entry`, and to no other: once
/// its leader is gone a session's number alone says nothing of whose it is.
void end_session(pid_t session, const std::string& entry);
/// Changes with every boot; empty when unknown (/proc/sys is hidden by ProcSubset=pid).
[[nodiscard]] std::string boot_id();

/// Where the kernel says what is mounted and which cgroup is ours; tests say something else.
struct CgroupPlaces {
  std::string mounts = "/proc/self/mounts";
  std::string own = "/proc/self/cgroup";
};

/// A cgroup v2 below our own, one per instance, when the service manager delegated ours to us.
class CgroupTree {
 public:
  /// Tries whether our own cgroup may have children; when not, everything below does nothing.
  explicit CgroupTree(const CgroupPlaces& places);
  [[nodiscard]] bool delegated() const noexcept { return !root_.empty(); }
  /// Makes the instance's cgroup: a descriptor of its cgroup.procs, for whom to join and the caller
  /// to close; -1: there is none.
  [[nodiscard]] int open(const std::string& instance) const;
  /// Whether the process has joined. False: it is not accounted there.
  [[nodiscard]] bool holds(const std::string& instance, pid_t pid) const;
  [[nodiscard]] std::optional<Duration> cpu(const std::string& instance) const;
  /// Kills what is left in it and removes it, at once or in a later `sweep`.
  void remove(const std::string& instance);
  /// Removes the cgroups whose last processes took a moment to die.
  void sweep();

 private:
  [[nodiscard]] std::string path(const std::string& instance) const;
  std::string root_;
  std::vector<std::string> leaving_;
};

}  // namespace lbd::scaler
