// What the kernel knows of a process: identity, liveness, CPU time. Linux /proc and cgroup v2.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

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
/// Changes with every boot; empty when unknown.
[[nodiscard]] std::string boot_id();

/// A cgroup v2 below our own, one per instance, when the service manager delegated ours to us.
class CgroupTree {
 public:
  /// Tries whether our own cgroup may have children; when not, everything below does nothing.
  CgroupTree();
  [[nodiscard]] bool delegated() const noexcept { return !root_.empty(); }
  /// Makes the instance's cgroup and moves the process in. False: not accounted there.
  bool add(const std::string& instance, pid_t pid) const;
  [[nodiscard]] std::optional<Duration> cpu(const std::string& instance) const;
  /// Kills what is left in it and removes it.
  void remove(const std::string& instance) const;

 private:
  [[nodiscard]] std::string path(const std::string& instance) const;
  std::string root_;
};

}  // namespace lbd::scaler
