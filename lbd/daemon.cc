#include "lbd/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "config/files.h"
#include "config/parse.h"
#include "lbd/base/log.h"
#include "lbd/control/cookie_key.h"
#include "lbd/control/plane.h"
#include "lbd/daemon_providers.h"
#include "lbd/net/loop_asio.h"
#include "lbd/worker/access_log.h"
#include "scaler/disk_store.h"
#include "scaler/history.h"

namespace lbd {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitBadConfig = 78;

/// The state directory, and the lock that makes this process the one scaler on it.
class StateDirectory {
 public:
  explicit StateDirectory(std::string path) : path_(std::move(path)) {}
  ~StateDirectory() {
    if (fd_ >= 0) ::close(fd_);
  }
  StateDirectory(const StateDirectory&) = delete;
  StateDirectory& operator=(const StateDirectory&) = delete;

  /// Makes and locks it; may be called again after a failure.
  Outcome<void> claim() {
    if (fd_ >= 0) return {};
    if (::mkdir(path_.c_str(), 0750) != 0 && errno != EEXIST) {
      return failure(
          fmt::format("cannot make state directory {}: {}", path_, std::strerror(errno)));
    }
    const std::string lock = path_ + "/lock";
    const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) return failure(fmt::format("cannot open {}: {}", lock, std::strerror(errno)));
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) {
      taken_ = false;
      fd_ = fd;
      return {};
    }
    taken_ = errno == EWOULDBLOCK;
    const std::string why = taken_ ? "another lbd runs on it" : std::strerror(errno);
    ::close(fd);
    return failure(fmt::format("cannot lock state directory {}: {}", path_, why));
  }
  /// The last claim failed because another process has it.
  [[nodiscard]] bool taken() const noexcept { return taken_; }

 private:
  std::string path_;
  int fd_ = -1;
  bool taken_ = false;
};

/// Signals as events on the control loop.
class Signals {
 public:
  Signals(net::Loop& loop, control::Plane& plane, worker::AccessLog* log)
      : loop_(loop), plane_(plane), log_(log), set_(net::asio_of(loop), SIGTERM, SIGINT, SIGHUP) {
    set_.add(SIGUSR1);
    wait();
  }

 private:
  void wait() {
    set_.async_wait([this](const boost::system::error_code& error, int number) {
      if (error) return;
      if (number == SIGHUP) {
        plane_.reload();
      } else if (number == SIGUSR1) {
        if (log_ != nullptr) log_->reopen();
      } else {
        plane_.stop([this] { loop_.stop(); });
      }
      wait();
    });
  }

  net::Loop& loop_;
  control::Plane& plane_;
  worker::AccessLog* log_;
  boost::asio::signal_set set_;
};

Outcome<std::unique_ptr<scaler::Store>> open_store(StateDirectory& state, const std::string& path,
                                                   std::uint64_t seed) {
  if (const auto claimed = state.claim(); !claimed) return claimed.error();
  auto opened = scaler::SqliteStore::open(path + "/scaler.db", seed);
  if (!opened) return opened.error();
  return std::unique_ptr<scaler::Store>(std::move(*opened));
}

std::string cookie_key_of(const config::Node& node, Log& log) {
  if (!node.cookie_key.empty()) return node.cookie_key;
  auto kept = control::kept_cookie_key(node.state_dir);
  if (kept) return std::move(*kept);
  log.warning("sticky cookies of this run are not known to the next",
              {{"reason", kept.error().message}});
  return control::random_cookie_key();
}

int fail(const std::string& sentence) {
  std::fprintf(stderr, "lbd: %s\n", sentence.c_str());
  return kExitFailed;
}

}  // namespace

int run_daemon(const DaemonOptions& options) {
  const config::LoadResult loaded = config::load(options.config_path, config::DiskReader());
  const std::string text = config::render(loaded);
  if (!text.empty()) std::fputs(text.c_str(), stderr);
  if (!loaded.config) return kExitBadConfig;
  auto config = std::make_shared<const config::Config>(*loaded.config);
  const config::Node& node = config->node;

  std::signal(SIGPIPE, SIG_IGN);  // a log's reader may go; spawned processes get it back
  StderrLog log(log_level_of(node.log_level));
  Rng rng(os_seed());
  net::Loop loop;
  StateDirectory state(node.state_dir);
  scaler::DiskStore store(loop.clock(),
                          [&] { return open_store(state, node.state_dir, rng.next()); });
  if (state.taken()) return fail(store.trouble());
  if (!store.trouble().empty()) {
    log.error("no state: requests are served, nothing is launched or ended",
              {{"reason", store.trouble()}});
  }
  std::unique_ptr<worker::AccessLog> access_log;
  if (node.access_log.enabled) {
    auto opened = worker::AccessLog::open(node.access_log, control::worker_count(node));
    if (!opened) return fail(opened.error().message);
    access_log = std::move(*opened);
  }

  const auto deployment = [&] {
    return node.deployment.empty() ? store.identity() : node.deployment;
  };
  Providers providers(loop, log, Rng(rng.next()), {node.state_dir, deployment});
  control::Plane plane(
      {.loop = loop,
       .log = log,
       .rng = Rng(rng.next()),
       .config_path = options.config_path,
       .store = store,
       .make_provider = [&](const config::ScalingGroup& group) { return providers.make(group); },
       .cookie_key = cookie_key_of(node, log),
       .access_log = access_log.get(),
       .every_second = [&](control::Plane& running) { providers.every_second(running); },
       .collect = [&](control::Families& out) { providers.collect(out); },
       .cancel_calls = [&] { providers.cancel_calls(); }},
      config);
  Signals signals(loop, plane, access_log.get());
  if (const auto up = plane.start(); !up) return fail(up.error().message);
  providers.find_zone(plane, node);
  loop.run();
  log.info("stopped");
  if (!plane.quiet()) {  // a check or call that outlasted every deadline: nothing is left that may
                         // be lost
    access_log.reset();
    std::_Exit(0);
  }
  return 0;
}

}  // namespace lbd
