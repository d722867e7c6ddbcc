// Talking to the service manager: sd_notify(3)'s protocol, one datagram a message. Without
// NOTIFY_SOCKET nothing is sent.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace lbd::control {

class ServiceManager {
 public:
  /// Reads NOTIFY_SOCKET and WATCHDOG_USEC (with WATCHDOG_PID) of the environment.
  ServiceManager();

  void ready(const std::string& status) const;
  void status(const std::string& status) const;
  /// With the monotonic time systemd ≥ 253 wants; older ones ignore it. `ready` ends it, also after
  /// a failed reload.
  void reloading() const;
  void stopping(const std::string& status) const;
  void watchdog() const;
  /// Asks for more time while stopping.
  void extend_timeout(std::chrono::microseconds by) const;
  /// How often `watchdog` is expected at most (half of WATCHDOG_USEC); nothing when it is off.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval() const {
    return interval_;
  }

 private:
  void send(const std::string& message) const;
  std::string socket_;
  std::optional<std::chrono::microseconds> interval_;
};

}  // namespace lbd::control
