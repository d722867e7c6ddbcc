// Real processes: /bin/sleep and /bin/sh. Every one that is started is ended.
#include "scaler/process/process_provider.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support/manual_clock.h"

namespace lbd::scaler {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

template <class T>
Task<> keep(Task<T> task, std::optional<T>& result) {
  result = co_await task;
}
/// The provider's calls end at once; this runs one.
template <class T>
T now(Task<T> task) {
  TaskGroup group;
  std::optional<T> result;
  group.spawn(keep(std::move(task), result));
  EXPECT_TRUE(result.has_value());
  return std::move(*result);
}

class ProcessProviderTest : public testing::Test {
 protected:
  ProcessProviderTest() {
    std::string name = (std::filesystem::temp_directory_path() / "lbd-process-XXXXXX").string();
    directory = ::mkdtemp(name.data());
    config.command = {"/bin/sleep", "60"};
    config.zones = {"a", "b"};
    config.zone_addresses = {{"b", "127.0.0.2"}};
  }
  ~ProcessProviderTest() override {
    if (provider) {
      for (const ReportedInstance& each : all()) (void)now(provider->terminate(each.id));
      for (int i = 0; i < 50 && running() > 0; ++i) {
        clock.advance(seconds(20));  // past stop_timeout: SIGKILL
        std::this_thread::sleep_for(milliseconds(20));
        (void)all();
      }
      EXPECT_EQ(running(), 0u);
    }
    std::filesystem::remove_all(directory);
  }

  void start() {
    provider = std::make_unique<ProcessProvider>(
        ProcessProviderParts{clock, log, directory, "web", cgroups, boot}, config);
    const auto failed = now(provider->start());
    ASSERT_FALSE(failed) << failed->message;
  }
  ReportedInstance launch(const std::string& token, const std::string& zone = "a") {
    LaunchReply reply = now(provider->launch(LaunchRequest{"web", zone, token}));
    EXPECT_FALSE(reply.failure) << reply.failure->message;
    return reply.instance;
  }
  std::vector<ReportedInstance> all() { return now(provider->describe()).instances; }
  std::size_t running() {
    std::size_t count = 0;
    for (const ReportedInstance& each : all()) {
      count += each.state != ReportedState::terminated ? 1 : 0;
    }
    return count;
  }
  ReportedInstance seen(const std::string& id) {
    for (const ReportedInstance& each : all()) {
      if (each.id == id) return each;
    }
    return {};
  }
  template <class Condition>
  bool soon(Condition condition) {
    for (int i = 0; i < 250; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds(20));
    }
    return false;
  }
  [[nodiscard]] pid_t pid_of(const std::string& id) const {
    const ProcessRecords records(directory + "/processes/web");
    for (const ProcessRecord& each : records.load()) {
      if (each.id == id) return each.pid;
    }
    return 0;
  }

  std::string directory;
  ManualClock clock;
  NullLog log;
  config::ProcessProvider config;
  CgroupPlaces cgroups{"/dev/null", "/dev/null"};  // none, whoever runs the test
  std::string boot = boot_id();
  std::unique_ptr<ProcessProvider> provider;
};

TEST_F(ProcessProviderTest, EachInstanceGetsItsZonesAddressAndAPortOfItsOwn) {
  start();
  const ReportedInstance first = launch("t1");
  const ReportedInstance second = launch("t2");
  const ReportedInstance third = launch("t3", "b");
  EXPECT_EQ(first.address, "127.0.0.1");
  EXPECT_EQ(third.address, "127.0.0.2");
  EXPECT_EQ(third.zone, "b");
  EXPECT_NE(first.port, 0);
  EXPECT_NE(first.port, second.port);
  EXPECT_EQ(seen(first.id).state, ReportedState::running);
}

TEST_F(ProcessProviderTest, TheSameTokenIsTheSameInstance) {
  start();
  EXPECT_EQ(launch("t1").id, launch("t1").id);
  EXPECT_EQ(all().size(), 1u);
}

TEST_F(ProcessProviderTest, FillsInTheCommandAndTheEnvironment) {
  const std::string out = directory + "/said";
  config.command = {"/bin/sh", "-c",
                    "echo {port} {zone} {id} $PORT $ZONE $LBD_INSTANCE $EXTRA > " + out + ".new;" +
                        "mv " + out + ".new " + out + "; exec sleep 60"};
  config.environment = {{"EXTRA", "x{zone}"}};
  start();
  const ReportedInstance made = launch("t1", "b");
  ASSERT_TRUE(soon([&] { return std::filesystem::exists(out); }));
  std::ifstream file(out);
  std::string line;
  std::getline(file, line);
  const std::string port = std::to_string(made.port);
  EXPECT_EQ(line, port + " b " + made.id + " " + port + " b " + made.id + " xb");
}

