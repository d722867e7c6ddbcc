// The access log: one line a request, written by a thread of its own so that no worker ever waits
// for a disk.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "config/config.h"
#include "lbd/base/relaxed.h"
#include "lbd/base/result.h"
#include "lbd/proxy/record.h"

namespace lbd::worker {

/// Each worker fills a ring of bytes of its own; the writer empties them every 100 ms or when one
/// is half full. When a ring is full, lines are dropped and counted. A value that is too long for
/// the log is cut and marked: a line is never dropped for its length. Sampling leaves out answers
/// below 500 that were neither slow nor cut, by a hash of their ids.
class AccessLog {
 public:
  /// Fails with why a file cannot be opened; a socket may begin to listen later. `flush`: how long
  /// a line may wait for others.
  static Outcome<std::unique_ptr<AccessLog>> open(
      const config::AccessLog& settings, std::size_t workers,
      std::chrono::milliseconds flush = std::chrono::milliseconds(100));
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  /// The sink of one worker. Lifetime: the log's.
  [[nodiscard]] proxy::RecordSink* sink(std::size_t worker) noexcept;
  [[nodiscard]] std::uint64_t dropped() const noexcept;
  /// Requests that sampling left out.
  [[nodiscard]] std::uint64_t left_out() const noexcept;
  /// Lines that are written out, whole.
  [[nodiscard]] std::uint64_t lines() const noexcept;
  /// Writes that failed (a full disk, a closed pipe); what they held is tried again.
  [[nodiscard]] std::uint64_t failures() const noexcept;
  /// Opens the file or socket anew (after logrotate moved it). Any thread.
  void reopen() noexcept { reopen_.store(true); }

 private:
  struct Writer;
  AccessLog();
  std::unique_ptr<Writer> writer_;
  std::atomic<bool> reopen_{false};
};

}  // namespace lbd::worker
