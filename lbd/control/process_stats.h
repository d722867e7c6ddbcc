// What the kernel says of this process, for the process_* metrics. Reads /proc/self only
// (ProcSubset=pid allows it).
#pragma once

namespace lbd::control {

struct ProcessStats {
  double cpu_seconds = 0;
  double open_fds = 0;
  double max_fds = 0;
  double virtual_bytes = 0;
  double resident_bytes = 0;
  double start_time_seconds = 0;  // Unix time
  double threads = 0;
};

/// Values that cannot be read are 0.
[[nodiscard]] ProcessStats read_process_stats();

}  // namespace lbd::control
