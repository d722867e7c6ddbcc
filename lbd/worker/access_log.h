// The access log: one JSON line a request, written by a thread of its own so that no worker ever
// waits for a disk.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "lbd/base/relaxed.h"
#include "lbd/base/result.h"
#include "lbd/proxy/record.h"

namespace lbd::worker {

/// Each worker fills a ring of bytes of its own; the writer empties them every 100 ms or when one
/// is half full. When a ring is full, lines are dropped and counted. A value that is too long for
/// the log is cut and ends with U+2026: a line is never dropped for its length.
class AccessLog {
 public:
  /// `path`: a file to append to, or "-" for standard output. Throws nothing; fails with why it
  /// cannot be opened. `flush`: how long a line may wait for others.
  static Outcome<std::unique_ptr<AccessLog>> open(
      const std::string& path, std::size_t workers,
      std::chrono::milliseconds flush = std::chrono::milliseconds(100));
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  /// The sink of one worker. Lifetime: the log's.
  [[nodiscard]] proxy::RecordSink* sink(std::size_t worker) noexcept;
  [[nodiscard]] std::uint64_t dropped() const noexcept;
  /// Lines that are written out, whole.
  [[nodiscard]] std::uint64_t lines() const noexcept;
  /// Writes that failed (a full disk, a closed pipe); what they held is tried again.
  [[nodiscard]] std::uint64_t failures() const noexcept;
  /// Opens the file anew (after logrotate moved it). Any thread.
  void reopen() noexcept { reopen_.store(true); }

 private:
  struct Writer;
  AccessLog();
  std::unique_ptr<Writer> writer_;
  std::atomic<bool> reopen_{false};
};

}  // namespace lbd::worker