TEST_F(ProcessProviderTest, AnInstanceThatEndsSaysWhy) {
  config.command = {"/bin/sh", "-c", "exit 3"};
  start();
  const ReportedInstance made = launch("t1");
  ASSERT_TRUE(soon([&] { return seen(made.id).state == ReportedState::terminated; }));
  EXPECT_EQ(seen(made.id).state_reason, "exit status 3 after 0 s");
  clock.advance(seconds(61));
  EXPECT_TRUE(all().empty());  // shown for a while, then gone
}

TEST_F(ProcessProviderTest, StopsBySigterm) {
  start();
  const ReportedInstance made = launch("t1");
  EXPECT_FALSE(now(provider->terminate(made.id)).failure);
  ASSERT_TRUE(soon([&] { return seen(made.id).state == ReportedState::terminated; }));
  EXPECT_EQ(seen(made.id).state_reason, "killed by signal 15 after 0 s");
  EXPECT_FALSE(now(provider->terminate(made.id)).failure);  // idempotent
  EXPECT_EQ(now(provider->terminate("process-none")).failure->error, CallError::not_found);
}

TEST_F(ProcessProviderTest, WhatIgnoresSigtermIsKilledWithItsChildrenAfterTheTimeout) {
  const std::string ready = directory + "/ready";
  config.command = {"/bin/sh", "-c",
                    "trap '' TERM; sleep 60 & echo $! > " + ready + ".new; mv " + ready + ".new " +
                        ready + "; while :; do sleep 1; done"};
  start();
  const ReportedInstance made = launch("t1");
  ASSERT_TRUE(soon([&] { return std::filesystem::exists(ready); }));
  pid_t child = 0;
  std::ifstream(ready) >> child;
  ASSERT_GT(child, 0);
  (void)now(provider->terminate(made.id));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(seen(made.id).state, ReportedState::stopping);
  clock.advance(seconds(10));
  ASSERT_TRUE(soon([&] { return seen(made.id).state == ReportedState::terminated; }));
  EXPECT_TRUE(soon([&] {
    const auto stat = read_stat(child);
    return !stat || stat->state == 'Z';
  }));
}

TEST_F(ProcessProviderTest, ACommandThatDoesNotExistIsTheAdminsFault) {
  config.command = {"/nonexistent/program"};
  start();
  const LaunchReply reply = now(provider->launch(LaunchRequest{"web", "a", "t1"}));
  ASSERT_TRUE(reply.failure);
  EXPECT_EQ(reply.failure->error, CallError::invalid);
  EXPECT_NE(reply.failure->message.find("/nonexistent/program"), std::string::npos);
  EXPECT_TRUE(all().empty());
}

TEST_F(ProcessProviderTest, ANewProviderAdoptsWhatTheOldOneLeftRunning) {
  start();
  const ReportedInstance made = launch("t1", "b");
  const pid_t pid = pid_of(made.id);
  start();
  const ReportedInstance adopted = seen(made.id);
  EXPECT_EQ(adopted.state, ReportedState::running);
  EXPECT_EQ(adopted.port, made.port);
  EXPECT_EQ(adopted.client_token, "t1");
  EXPECT_EQ(pid_of(made.id), pid);
  EXPECT_EQ(launch("t1", "b").id, made.id);
  EXPECT_EQ(all().size(), 1u);
}

TEST_F(ProcessProviderTest, FindsAProcessWhoseRecordWasWrittenBeforeItsPid) {
  start();
  const ReportedInstance made = launch("t1");
  const pid_t pid = pid_of(made.id);
  const ProcessRecords records(directory + "/processes/web");
  ProcessRecord record = records.load().front();
  record.pid = 0;
  record.started = 0;
  ASSERT_TRUE(records.save(record));
  start();
  EXPECT_EQ(seen(made.id).state, ReportedState::running);
  EXPECT_EQ(pid_of(made.id), pid);
}

TEST_F(ProcessProviderTest, APidThatWasGivenToAnotherProcessIsNotOurs) {
  start();
  const ProcessRecords records(directory + "/processes/web");
  ProcessRecord record;
  record.id = "process-old";
  record.token = "old";
  record.pid = ::getpid();  // alive, but started at another time, and not our child
  record.started = 1;
  record.boot = boot_id();
  ASSERT_TRUE(records.save(record));
  start();
  EXPECT_EQ(seen("process-old").state, ReportedState::terminated);
}

TEST_F(ProcessProviderTest, ARecordOfAnotherBootIsForgotten) {
  start();
  const ProcessRecords records(directory + "/processes/web");
  ProcessRecord record;
  record.id = "process-old";
  record.pid = ::getpid();
  record.boot = "another";
  ASSERT_TRUE(records.save(record));
  start();
  EXPECT_TRUE(all().empty());
}

