#include "lbd/worker/access_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "lbd/worker/log_line.h"

namespace lbd::worker {
namespace {

constexpr std::size_t kRingBytes = 1 << 20;
static_assert(kLineBytesMax < kRingBytes / 32);

/// The same for one request everywhere, whoever made its id.
std::uint64_t hash_of(std::string_view id) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, then mixed: the high bits count
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  hash ^= hash >> 32;
  return hash * 0x9e3779b97f4a7c15;
}

/// Which records are written, and how.
struct Choice {
  explicit Choice(const config::AccessLog& settings) noexcept
      : format(line_format(settings.format)),
        everything(settings.sample >= 1),
        below(everything ? 0 : static_cast<std::uint64_t>(settings.sample * 0x1p64)),
        slow_us(std::chrono::microseconds(settings.slow).count()) {}

  [[nodiscard]] bool keeps(const proxy::RequestRecord& record) const noexcept {
    return everything || record.status >= 500 || record.cut ||
           record.duration_us >= static_cast<std::uint64_t>(slow_us) || hash_of(record.id) < below;
  }

  LineFormat format;
  bool everything;
  std::uint64_t below;
  std::int64_t slow_us;
};

/// By memchr: lines are long.
std::uint64_t lines_in(std::string_view text) noexcept {
  std::uint64_t count = 0;
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string_view::npos; ++at) ++count;
  return count;
}

/// Single producer (a worker), single consumer (the writer thread).
class Ring final : public proxy::RecordSink {
 public:
  /// `half_full` is notified when it becomes that.
  Ring(std::condition_variable& half_full, const Choice& choice)
      : choice_(choice), bytes_(kRingBytes), half_full_(half_full) {}

  void write(const proxy::RequestRecord& record) noexcept override {
    if (!choice_.keeps(record)) {
      left_out.add(1);
      return;
    }
    Line line(line_);
    choice_.format(record, line);
    const std::string_view text = line.view();
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    const std::size_t used = tail - head_.load(std::memory_order_acquire);
    if (text.size() > kRingBytes - used) {
      dropped.add(1);
      return;
    }
    const std::size_t at = tail % kRingBytes;
    const std::size_t first = std::min(text.size(), kRingBytes - at);
    std::memcpy(bytes_.data() + at, text.data(), first);
    std::memcpy(bytes_.data(), text.data() + first, text.size() - first);
    tail_.store(tail + text.size(), std::memory_order_release);
    if (used < kRingBytes / 2 && used + text.size() >= kRingBytes / 2) half_full_.notify_one();
  }

  /// The next contiguous run of bytes to write out; empty when there is none.
  [[nodiscard]] std::string_view pending() const noexcept {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    const std::size_t used = tail_.load(std::memory_order_acquire) - head;
    const std::size_t at = head % kRingBytes;
    return {bytes_.data() + at, std::min(used, kRingBytes - at)};
  }
  [[nodiscard]] bool is_half_full() const noexcept {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    return tail_.load(std::memory_order_acquire) - head >= kRingBytes / 2;
  }
  /// The last byte written was within a line.
  [[nodiscard]] bool in_line() const noexcept { return in_line_; }
  /// `out`: the beginning of `pending`.
  void written(std::string_view out) noexcept {
    if (out.empty()) return;
    const std::uint64_t count = lines_in(out);  // the worker may overwrite what is given free
    in_line_ = out.back() != '\n';
    head_.store(head_.load(std::memory_order_relaxed) + out.size(), std::memory_order_release);
    lines.add(count);
  }

  /// Leaves out the rest of a line whose beginning went to a reader that is gone.
  void drop_broken_line() noexcept {
    if (!in_line_) return;
    for (std::string_view run = pending(); in_line_ && !run.empty(); run = pending()) {
      const std::size_t end = run.find('\n');
      in_line_ = end == std::string_view::npos;
      const std::size_t head = head_.load(std::memory_order_relaxed);
      head_.store(head + (in_line_ ? run.size() : end + 1), std::memory_order_release);
    }
    dropped_broken.add(1);
  }

  Relaxed<std::uint64_t> dropped;         // the worker's
  Relaxed<std::uint64_t> left_out;        // by sampling; the worker's
  Relaxed<std::uint64_t> dropped_broken;  // the writer's
  Relaxed<std::uint64_t> lines;           // written out; the writer's

 private:
  const Choice& choice_;
  LineStorage line_{};
  bool in_line_ = false;  // the writer's
  std::vector<char> bytes_;
  std::condition_variable& half_full_;
  alignas(64) std::atomic<std::size_t> tail_{0};
  alignas(64) std::atomic<std::size_t> head_{0};
};

/// Where lines go: a file, standard output ("-"), or a stream socket ("unix:PATH"), whose listener
/// may come and go.
class Outlet {
 public:
  explicit Outlet(const std::string& path) : path_(path) {
    if (path.starts_with(kUnix)) socket_path_ = path.substr(kUnix.size());
  }
  Outlet(const Outlet&) = delete;
  Outlet& operator=(const Outlet&) = delete;
  ~Outlet() { shut(); }

