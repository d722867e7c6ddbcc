#include "lbd/worker/access_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <mutex>
#include <thread>

namespace lbd::worker {
namespace {

constexpr std::size_t kRingBytes = 1 << 20;

/// What one value may take up in the line, its escapes included; a longer one is cut and ends with
/// kCut, which no value can hold.
constexpr std::size_t kLongBytesMax = 2048;  // what clients choose freely: target, user agent
constexpr std::size_t kHostBytesMax = 512;
constexpr std::size_t kNameBytesMax = 256;
constexpr std::size_t kShortBytesMax = 64;  // times, addresses, methods, reasons
constexpr std::string_view kCut = "\\u2026";

/// The most that write_record can make of any record: keys and numbers, and each text as long as it
/// may be.
constexpr std::size_t kKeysBytesMax = 704;
constexpr std::size_t kAttemptBytesMax = 192 + 2 * (kShortBytesMax + kCut.size());
constexpr std::size_t kLineBytesMax =
    kKeysBytesMax + 2 * (kLongBytesMax + kCut.size()) + (kHostBytesMax + kCut.size()) +
    5 * (kNameBytesMax + kCut.size()) + 10 * (kShortBytesMax + kCut.size()) +
    proxy::RequestRecord::kAttemptsMax * kAttemptBytesMax;
static_assert(kLineBytesMax < kRingBytes / 64);

using LineStorage = std::array<char, kLineBytesMax>;

/// Bytes above ASCII may be any encoding: escaped as Latin-1, so that the line is always valid
/// JSON.
constexpr std::array<std::uint8_t, 256> make_escaped_sizes() {
  std::array<std::uint8_t, 256> sizes{};
  for (std::size_t byte = 0; byte < sizes.size(); ++byte) {
    sizes[byte] = byte < 0x20 || byte >= 0x7f ? 6 : 1;
  }
  sizes['"'] = sizes['\\'] = 2;
  return sizes;
}
constexpr std::array<std::uint8_t, 256> kEscapedSize = make_escaped_sizes();

/// A line under construction in storage that holds any record.
class Line {
 public:
  explicit Line(LineStorage& storage) noexcept
      : start_(storage.data()), at_(start_), end_(start_ + storage.size()) {}

  void text(std::string_view key, std::string_view value, std::size_t bytes_max) noexcept {
    begin(key);
    put('"');
    const char* limit = at_ + std::min(bytes_max, room());
    for (const char c : value) {
      const std::size_t size = kEscapedSize[static_cast<unsigned char>(c)];
      if (size > static_cast<std::size_t>(limit - at_)) {
        raw(kCut);
        break;
      }
      escaped(c, size);
    }
    put('"');
  }
  void number(std::string_view key, std::uint64_t value) noexcept {
    begin(key);
    const auto end = fmt::format_to_n(at_, room(), "{}", value);
    at_ += std::min<std::size_t>(end.size, room());
  }
  void seconds(std::string_view key, std::uint64_t us) noexcept {
    begin(key);
    const auto end = fmt::format_to_n(at_, room(), "{}.{:06}", us / 1'000'000, us % 1'000'000);
    at_ += std::min<std::size_t>(end.size, room());
  }
  void flag(std::string_view key, bool value) noexcept {
    begin(key);
    raw(value ? "true" : "false");
  }
  void raw(std::string_view text) noexcept {
    const std::size_t size = std::min(text.size(), room());
    std::memcpy(at_, text.data(), size);
    at_ += size;
  }
  void begin(std::string_view key) noexcept {
    if (at_ == start_) {
      put('{');
    } else if (at_[-1] != '{' && at_[-1] != '[') {
      put(',');
    }
    put('"');
    raw(key);
    raw("\":");
  }
  [[nodiscard]] std::string_view view() const noexcept {
    return {start_, static_cast<std::size_t>(at_ - start_)};
  }