TEST_F(ProcessProviderTest, MeasuresTheCpuOfTheWholeTreeAgainstItsShare) {
  config.command = {"/bin/sh", "-c", "(while :; do :; done) & wait"};
  config.cpu_share = 0.5;
  start();
  const ReportedInstance busy = launch("t1");
  config.command = {"/bin/sleep", "60"};
  EXPECT_TRUE(now(provider->cpu({busy.id})).samples.empty());  // nothing to compare with yet
  std::this_thread::sleep_for(milliseconds(700));
  clock.advance(milliseconds(700));
  const CpuReply reply = now(provider->cpu({busy.id}));
  ASSERT_EQ(reply.samples.size(), 1u);
  EXPECT_GT(reply.samples[0].ratio, 0.4);  // the child alone burns it, the parent waits
  EXPECT_LT(reply.samples[0].ratio, 6);    // a busy machine may have slept longer than we count
  EXPECT_EQ(reply.samples[0].at, clock.now());
}

/// With a cgroup of its own, as if the service manager had delegated it to us.
class CgroupTest : public ProcessProviderTest {
 protected:
  ~CgroupTest() override {
    if (home.empty() || !provider) return;
    for (const ReportedInstance& each : all()) (void)now(provider->terminate(each.id));
    soon([&] {
      clock.advance(seconds(20));
      return running() == 0 && children() == 0;
    });
    EXPECT_EQ(children(), 0u) << "a cgroup stays behind";
    EXPECT_EQ(::rmdir(home.c_str()), 0);
  }
  void SetUp() override {
    const std::string mount = mounted();
    const std::string name = "/lbd-unit-" + std::to_string(::getpid());
    if (mount.empty() || ::mkdir((mount + name).c_str(), 0755) != 0) {
      GTEST_SKIP() << "no cgroup v2 that we may write to";
    }
    home = mount + name;
    cgroups.mounts = "/proc/self/mounts";
    cgroups.own = directory + "/own";
    std::ofstream(cgroups.own) << "4:memory:/elsewhere\n0::" << name << "\n";
  }
  static std::string mounted() {
    std::ifstream mounts("/proc/self/mounts");
    std::string device;
    std::string where;
    std::string type;
    for (std::string rest; mounts >> device >> where >> type && std::getline(mounts, rest);) {
      if (type == "cgroup2") return where;
    }
    return {};
  }
  [[nodiscard]] std::size_t children() const {
    std::size_t count = 0;
    for (const auto& each : std::filesystem::directory_iterator(home)) {
      count += each.is_directory() ? 1 : 0;
    }
    return count;
  }
  /// After some time, the CPU that the provider reports; 0: nothing.
  double cpu_of(const std::string& id) {
    (void)now(provider->cpu({id}));
    std::this_thread::sleep_for(milliseconds(700));
    clock.advance(milliseconds(700));
    const CpuReply reply = now(provider->cpu({id}));
    return reply.samples.empty() ? 0 : reply.samples[0].ratio;
  }

  std::string home;
};

// A daemon that leaves its session is invisible to the accounting by session.
TEST_F(CgroupTest, MeasuresWhatLeftItsSessionToo) {
  config.command = {"/bin/sh", "-c", "setsid /bin/sh -c 'while :; do :; done' & exec sleep 60"};
  config.cpu_share = 0.5;
  start();
  const ReportedInstance busy = launch("t1");
  EXPECT_TRUE(std::filesystem::is_directory(home + "/lbd-" + busy.id));
  const double ratio = cpu_of(busy.id);
  EXPECT_GT(ratio, 0.4);
  EXPECT_LT(ratio, 6);
}

TEST_F(CgroupTest, WithoutOneWhatLeftItsSessionIsNotSeen) {
  cgroups.own = "/dev/null";
  const std::string ready = directory + "/ready";
  config.command = {
      "/bin/sh", "-c",
      "setsid /bin/sh -c 'echo $$ > " + ready + "; while :; do :; done' & exec sleep 60"};
  start();
  const ReportedInstance busy = launch("t1");
  EXPECT_EQ(children(), 0u);
  EXPECT_LT(cpu_of(busy.id), 0.2) << "then the test above shows nothing";
  pid_t left = 0;
  ASSERT_TRUE(soon([&] { return static_cast<bool>(std::ifstream(ready) >> left); }));
  ::kill(left, SIGKILL);
}

TEST_F(CgroupTest, AnAdoptedInstanceIsStillMeasuredThere) {
  config.command = {"/bin/sh", "-c", "setsid /bin/sh -c 'while :; do :; done' & exec sleep 60"};
  config.cpu_share = 0.5;
  start();
  const std::string id = launch("t1").id;
  start();
  EXPECT_GT(cpu_of(id), 0.4);
}

