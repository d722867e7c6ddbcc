#include "scaler/process/spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace lbd::scaler {
namespace {

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> list;
  list.reserve(strings.size() + 1);
  for (std::string& each : strings) list.push_back(each.data());
  list.push_back(nullptr);
  return list;
}

void reset_signals() {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// In the child, beside threads that hold locks for ever: system calls only, no memory.
/// Returns errno; not at all when the program runs.
int become(const SpawnRequest& request, char* const* argv, char* const* envp) {
  reset_signals();
  ::setsid();
  if (request.cgroup_procs >= 0) (void)!::write(request.cgroup_procs, "0", 1);
  const int input = ::open("/dev/null", O_RDONLY);
  if (input < 0 || ::dup2(input, STDIN_FILENO) < 0) return errno;
  // The listeners of lbd must not live on in an instance.
  if (::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return errno;
  if (!request.working_dir.empty() && ::chdir(request.working_dir.c_str()) != 0) return errno;
  ::execvpe(argv[0], argv, envp);
  return errno;
}

}  // namespace

Spawned spawn(SpawnRequest request) {
  const std::vector<char*> argv = pointers(request.arguments);
  const std::vector<char*> envp = pointers(request.environment);
  Spawned made;
  int report[2];  // the child's errno; closed by exec
  if (::pipe2(report, O_CLOEXEC) != 0) return {0, errno};
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // no handler of ours runs in the child
  made.pid = ::fork();
  if (made.pid == 0) {
    const int error = become(request, argv.data(), envp.data());
    (void)!::write(report[1], &error, sizeof error);
    ::_exit(127);
  }
  if (made.pid < 0) made = {0, errno};
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(report[1]);
  ssize_t got = -1;
  while (made.pid > 0 && (got = ::read(report[0], &made.error, sizeof made.error)) < 0) {
    if (errno != EINTR) break;
  }
  ::close(report[0]);
  if (got <= 0) return made;
  while (::waitpid(made.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  made.pid = 0;
  return made;
}

}  // namespace lbd::scaler
