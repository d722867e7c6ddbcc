#include "lbd/control/process_stats.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

namespace lbd::control {
namespace {

double count_descriptors() {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  double count = -1;  // the directory itself
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] != '.') ++count;
  }
  ::closedir(folder);
  return count;
}

}  // namespace

ProcessStats read_process_stats() {
  ProcessStats stats;
  stats.open_fds = count_descriptors();
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.max_fds = static_cast<double>(limit.rlim_cur);
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t end = line.rfind(')');  // the name may hold blanks and brackets
  if (end == std::string::npos) return stats;
  std::istringstream rest(line.substr(end + 1));
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::string field;
  for (int index = 3; rest >> field; ++index) {  // field numbers of proc(5)
    switch (index) {
      case 14:
      case 15:
        stats.cpu_seconds += std::stod(field) / ticks;
        break;
      case 20:
        stats.threads = std::stod(field);
        break;
      case 22: {
        timespec boot{};
        timespec real{};
        ::clock_gettime(CLOCK_BOOTTIME, &boot);
        ::clock_gettime(CLOCK_REALTIME, &real);
        const double age = static_cast<double>(boot.tv_sec) - std::stod(field) / ticks;
        stats.start_time_seconds = static_cast<double>(real.tv_sec) - age;
        break;
      }
      case 23:
        stats.virtual_bytes = std::stod(field);
        break;
      case 24:
        stats.resident_bytes = std::stod(field) * static_cast<double>(::sysconf(_SC_PAGESIZE));
        break;
      default:
        break;
    }
  }
  return stats;
}

}  // namespace lbd::control
