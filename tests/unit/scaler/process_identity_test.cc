// Whom a record of an earlier life may still be about: a pid comes again, after a reboot even with
// the same start. Real processes; every one that is started is ended.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "scaler/process/process_provider.h"
#include "scaler/process/spawn.h"
#include "tests/support/manual_clock.h"
#include "tests/support/run_task.h"

namespace lbd::scaler {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

class ProcessIdentity : public testing::Test {
 protected:
  ProcessIdentity() {
    std::string name = (std::filesystem::temp_directory_path() / "lbd-identity-XXXXXX").string();
    directory = ::mkdtemp(name.data());
    config.command = {"/bin/sleep", "60"};
    config.zones = {"a"};
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what a leader leaves behind is ours to reap
  }
  ~ProcessIdentity() override {
    for (const pid_t each : groups) ::kill(-each, SIGKILL);
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    std::filesystem::remove_all(directory);
  }

  [[nodiscard]] ProcessRecords records() const {
    return ProcessRecords(directory + "/processes/web");
  }
  /// A session of this script's, the environment naming our record or another.
  pid_t run(const std::string& script, bool names_the_record) {
    SpawnRequest request;
    request.arguments = {"/bin/sh", "-c", script};
    request.environment = {
        "PATH=/bin:/usr/bin",
        "LBD_RECORD=" + (names_the_record ? records().path("process-t") : "/another.json")};
    const pid_t pid = spawn(std::move(request)).pid;
    EXPECT_GT(pid, 0);
    groups.push_back(pid);
    return pid;
  }
  /// The leader has ended and been waited for; a member of its group sleeps on.
  pid_t run_without_leader(bool names_the_record) {
    const pid_t pid = run("sleep 60 & exit 0", names_the_record);
    EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
    return pid;
  }
  /// A process in a session of its own that is nobody's child of ours, as after a restart.
  pid_t run_apart(bool names_the_record) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    const std::string file = directory + "/pid";
    const pid_t parent = run("setsid sleep 60 & echo $! > " + file + "; exit 0", names_the_record);
    EXPECT_EQ(::waitpid(parent, nullptr, 0), parent);
    groups.clear();  // that one is empty
    pid_t pid = 0;
    std::ifstream(file) >> pid;
    for (int i = 0; i < 250 && read_stat(pid).value_or(ProcessStat{}).session != pid; ++i) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_GT(pid, 1);
    if (pid > 1) groups.push_back(pid);
    return pid;
  }
  static bool runs(pid_t pid) {
    for (int i = 0; i < 20; ++i) {
      const std::optional<ProcessStat> stat = read_stat(pid);
      if (!stat || stat->state == 'Z' || stat->state == 'X') return false;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return true;
  }
  void remember(pid_t pid, std::uint64_t started, const std::string& boot, bool stopping = false) {
    ASSERT_TRUE(records().open());
    ProcessRecord record;
    record.id = "process-t";
    record.token = "t";
    record.zone = "a";
    record.pid = pid;
    record.started = started;
    record.boot = boot;
    record.stopping = stopping;
    ASSERT_TRUE(records().save(record));
  }
  static std::uint64_t started(pid_t pid) { return read_stat(pid).value_or(ProcessStat{}).started; }
  /// What a provider that starts now, and its looks for ten minutes, say of the record's instance.
  ReportedState adopt(const std::string& boot) {
    ProcessProvider provider({clock, log, directory, "web", {"/dev/null", "/dev/null"}, boot},
                             config);
    EXPECT_FALSE(run_task(clock, provider.start()));
    const DescribeReply first = run_task(clock, provider.describe());
    for (int i = 0; i < 10; ++i) {
      clock.advance(minutes(1));  // past stop_timeout
      (void)run_task(clock, provider.describe());
    }
    return first.instances.empty() ? ReportedState::terminated : first.instances[0].state;
  }
  static bool lives(pid_t group) {
    for (int i = 0; i < 20; ++i) {  // a signal takes a moment
      while (::waitpid(-group, nullptr, WNOHANG) > 0) {
      }
      if (::kill(-group, 0) != 0) return false;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return true;
  }

  std::string directory;
  ManualClock clock;
  NullLog log;
  config::ProcessProvider config;
  std::vector<pid_t> groups;
};

TEST_F(ProcessIdentity, AGroupWhoseLeaderIsGoneIsNotSignalledWhenItIsNotOurs) {
  const pid_t group = run_without_leader(false);
  remember(group, 1, boot_id());
  EXPECT_EQ(adopt(boot_id()), ReportedState::terminated);
  EXPECT_TRUE(lives(group));
}

TEST_F(ProcessIdentity, WhatAnInstanceLeftBehindEndsAfterItsLeader) {
  const pid_t group = run_without_leader(true);
  remember(group, 1, boot_id());
  EXPECT_EQ(adopt(boot_id()), ReportedState::terminated);
  EXPECT_FALSE(lives(group));
}

TEST_F(ProcessIdentity, WithoutABootIdTheSamePidAndStartProveNothing) {
  const pid_t stranger = run_apart(false);
  for (const std::string& now : {std::string(), boot_id()}) {
    remember(stranger, started(stranger), "", true);
    EXPECT_EQ(adopt(now), ReportedState::terminated);
    EXPECT_TRUE(runs(stranger));
    EXPECT_TRUE(records().load().empty());
  }
}

TEST_F(ProcessIdentity, WithoutABootIdTheEnvironmentTellsOurs) {
  const pid_t ours = run_apart(true);
  remember(ours, started(ours), "");
  EXPECT_EQ(adopt(""), ReportedState::running);
  EXPECT_TRUE(runs(ours));
  remember(ours, started(ours), "", true);
  EXPECT_EQ(adopt(""), ReportedState::stopping);
  EXPECT_FALSE(runs(ours)) << "overdue";
}

TEST_F(ProcessIdentity, InTheSameBootOneThatWroteOverItsEnvironmentIsOurs) {
  const pid_t ours = run_apart(false);
  remember(ours, started(ours), boot_id());
  EXPECT_EQ(adopt(boot_id()), ReportedState::running);
  EXPECT_TRUE(runs(ours));
}

TEST_F(ProcessIdentity, OfAnotherBootNothingIsOurs) {
  const pid_t stranger = run_apart(true);
  remember(stranger, started(stranger), "another", true);
  EXPECT_EQ(adopt(boot_id()), ReportedState::terminated);
  EXPECT_TRUE(runs(stranger));
}

}  // namespace
}  // namespace lbd::scaler