TEST_F(CgroupTest, WhatLeftItsSessionEndsWithTheInstance) {
  const std::string ready = directory + "/ready";
  config.command = {"/bin/sh", "-c",
                    "setsid /bin/sh -c 'echo $$ > " + ready + "; exec sleep 60' & exec sleep 60"};
  start();
  const ReportedInstance made = launch("t1");
  pid_t left = 0;
  ASSERT_TRUE(soon([&] { return static_cast<bool>(std::ifstream(ready) >> left); }));
  (void)now(provider->terminate(made.id));
  EXPECT_TRUE(soon([&] {
    (void)all();
    const auto stat = read_stat(left);
    return (!stat || stat->state == 'Z') && children() == 0;
  }));
}

TEST_F(CgroupTest, ACommandThatDoesNotStartLeavesNoCgroupBehind) {
  config.command = {"/nonexistent/program"};
  start();
  EXPECT_TRUE(now(provider->launch(LaunchRequest{"web", "a", "t1"})).failure);
  EXPECT_EQ(children(), 0u);
}

TEST_F(ProcessProviderTest, AWorkingDirectoryThatDoesNotExistIsTheAdminsFault) {
  config.working_dir = "/nonexistent";
  start();
  const LaunchReply reply = now(provider->launch(LaunchRequest{"web", "a", "t1"}));
  ASSERT_TRUE(reply.failure);
  EXPECT_EQ(reply.failure->error, CallError::invalid);
  config.working_dir = "/tmp";
  const std::string out = directory + "/where";
  config.command = {"/bin/sh", "-c",
                    "pwd > " + out + ".new; mv " + out + ".new " + out + "; exec sleep 60"};
  start();
  (void)launch("t2");
  ASSERT_TRUE(soon([&] { return std::filesystem::exists(out); }));
  std::string line;
  std::ifstream(out) >> line;
  EXPECT_EQ(line, "/tmp");
}

// What runs with blocked or ignored signals cannot be ended politely.
TEST_F(ProcessProviderTest, InstancesStartWithoutBlockedOrIgnoredSignals) {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &term, nullptr), 0);
  const auto earlier = ::signal(SIGPIPE, SIG_IGN);
  start();
  const ReportedInstance made = launch("t1");
  ::signal(SIGPIPE, earlier);
  ASSERT_EQ(::pthread_sigmask(SIG_UNBLOCK, &term, nullptr), 0);
  std::ifstream status("/proc/" + std::to_string(pid_of(made.id)) + "/status");
  int seen_lines = 0;
  for (std::string line; std::getline(status, line);) {
    const bool blocked = line.starts_with("SigBlk:");
    if (!blocked && !line.starts_with("SigIgn:")) continue;
    EXPECT_EQ(line.substr(8), "0000000000000000") << line;
    ++seen_lines;
  }
  EXPECT_EQ(seen_lines, 2);
}

TEST_F(ProcessProviderTest, ADirectoryThatIsNoCgroupOrTheRootOfAllIsNotDelegated) {
  std::ofstream(directory + "/mounts") << "none " << directory << " cgroup2 rw 0 0\n";
  std::ofstream(directory + "/own") << "0::/\n";
  const CgroupPlaces places{directory + "/mounts", directory + "/own"};
  EXPECT_FALSE(CgroupTree(places).delegated());
  std::ofstream(directory + "/cgroup.events") << "populated 1\n";
  EXPECT_FALSE(CgroupTree(places).delegated());
  EXPECT_FALSE(CgroupTree({"/dev/null", directory + "/own"}).delegated());
}

TEST_F(ProcessProviderTest, InstancesDoNotInheritOurDescriptors) {
  const std::string out = directory + "/descriptors";
  config.command = {
      "/bin/sh", "-c",
      "ls -l /proc/$$/fd > " + out + ".new; mv " + out + ".new " + out + "; exec sleep 60"};
  std::ofstream held(directory + "/held");
  int pair[2];
  ASSERT_EQ(::pipe(pair), 0);  // without close-on-exec, as some libraries make them
  start();
  (void)launch("t1");
  ASSERT_TRUE(soon([&] { return std::filesystem::exists(out); }));
  std::ifstream file(out);
  for (std::string line; std::getline(file, line);) {
    EXPECT_EQ(line.find("pipe:[") != std::string::npos && line.find(" 3 ->") != std::string::npos,
              false)
        << line;
    EXPECT_EQ(line.find("/held"), std::string::npos) << line;
  }
  ::close(pair[0]);
  ::close(pair[1]);
}

}  // namespace
}  // namespace lbd::scaler