 private:
  void put(char c) noexcept {
    if (room() > 0) *at_++ = c;
  }
  /// There is room.
  void escaped(char c, std::size_t size) noexcept {
    if (size == 1) {
      *at_++ = c;
      return;
    }
    *at_++ = '\\';
    if (size == 2) {
      *at_++ = c;
      return;
    }
    constexpr std::string_view kHex = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    for (const char each : {'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]}) *at_++ = each;
  }
  [[nodiscard]] std::size_t room() const noexcept { return static_cast<std::size_t>(end_ - at_); }

  char* start_;
  char* at_;
  char* end_;
};

void write_time(WallTime when, Line& line) noexcept {
  const auto us =
      std::chrono::duration_cast<std::chrono::microseconds>(when.time_since_epoch()).count();
  const std::time_t whole = us / 1'000'000;
  std::tm utc{};
  ::gmtime_r(&whole, &utc);
  std::array<char, 40> text{};
  const auto end = fmt::format_to_n(
      text.data(), text.size(), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900,
      utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, us % 1'000'000);
  line.text("time", {text.data(), std::min(end.size, text.size())}, kShortBytesMax);
}

void write_attempts(const proxy::RequestRecord& record, Line& line) noexcept {
  line.begin("attempts");
  line.raw("[");
  const std::size_t count = std::min<std::size_t>(record.attempt_count, record.attempts.size());
  for (std::size_t i = 0; i < count; ++i) {
    const proxy::AttemptRecord& attempt = record.attempts[i];
    line.raw(i == 0 ? "{" : ",{");
    line.text("target", attempt.target, kShortBytesMax);
    if (attempt.fault != Fault::none)
      line.text("reason", fault_name(attempt.fault), kShortBytesMax);
    if (attempt.status != 0) line.number("status", static_cast<std::uint64_t>(attempt.status));
    line.seconds("connect_seconds", attempt.connect_us);
    line.seconds("response_seconds", attempt.response_us);
    line.raw("}");
  }
  line.raw("]");
}

void write_record(const proxy::RequestRecord& record, Line& line) noexcept {
  write_time(record.started, line);
  line.text("request_id", record.id, kNameBytesMax);
  line.number("generation", record.generation);
  line.text("protocol", http::version_name(record.version), kShortBytesMax);
  line.text("listener", record.listener, kNameBytesMax);
  line.text("rule", record.rule, kNameBytesMax);
  line.text("target_group", record.group, kNameBytesMax);
  line.text("zone", record.zone, kNameBytesMax);
  const std::size_t last = std::min<std::size_t>(record.attempt_count, record.attempts.size());
  if (last > 0) {
    line.text("target", record.attempts[last - 1].target, kShortBytesMax);
    line.seconds("ttfb_seconds", record.ttfb_us);
  }
  line.text("client_ip", record.client_ip, kShortBytesMax);
  line.number("client_port", record.client_port);
  line.text("method", record.method, kShortBytesMax);
  line.text("host", record.authority, kHostBytesMax);
  line.text("uri", record.target, kLongBytesMax);
  line.text("user_agent", record.user_agent, kLongBytesMax);
  if (!record.tls_version.empty()) {
    line.text("tls_version", record.tls_version, kShortBytesMax);
    line.text("tls_cipher", record.tls_cipher, kShortBytesMax);
  }
  line.number("status", static_cast<std::uint64_t>(record.status));
  line.text("origin", record.by_target ? "target" : "lb", kShortBytesMax);
  if (record.reason != Fault::none) {
    line.text("reason", fault_name(record.reason), kShortBytesMax);
    line.text("reason_flag", fault_flag(record.reason), kShortBytesMax);
  }
  if (record.desync != http::DesyncReason::none) {
    const http::DesyncClass found = http::desync_class(record.desync);
    line.text("desync_class", http::desync_class_name(found), kShortBytesMax);
    line.text("desync_reason", http::desync_name(record.desync), kShortBytesMax);
  }
  if (record.cut) line.flag("cut", true);
  line.number("request_bytes", record.request_bytes);
  line.number("response_bytes", record.response_bytes);
  line.seconds("duration_seconds", record.duration_us);
  write_attempts(record, line);
  line.raw("}\n");
}

/// Single producer (a worker), single consumer (the writer thread).
class Ring final : public proxy::RecordSink {
 public:
  /// `half_full` is notified when it becomes that.
  explicit Ring(std::condition_variable& half_full) : bytes_(kRingBytes), half_full_(half_full) {}

  void write(const proxy::RequestRecord& record) noexcept override {
    Line line(line_);
    write_record(record, line);
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
  void written(std::size_t bytes) noexcept {
    head_.store(head_.load(std::memory_order_relaxed) + bytes, std::memory_order_release);
  }

  Relaxed<std::uint64_t> dropped;
  Relaxed<std::uint64_t> lines;  // written out; the writer's

 private:
  LineStorage line_{};
  std::vector<char> bytes_;
  std::condition_variable& half_full_;
  alignas(64) std::atomic<std::size_t> tail_{0};
  alignas(64) std::atomic<std::size_t> head_{0};
};

/// By memchr: lines are long.
std::uint64_t lines_in(std::string_view text) noexcept {
  std::uint64_t count = 0;
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string_view::npos; ++at) ++count;
  return count;
}

int open_log(const std::string& path) noexcept {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

}  // namespace

struct AccessLog::Writer {
  Writer(std::string log_path, int descriptor, std::size_t workers,
         std::chrono::milliseconds flush_interval)
      : path(std::move(log_path)), fd(descriptor), interval(flush_interval) {
    for (std::size_t i = 0; i < workers; ++i) rings.push_back(std::make_unique<Ring>(wake));
  }

  /// A line that was half written when an error came is finished later: bytes leave a ring only
  /// once written.
  void flush() noexcept {
    stuck = false;
    for (const auto& ring : rings) {
      for (std::string_view run = ring->pending(); !run.empty(); run = ring->pending()) {
        const ssize_t wrote = ::write(fd, run.data(), run.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) {
          failures.add(1);
          stuck =
              true;  // a full disk or closed pipe: try again next time; full rings drop and count
          return;
        }
        const std::string_view out = run.substr(0, static_cast<std::size_t>(wrote));
        ring->lines.add(lines_in(out));
        ring->written(out.size());
      }
    }
  }

  void run(std::atomic<bool>& reopen) {
    std::unique_lock lock(mutex);
    while (!stopping) {
      // A notice that comes while this thread writes is not lost: then a ring is half full.
      const bool hurry = std::any_of(rings.begin(), rings.end(),
                                     [](const auto& ring) { return ring->is_half_full(); });
      if (!hurry || stuck) wake.wait_for(lock, interval);
      flush();
      if (reopen.exchange(false) && path != "-") {
        const int fresh = open_log(path);
        if (fresh >= 0) {
          ::close(fd);
          fd = fresh;
        }
      }
    }
    flush();
  }

  std::string path;
  int fd;
  std::chrono::milliseconds interval;
  std::vector<std::unique_ptr<Ring>> rings;
  Relaxed<std::uint64_t> failures;
  std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;
  bool stuck = false;  // the last write failed
  std::thread thread;
};

AccessLog::AccessLog() = default;

Outcome<std::unique_ptr<AccessLog>> AccessLog::open(const std::string& path, std::size_t workers,
                                                    std::chrono::milliseconds flush) {
  const int fd = path == "-" ? STDOUT_FILENO : open_log(path);
  if (fd < 0)
    return failure(fmt::format("cannot open access log {}: {}", path, std::strerror(errno)));
  std::unique_ptr<AccessLog> log(new AccessLog());
  log->writer_ = std::make_unique<Writer>(path, fd, workers, flush);
  Writer& writer = *log->writer_;
  writer.thread = std::thread([&writer, &reopen = log->reopen_] { writer.run(reopen); });
  return log;
}

AccessLog::~AccessLog() {
  {
    const std::lock_guard lock(writer_->mutex);
    writer_->stopping = true;
  }
  writer_->wake.notify_one();
  writer_->thread.join();
  if (writer_->path != "-") ::close(writer_->fd);
}

proxy::RecordSink* AccessLog::sink(std::size_t worker) noexcept {
  return writer_->rings[worker].get();
}

std::uint64_t AccessLog::dropped() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& ring : writer_->rings) sum += ring->dropped.get();
  return sum;
}

std::uint64_t AccessLog::failures() const noexcept { return writer_->failures.get(); }

std::uint64_t AccessLog::lines() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& ring : writer_->rings) sum += ring->lines.get();
  return sum;
}

}  // namespace lbd::worker