  /// False, with errno, when there is nothing to write to.
  bool open() noexcept {
    if (fd_ >= 0) return true;
    if (path_ == "-") {
      fd_ = STDOUT_FILENO;
    } else if (socket_path_.empty()) {
      fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    } else {
      fd_ = dial();
    }
    return fd_ >= 0;
  }
  /// After logrotate has moved the file. False: what cannot be opened anew stays.
  bool reopen() noexcept {
    if (path_ == "-") return false;
    const int old = std::exchange(fd_, -1);
    const bool opened = open();
    if (!opened) fd_ = old;
    if (opened && old >= 0) ::close(old);
    return opened;
  }
  /// How much was taken; below 0: errno says why. A socket whose reader is gone is closed.
  ssize_t write(std::string_view bytes) noexcept {
    if (socket_path_.empty()) return ::write(fd_, bytes.data(), bytes.size());
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) shut();
    return sent;
  }
  [[nodiscard]] bool is_socket() const noexcept { return !socket_path_.empty(); }
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

 private:
  static constexpr std::string_view kUnix = "unix:";

  [[nodiscard]] int dial() const noexcept {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket_path_.size() >= sizeof address.sun_path) {
      errno = ENAMETOOLONG;
      return -1;
    }
    std::memcpy(address.sun_path, socket_path_.data(), socket_path_.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      ::close(fd);
      return -1;
    }
    return fd;
  }
  void shut() noexcept {
    if (fd_ >= 0 && path_ != "-") ::close(fd_);
    fd_ = -1;
  }

  std::string path_;
  std::string socket_path_;
  int fd_ = -1;
};

}  // namespace

struct AccessLog::Writer {
  Writer(const config::AccessLog& settings, std::size_t workers,
         std::chrono::milliseconds flush_interval)
      : choice(settings), outlet(settings.path), interval(flush_interval) {
    for (std::size_t i = 0; i < workers; ++i) rings.push_back(std::make_unique<Ring>(wake, choice));
  }

  /// A line that was half written when an error came is finished later: bytes leave a ring only
  /// once written. A new reader of a socket gets whole lines.
  void flush() noexcept {
    stuck = false;
    const bool fresh = !outlet.is_open();
    if (!outlet.open()) return give_up();
    if (fresh && outlet.is_socket()) drop_broken_lines();
    for (std::size_t empty = 0; empty < rings.size();) {
      Ring& ring = *rings[turn];
      const std::string_view run = whole_lines(ring);
      if (run.empty()) {
        ++empty;
        turn = (turn + 1) % rings.size();
        continue;
      }
      const ssize_t wrote = outlet.write(run);
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) return give_up();
      ring.written(run.substr(0, static_cast<std::size_t>(wrote)));
      empty = 0;
      if (!ring.in_line()) turn = (turn + 1) % rings.size();
    }
  }

  /// What a ring may write before it is another's turn: the rest of a line that was begun, or all
  /// whole lines up to the ring's end; a line that goes over the end is begun there.
  [[nodiscard]] static std::string_view whole_lines(const Ring& ring) noexcept {
    const std::string_view run = ring.pending();
    const std::size_t end = ring.in_line() ? run.find('\n') : run.rfind('\n');
    return end == std::string_view::npos ? run : run.substr(0, end + 1);
  }

  void drop_broken_lines() noexcept {
    for (const auto& ring : rings) ring->drop_broken_line();
  }

  /// A full disk, a closed pipe, a reader that is gone or slow: tried again next time; full rings
  /// drop and count.
  void give_up() noexcept {
    failures.add(1);
    stuck = true;
  }

  void run(std::atomic<bool>& reopen) {
    std::unique_lock lock(mutex);
    while (!stopping) {
      // A notice that comes while this thread writes is not lost: then a ring is half full.
      const bool hurry = std::any_of(rings.begin(), rings.end(),
                                     [](const auto& ring) { return ring->is_half_full(); });
      if (!hurry || stuck) wake.wait_for(lock, interval);
      flush();
      if (reopen.exchange(false) && outlet.reopen()) drop_broken_lines();
    }
    flush();
  }

  Choice choice;
  Outlet outlet;
  std::chrono::milliseconds interval;
  std::vector<std::unique_ptr<Ring>> rings;
  std::size_t turn = 0;  // the ring to write from next; one within a line keeps it
  Relaxed<std::uint64_t> failures;
  std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;
  bool stuck = false;  // the last write failed
  std::thread thread;
};

AccessLog::AccessLog() = default;

Outcome<std::unique_ptr<AccessLog>> AccessLog::open(const config::AccessLog& settings,
                                                    std::size_t workers,
                                                    std::chrono::milliseconds flush) {
  std::unique_ptr<AccessLog> log(new AccessLog());
  log->writer_ = std::make_unique<Writer>(settings, workers, flush);
  Writer& writer = *log->writer_;
  if (!writer.outlet.open() && !writer.outlet.is_socket()) {
    return failure(
        fmt::format("cannot open access log {}: {}", settings.path, std::strerror(errno)));
  }
  writer.thread = std::thread([&writer, &reopen = log->reopen_] { writer.run(reopen); });
  return log;
}

AccessLog::~AccessLog() {
  if (!writer_->thread.joinable()) return;
  {
    const std::lock_guard lock(writer_->mutex);
    writer_->stopping = true;
  }
  writer_->wake.notify_one();
  writer_->thread.join();
}

proxy::RecordSink* AccessLog::sink(std::size_t worker) noexcept {
  return writer_->rings[worker].get();
}

std::uint64_t AccessLog::dropped() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& ring : writer_->rings) sum += ring->dropped.get() + ring->dropped_broken.get();
  return sum;
}

std::uint64_t AccessLog::left_out() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& ring : writer_->rings) sum += ring->left_out.get();
  return sum;
}

std::uint64_t AccessLog::failures() const noexcept { return writer_->failures.get(); }

std::uint64_t AccessLog::lines() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& ring : writer_->rings) sum += ring->lines.get();
  return sum;
}

}  // namespace lbd::worker
