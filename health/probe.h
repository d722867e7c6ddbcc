// One active health check.
#pragma once

#include <cstdint>
#include <string>

#include "config/config.h"
#include "lbd/base/task.h"
#include "lbd/net/address.h"
#include "lbd/net/loop.h"
#include "lbd/net/tcp_stream.h"

namespace lbd::health {

/// Why a check failed; each has a fixed name for logs and metrics.
enum class CheckFailure : std::uint8_t {
  none,
  refused,
  timeout,
  reset,
  bad_response,
  code_mismatch,
  body_mismatch,
  no_route,
  own_shortage,  // of lbd itself: says nothing about the target
  tls_failed,
};
[[nodiscard]] std::string_view check_failure_name(CheckFailure failure) noexcept;

struct CheckResult {
  CheckFailure failure = CheckFailure::none;
  std::string detail;  // "got 503, want 200-299"; empty when it passed
  int status = 0;
  std::uint64_t duration_us = 0;
  double cpu = -1;  // ratio the target reported with its answer (ORCA header); negative: none
  [[nodiscard]] bool passed() const noexcept { return failure == CheckFailure::none; }
};

/// One check. Thread: the loop's. Lifetime: outlives its `run`.
class Probe {
 public:
  explicit Probe(net::Loop& loop) : loop_(loop), dial_(loop) {}
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  /// Connects, for HTTP sends a GET and reads the answer, all within settings.timeout; once. For
  /// https `to.tls` must be there. Never throws, always ends.
  Task<CheckResult> run(net::TcpDial::To to, config::HealthCheck settings);
  /// `run` ends soon, not inside this call, with a result that says nothing.
  void cancel() noexcept;

 private:
  net::Loop& loop_;
  net::TcpDial dial_;
  net::Stream* stream_ = nullptr;  // once connected
};

}  // namespace lbd::health
