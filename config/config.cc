#include "config/config.h"

#include <algorithm>

namespace lbd::config {

std::string Address::text() const {
  if (!path.empty()) return "unix:" + path;
  const bool v6 = ip.find(':') != std::string::npos;
  return (v6 ? "[" + ip + "]" : ip) + ":" + std::to_string(port);
}

std::string Target::text() const {
  if (!srv.empty()) return srv;
  return name.empty() ? address.text() : name + ":" + std::to_string(port);
}

milliseconds default_period(milliseconds window) {
  using std::chrono::minutes;
  const std::int64_t whole = std::max<std::int64_t>(1, std::chrono::ceil<seconds>(window).count());
  const std::int64_t most = std::clamp<std::int64_t>(whole / 3, 1, window >= minutes(15) ? 60 : 10);
  for (std::int64_t period = most; period * 2 >= most; --period) {
    if (whole % period == 0) return seconds(period);
  }
  return seconds(most);
}

}  // namespace lbd::config
