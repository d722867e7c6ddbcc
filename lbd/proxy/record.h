// What is known of a request when it is over: for the access log and the counters.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "lbd/base/clock.h"
#include "lbd/base/result.h"
#include "lbd/http/encoder.h"
#include "lbd/http/message.h"

namespace lbd::proxy {

/// One try at one target.
struct AttemptRecord {
  std::string_view target;  // address
  std::string_view zone;
  Fault fault = Fault::none;
  int status = 0;                 // 0: no response head came
  std::uint32_t connect_us = 0;   // 0 on a kept connection
  std::uint32_t response_us = 0;  // from then to the response head; 0: none came
  std::uint32_t failed_us = 0;    // to its end, when that is no whole response
};

/// Views hold only during RecordSink::write.
struct RequestRecord {
  enum class Action : std::uint8_t { none, forward, redirect, fixed_response };
  static constexpr std::size_t kAttemptsMax = 4;

  WallTime started{};
  std::string_view id;
  std::string_view client_ip;
  std::uint16_t client_port = 0;
  std::string_view listener;
  std::string_view rule;
  std::string_view group;
  std::string_view zone;                            // of the last target
  http::Version version = http::Version::http_1_1;  // the client's
  std::string_view method;
  std::string_view authority;
  std::string_view target;  // request-target
  std::string_view user_agent;
  std::string_view referer;
  std::string_view tls_version;  // empty: plain
  std::string_view tls_cipher;
  std::string_view server_name;    // SNI
  std::string_view trace_id;       // 32 hex digits, of traceparent; empty: none
  std::string_view amzn_trace_id;  // X-Amzn-Trace-Id as the target got it; empty: none
  std::string_view redirect_url;
  std::string_view layer4;  // "tcp" or "tls": a connection, without what only HTTP has; else empty
  std::int32_t rule_number = -1;  // from 1; 0: the default; -1: none
  std::uint16_t local_port = 0;
  int status = 0;          // what the client got; 0: nothing
  int grpc_status = -1;    // and within it; -1: none, or not gRPC
  bool by_target = false;  // the status is the target's
  bool cut = false;        // the response began but could not be finished
  bool tunnel = false;
  Action action = Action::none;
  Fault reason = Fault::none;
  http::DesyncReason desync = http::DesyncReason::none;
  std::uint64_t generation = 0;
  std::uint64_t request_bytes = 0;
  std::uint64_t response_bytes = 0;
  http::Coding coding = http::Coding::identity;  // that lbd gave the response's body
  std::uint64_t plain_bytes = 0;                 // of the body before that
  std::uint64_t duration_us = 0;
  std::uint64_t ttfb_us = 0;  // from the request's head to the response's, all attempts included
  std::array<AttemptRecord, kAttemptsMax> attempts{};
  /// May exceed kAttemptsMax: then the first are kept, and the last in the last place.
  std::uint32_t attempt_count = 0;
};

/// Somebody may ask what became of it: it failed or was refused, was tried again, cut, slow, or
/// answered 5xx.
[[nodiscard]] inline bool is_notable(const RequestRecord& record, std::uint64_t slow_us) noexcept {
  bool notable = record.reason != Fault::none;  // one branch for all of it
  notable |= record.status >= 500;
  notable |= record.cut;
  notable |= record.attempt_count > 1;
  notable |= !record.tunnel & (record.duration_us >= slow_us);
  return notable;
}

/// Takes records without blocking and without allocating. Thread: one worker's.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  virtual void write(const RequestRecord& record) noexcept = 0;
};

}  // namespace lbd::proxy
