// The embedded provider: an instance is a process on this host, in a zone that is a name and an
// address. Instances outlive lbd: each leads a session of its own, and a file per instance lets the
// next lbd adopt it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "lbd/base/clock.h"
#include "lbd/base/log.h"
#include "scaler/process/accounting.h"
#include "scaler/process/records.h"
#include "scaler/provider.h"

namespace lbd::scaler {

struct ProcessProviderParts {
  Clock& clock;
  Log& log;
  std::string state_dir;  // records go to <state_dir>/processes/<group>/
  std::string group;
  CgroupPlaces cgroups = {};
  std::string boot = boot_id();
};

/// Thread: the control loop. Calls end at once: no call waits for a process; `describe`, called
/// once a second, reaps the ended and kills what ignores SIGTERM for `stop_timeout`.
///
/// In each argument {port}, {address}, {zone} and {id} are replaced. The environment is lbd's own
/// plus the configured one plus PORT, ADDRESS, ZONE, LBD_INSTANCE, LBD_RECORD. stdin is /dev/null,
/// stdout and stderr are lbd's, every other descriptor is closed.
///
/// A process of an earlier lbd's is signalled only when it is proven to be the record's: it began
/// at the same tick, and the boot is known to be the same, or it is in the instance's cgroup, or
/// its environment names the record.
class ProcessProvider final : public Provider {
 public:
  ProcessProvider(ProcessProviderParts parts, config::ProcessProvider config);
  ~ProcessProvider() override;

  [[nodiscard]] const std::vector<std::string>& zones() const override { return zones_; }
  Task<std::optional<CallFailure>> start() override;
  Task<LaunchReply> launch(LaunchRequest request) override;
  Task<TerminateReply> terminate(std::string instance) override;
  Task<DescribeReply> describe() override;
  /// CPU time of the instance's whole session (or cgroup) over the time since the last call, as a
  /// share of `cpu_share`. Nothing for an instance seen the first time.
  Task<CpuReply> cpu(std::vector<std::string> instances) override;
  [[nodiscard]] Duration describe_interval() const override { return std::chrono::seconds(1); }
  /// Records are written before a process is made.
  [[nodiscard]] Duration visibility_delay() const override { return std::chrono::seconds(1); }

 private:
  struct Process {
    ProcessRecord record;
    ReportedState state = ReportedState::running;
    std::string reason;
    TimePoint kill_at{};
    bool killed = false;
    TimePoint ended_at{};
    bool cgroup = false;
    std::optional<Duration> cpu;  // at cpu_at
    TimePoint cpu_at{};
  };

  [[nodiscard]] std::optional<CallFailure> spawn(Process& process);
  [[nodiscard]] std::uint16_t free_port(const std::string& address, const std::string& seed) const;
  [[nodiscard]] std::string filled(std::string text, const ProcessRecord& record) const;
  [[nodiscard]] std::vector<std::string> environment(const ProcessRecord& record) const;
  [[nodiscard]] std::string zone_address(const std::string& zone) const;
  void recover(ProcessRecord record);
  [[nodiscard]] bool is_ours(const ProcessRecord& record) const;
  [[nodiscard]] std::string record_entry(const ProcessRecord& record) const;
  void look(Process& process);
  void end(Process& process, std::string reason);
  [[nodiscard]] static ReportedInstance report(const Process& process);

  ProcessProviderParts parts_;
  config::ProcessProvider config_;
  ProcessRecords records_;
  CgroupTree cgroups_;
  std::vector<std::string> zones_;
  std::map<std::string, Process> processes_;  // by id
  bool started_ = false;
};

}  // namespace lbd::scaler
