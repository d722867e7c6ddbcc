// One small file per process instance, so that a restarted lbd finds its instances again.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lbd/base/clock.h"
#include "lbd/base/result.h"

namespace lbd::scaler {

struct ProcessRecord {
  std::string id;
  std::string token;
  std::string zone;
  std::string address;
  std::uint16_t port = 0;
  pid_t pid = 0;              // 0: written before the process was made
  std::uint64_t started = 0;  // ticks since boot, tells a reused pid
  std::string boot;           // boot id; another boot means it is gone; empty: not known
  WallTime launched{};
  bool stopping = false;  // SIGTERM was sent
};

/// A directory of records. Thread: one. Files are replaced whole (write, rename), mode 0600.
class ProcessRecords {
 public:
  explicit ProcessRecords(std::string directory) : directory_(std::move(directory)) {}

  /// Makes the directory. Fails with the path and the reason.
  [[nodiscard]] Outcome<void> open() const;
  /// All of them; one that cannot be read is skipped.
  [[nodiscard]] std::vector<ProcessRecord> load() const;
  [[nodiscard]] Outcome<void> save(const ProcessRecord& record) const;
  void remove(const std::string& id) const;
  [[nodiscard]] std::string path(const std::string& id) const;

 private:
  std::string directory_;
};

}  // namespace lbd::scaler
