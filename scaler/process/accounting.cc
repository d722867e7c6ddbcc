#include "scaler/process/accounting.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

namespace lbd::scaler {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

bool write_file(const std::string& path, const std::string& text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const ssize_t written = ::write(file, text.data(), text.size());
  ::close(file);
  return written == static_cast<ssize_t>(text.size());
}

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

Duration from_ticks(std::uint64_t ticks) {
  const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  return std::chrono::nanoseconds(ticks * (1'000'000'000ULL / per_second));
}

/// Every process's pid.
std::vector<pid_t> all_pids() {
  std::vector<pid_t> pids;
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return pids;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name(static_cast<const char*>(entry->d_name));
    if (name.find_first_not_of("0123456789") != std::string_view::npos) continue;
    const std::optional<pid_t> pid = number<pid_t>(name);
    if (pid) pids.push_back(*pid);
  }
  ::closedir(directory);
  return pids;
}

/// The directory of our cgroup v2, wherever that hierarchy is mounted (beside v1 ones, say); empty
/// when there is none.
std::string own_cgroup(const CgroupPlaces& places) {
  std::string mount;
  std::istringstream mounts(read_file(places.mounts));
  for (std::string line; mount.empty() && std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device;
    std::string directory;
    std::string type;
    if (fields >> device >> directory >> type && type == "cgroup2") mount = directory;
  }
  if (mount.empty()) return {};
  std::istringstream lines(read_file(places.own));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("0::")) return mount + line.substr(3);
  }
  return {};
}

}  // namespace

// pid (comm) state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime
// cutime cstime priority nice threads itrealvalue starttime …; comm may hold anything, also ")".
std::optional<ProcessStat> read_stat(pid_t pid) {
  const std::string text = read_file(fmt::format("/proc/{}/stat", pid));
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  ProcessStat stat;
  std::string field;
  std::uint64_t ticks = 0;
  for (int index = 3; index <= 22 && fields >> field; ++index) {
    if (index == 3) stat.state = field.front();
    if (index == 6) stat.session = number<pid_t>(field).value_or(0);
    if (index >= 14 && index <= 17) ticks += number<std::uint64_t>(field).value_or(0);
    if (index == 22) {
      stat.started = number<std::uint64_t>(field).value_or(0);
      stat.cpu = from_ticks(ticks);
      return stat;
    }
  }
  return std::nullopt;
}

std::map<pid_t, Duration> cpu_by_session() {
  std::map<pid_t, Duration> sums;
  for (const pid_t pid : all_pids()) {
    const std::optional<ProcessStat> stat = read_stat(pid);
    if (stat) sums[stat->session] += stat->cpu;
  }
  return sums;
}

bool has_environment(pid_t pid, const std::string& entry) {
  const std::string wanted = '\0' + entry + '\0';
  const std::string environment = read_file(fmt::format("/proc/{}/environ", pid));
  return ('\0' + environment).find(wanted) != std::string::npos;
}

void end_session(pid_t session, const std::string& entry) {
  for (const pid_t pid : all_pids()) {
    // What is looked at and what is ended are one process, whatever becomes of its number.
    const int process = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (process < 0) continue;
    const std::optional<ProcessStat> stat = read_stat(pid);
    if (stat && stat->session == session && has_environment(pid, entry)) {
      ::syscall(SYS_pidfd_send_signal, process, SIGKILL, nullptr, 0);
    }
    ::close(process);
  }
}

std::optional<pid_t> find_by_environment(const std::string& entry) {
  for (const pid_t pid : all_pids()) {
    if (!has_environment(pid, entry)) continue;
    const std::optional<ProcessStat> stat = read_stat(pid);
    if (stat && stat->session == pid) return pid;
  }
  return std::nullopt;
}

std::string boot_id() {
  std::string id = read_file("/proc/sys/kernel/random/boot_id");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

CgroupTree::CgroupTree(const CgroupPlaces& places) {
  const std::string own = own_cgroup(places);
  // The root cgroup, which alone has no such file, is nobody's to delegate.
  if (own.empty() || ::access((own + "/cgroup.events").c_str(), F_OK) != 0) return;
  const std::string probe = fmt::format("{}/lbd-probe-{}", own, ::getpid());
  if (::mkdir(probe.c_str(), 0755) != 0) return;
  const bool works = ::access((probe + "/cgroup.procs").c_str(), W_OK) == 0;
  ::rmdir(probe.c_str());
  if (works) root_ = own;
}

std::string CgroupTree::path(const std::string& instance) const {
  return fmt::format("{}/lbd-{}", root_, instance);
}

int CgroupTree::open(const std::string& instance) const {
  if (!delegated()) return -1;
  const std::string directory = path(instance);
  ::mkdir(directory.c_str(), 0755);
  return ::open((directory + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
}

bool CgroupTree::holds(const std::string& instance, pid_t pid) const {
  if (!delegated()) return false;
  std::istringstream pids(read_file(path(instance) + "/cgroup.procs"));
  for (pid_t each = 0; pids >> each;) {
    if (each == pid) return true;
  }
  return false;
}

std::optional<Duration> CgroupTree::cpu(const std::string& instance) const {
  if (!delegated()) return std::nullopt;
  std::istringstream lines(read_file(path(instance) + "/cpu.stat"));
  std::string key;
  std::uint64_t micros = 0;
  while (lines >> key >> micros) {
    if (key == "usage_usec") return std::chrono::microseconds(micros);
  }
  return std::nullopt;
}

void CgroupTree::remove(const std::string& instance) {
  if (!delegated()) return;
  std::string directory = path(instance);
  write_file(directory + "/cgroup.kill", "1");
  if (::rmdir(directory.c_str()) != 0 && errno == EBUSY) leaving_.push_back(std::move(directory));
}

void CgroupTree::sweep() {
  std::erase_if(leaving_, [](const std::string& directory) {
    return ::rmdir(directory.c_str()) == 0 || errno != EBUSY;
  });
}

}  // namespace lbd::scaler
