#include "scaler/process/process_provider.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "scaler/process/spawn.h"

namespace lbd::scaler {
namespace {

using std::chrono::seconds;

/// How long an ended instance is still reported, as EC2 does for about an hour.
constexpr Duration kEndedShown = seconds(60);
/// Below Linux's default ephemeral range (32768-60999), so that no outgoing connection of this host
/// takes a port between our look and the instance's bind.
constexpr std::uint32_t kPortFirst = 20'000;
constexpr std::uint32_t kPorts = 12'000;
constexpr const char* kInstanceVariable = "LBD_INSTANCE";
/// Names the record, state directory included: two lbd on one host never take each other's.
constexpr const char* kRecordVariable = "LBD_RECORD";

CallFailure fail(CallError error, std::string code, std::string message) {
  return CallFailure{error, std::move(code), std::move(message)};
}

bool bindable(const std::string& address, std::uint16_t port) {
  sockaddr_storage storage{};
  socklen_t length = 0;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (::inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    length = sizeof(sockaddr_in);
  } else if (::inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    length = sizeof(sockaddr_in6);
  } else {
    return false;
  }
  const int probe = ::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  const int on = 1;
  ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool bound = ::bind(probe, reinterpret_cast<const sockaddr*>(&storage), length) == 0;
  ::close(probe);
  return bound;
}

std::string exit_text(int status) {
  if (WIFEXITED(status)) return fmt::format("exit status {}", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return fmt::format("killed by signal {}", WTERMSIG(status));
  return "ended";
}

}  // namespace

ProcessProvider::ProcessProvider(ProcessProviderParts parts, config::ProcessProvider config)
    : parts_(std::move(parts)),
      config_(std::move(config)),
      records_(fmt::format("{}/processes/{}", parts_.state_dir, parts_.group)),
      cgroups_(parts_.cgroups) {}

ProcessProvider::~ProcessProvider() = default;

std::string ProcessProvider::zone_address(const std::string& zone) const {
  const auto found = config_.zone_addresses.find(zone);
  return found == config_.zone_addresses.end() ? "127.0.0.1" : found->second;
}

Task<std::optional<CallFailure>> ProcessProvider::start() {
  std::optional<CallFailure> failed;
  if (config_.command.empty()) {
    failed = fail(CallError::invalid, "NoCommand", "the process provider has no command");
    co_return failed;
  }
  Outcome<void> opened = records_.open();
  if (!opened) {
    failed = fail(CallError::denied, "StateDir", opened.error().message);
    co_return failed;
  }
  if (!started_) {
    for (ProcessRecord& each : records_.load()) recover(std::move(each));
  }
  started_ = true;
  zones_ = config_.zones;
  co_return failed;
}

std::string ProcessProvider::record_entry(const ProcessRecord& record) const {
  return fmt::format("{}={}", kRecordVariable, records_.path(record.id));
}

/// Whether the process of a record still is that process. A number and a start in ticks since boot
/// prove nothing by themselves: both come again after a reboot.
bool ProcessProvider::is_ours(const ProcessRecord& record) const {
  const std::optional<ProcessStat> stat = read_stat(record.pid);
  if (!stat || stat->started != record.started) return false;
  if (!parts_.boot.empty() && record.boot == parts_.boot) return true;
  siginfo_t info{};  // a child of this process, of before a reload
  const auto pid = static_cast<id_t>(record.pid);
  if (::waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0) return true;
  return cgroups_.holds(record.id, record.pid) || has_environment(record.pid, record_entry(record));
}

void ProcessProvider::recover(ProcessRecord record) {
  Process process;
  process.record = std::move(record);
  ProcessRecord& known = process.record;
  if (known.pid == 0) {  // lbd ended between writing the record and the pid
    const std::optional<pid_t> found = find_by_environment(record_entry(known));
    const std::optional<ProcessStat> stat = found ? read_stat(*found) : std::nullopt;
    if (!stat) {
      records_.remove(known.id);
      return;
    }
    known.pid = *found;
    known.started = stat->started;
    known.boot = parts_.boot;
    (void)records_.save(known);
  }
  const bool rebooted = !known.boot.empty() && !parts_.boot.empty() && known.boot != parts_.boot;
  if (rebooted) {
    records_.remove(known.id);
    return;
  }
  if (known.stopping) {
    process.state = ReportedState::stopping;
    process.kill_at = parts_.clock.now() + Duration(config_.stop_timeout);
  }
  process.cgroup = cgroups_.cpu(known.id).has_value();
  if (is_ours(known)) {
    look(process);
  } else {
    parts_.log.info(
        "the process of a record has ended, or is not proven to be ours: left alone",
        {{"group", parts_.group}, {"instance", known.id}, {"pid", fmt::to_string(known.pid)}});
    end_session(known.pid, record_entry(known));
    end(process, "ended");
  }
  std::string id = known.id;
  processes_.insert_or_assign(std::move(id), std::move(process));
}

std::uint16_t ProcessProvider::free_port(const std::string& address,
                                         const std::string& seed) const {
  const std::size_t start = std::hash<std::string>()(seed) % kPorts;
  for (std::uint32_t tried = 0; tried < kPorts; ++tried) {
    const auto port = static_cast<std::uint16_t>(kPortFirst + (start + tried) % kPorts);
    const bool taken = std::any_of(processes_.begin(), processes_.end(), [&](const auto& each) {
      return each.second.record.port == port && each.second.state != ReportedState::terminated;
    });
    if (!taken && bindable(address, port)) return port;
  }
  return 0;
}

std::string ProcessProvider::filled(std::string text, const ProcessRecord& record) const {
  const std::pair<std::string, std::string> values[] = {{"{port}", fmt::to_string(record.port)},
                                                        {"{address}", record.address},
                                                        {"{zone}", record.zone},
                                                        {"{id}", record.id}};
  for (const auto& [name, value] : values) {
    for (std::size_t at = text.find(name); at != std::string::npos;
         at = text.find(name, at + value.size())) {
      text.replace(at, name.size(), value);
    }
  }
  return text;
}

std::vector<std::string> ProcessProvider::environment(const ProcessRecord& record) const {
  std::map<std::string, std::string> variables;
  for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
    const std::string entry = *each;
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    variables[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  // Ours alone: a child that spoke to the service manager, or took the sockets, would speak for us.
  for (const char* own : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS",
                          "LISTEN_PID", "LISTEN_FDNAMES"}) {
    variables.erase(own);
  }
  for (const auto& [name, value] : config_.environment) variables[name] = filled(value, record);
  variables["PORT"] = fmt::to_string(record.port);
  variables["ADDRESS"] = record.address;
  variables["ZONE"] = record.zone;
  variables[kInstanceVariable] = record.id;
  variables[kRecordVariable] = records_.path(record.id);
  std::vector<std::string> list;
  list.reserve(variables.size());
  for (const auto& [name, value] : variables) list.push_back(fmt::format("{}={}", name, value));
  return list;
}

std::optional<CallFailure> ProcessProvider::spawn(Process& process) {
  ProcessRecord& record = process.record;
  SpawnRequest request;
  for (const std::string& each : config_.command) request.arguments.push_back(filled(each, record));
  request.environment = environment(record);
  request.working_dir = config_.working_dir;
  request.cgroup_procs = cgroups_.open(record.id);
  const int cgroup_procs = request.cgroup_procs;
  const Spawned made = scaler::spawn(std::move(request));
  if (cgroup_procs >= 0) ::close(cgroup_procs);
  if (made.error != 0) {
    cgroups_.remove(record.id);
    const bool scarce = made.error == EAGAIN || made.error == ENOMEM || made.error == EMFILE;
    return fail(scarce ? CallError::account_limit : CallError::invalid, "SpawnFailed",
                fmt::format("cannot start {}: {}", filled(config_.command.front(), record),
                            std::strerror(made.error)));
  }
  record.pid = made.pid;
  const std::optional<ProcessStat> stat = read_stat(made.pid);
  record.started = stat ? stat->started : 0;
  process.cgroup = cgroups_.holds(record.id, made.pid);
  return std::nullopt;
}

Task<LaunchReply> ProcessProvider::launch(LaunchRequest request) {
  LaunchReply reply;
  const std::string id = "process-" + request.client_token;
  const auto known = processes_.find(id);
  if (known != processes_.end()) {
    reply.instance = report(known->second);
    co_return reply;
  }
  Process process;
  process.record.id = id;
  process.record.token = request.client_token;
  process.record.zone = request.zone;
  process.record.address = zone_address(request.zone);
  process.record.port = free_port(process.record.address, request.client_token);
  process.record.boot = parts_.boot;
  process.record.launched = parts_.clock.wall();
  if (process.record.port == 0) {
    reply.failure = fail(CallError::capacity, "NoFreePort",
                         fmt::format("no port of {} can be bound", process.record.address));
    co_return reply;
  }
  Outcome<void> saved = records_.save(process.record);
  if (!saved) {
    reply.failure = fail(CallError::account_limit, "StateDir", saved.error().message);
    co_return reply;
  }
  reply.failure = spawn(process);
  if (reply.failure) {
    records_.remove(id);
    co_return reply;
  }
  saved = records_.save(process.record);  // without it the next start finds the pid by environment
  if (!saved) parts_.log.warning("record not saved", {{"reason", saved.error().message}});
  reply.instance = report(process);
  processes_.insert_or_assign(id, std::move(process));
  co_return reply;
}

Task<TerminateReply> ProcessProvider::terminate(std::string instance) {
  TerminateReply reply;
  const auto found = processes_.find(instance);
  if (found == processes_.end()) {
    reply.failure = fail(CallError::not_found, "NotFound", "no such process instance");
    co_return reply;
  }
  Process& process = found->second;
  look(process);
  if (process.state != ReportedState::running) co_return reply;  // already ending
  process.state = ReportedState::stopping;
  process.reason = "SIGTERM sent";
  process.kill_at = parts_.clock.now() + Duration(config_.stop_timeout);
  process.record.stopping = true;
  (void)records_.save(process.record);
  ::kill(-process.record.pid, SIGTERM);
  co_return reply;
}

void ProcessProvider::end(Process& process, std::string reason) {
  const auto lived =
      std::chrono::duration_cast<seconds>(parts_.clock.wall() - process.record.launched);
  process.state = ReportedState::terminated;
  process.reason = fmt::format("{} after {} s", reason, std::max<std::int64_t>(0, lived.count()));
  process.ended_at = parts_.clock.now();
  cgroups_.remove(process.record.id);
  records_.remove(process.record.id);
}

void ProcessProvider::look(Process& process) {
  if (process.state == ReportedState::terminated) return;
  const pid_t pid = process.record.pid;
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
    if (info.si_pid == pid) {
      // While the leader is a zombie its number cannot be given to another process group.
      ::kill(-pid, SIGKILL);
      int status = 0;
      ::waitpid(pid, &status, 0);
      return end(process, exit_text(status));
    }
  } else {  // adopted: not our child
    const std::optional<ProcessStat> stat = read_stat(pid);
    const bool same = stat && stat->started == process.record.started;
    if (!same || stat->state == 'Z') {
      if (same) ::kill(-pid, SIGKILL);  // a zombie: its number is still its group's
      if (!stat) end_session(pid, record_entry(process.record));
      return end(process, "ended");
    }
  }
  const bool overdue = process.state == ReportedState::stopping && !process.killed &&
                       parts_.clock.now() >= process.kill_at;
  if (!overdue) return;
  process.killed = true;
  process.reason = "SIGKILL sent: it did not end on SIGTERM";
  ::kill(-pid, SIGKILL);
}

ReportedInstance ProcessProvider::report(const Process& process) {
  ReportedInstance made;
  made.id = process.record.id;
  made.zone = process.record.zone;
  made.state = process.state;
  made.address = process.record.address;
  made.port = process.record.port;
  made.client_token = process.record.token;
  made.state_reason = process.reason;
  made.launched = process.record.launched;
  return made;
}

Task<DescribeReply> ProcessProvider::describe() {
  DescribeReply reply;
  const TimePoint now = parts_.clock.now();
  cgroups_.sweep();
  for (auto each = processes_.begin(); each != processes_.end();) {
    look(each->second);
    const bool old = each->second.state == ReportedState::terminated &&
                     now - each->second.ended_at >= kEndedShown;
    if (old) {
      each = processes_.erase(each);
      continue;
    }
    reply.instances.push_back(report(each->second));
    ++each;
  }
  co_return reply;
}

Task<CpuReply> ProcessProvider::cpu(std::vector<std::string> instances) {
  CpuReply reply;
  const TimePoint now = parts_.clock.now();
  const bool walk = std::any_of(processes_.begin(), processes_.end(),
                                [](const auto& each) { return !each.second.cgroup; });
  std::map<pid_t, Duration> by_session;
  if (walk) by_session = cpu_by_session();
  for (const std::string& id : instances) {
    const auto found = processes_.find(id);
    if (found == processes_.end() || found->second.state == ReportedState::terminated) continue;
    Process& process = found->second;
    std::optional<Duration> used;
    if (process.cgroup) used = cgroups_.cpu(id);
    const auto session = by_session.find(process.record.pid);
    if (!used && session != by_session.end()) used = session->second;
    if (!used) continue;
    const Duration elapsed = now - process.cpu_at;
    if (process.cpu && elapsed > Duration(0)) {
      const Duration spent = std::max(*used - *process.cpu, Duration(0));
      const double ratio = std::chrono::duration<double>(spent).count() /
                           std::chrono::duration<double>(elapsed).count() /
                           std::max(config_.cpu_share, 0.001);
      reply.samples.push_back({id, ratio, now});
    }
    process.cpu = used;
    process.cpu_at = now;
  }
  co_return reply;
}

}  // namespace lbd::scaler
