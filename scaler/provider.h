// The seam to whatever runs instances: EC2, local processes, or the simulation's cloud.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/clock.h"
#include "lbd/base/task.h"

namespace lbd::scaler {

/// What the provider says of an instance; the fleet's own states are richer (fleet.h).
enum class ReportedState : std::uint8_t { pending, running, stopping, terminated };

struct ReportedInstance {
  std::string id;  // i-0abc…, or process-<token>
  std::string zone;
  ReportedState state = ReportedState::pending;
  std::string address;       // private IP; empty while unknown
  std::uint16_t port = 0;    // 0: the target group's port; the process provider gives each its own
  std::string client_token;  // of the launch, when the provider keeps it
  std::string state_reason;  // Server.InsufficientInstanceCapacity, exit status 1, …
  WallTime launched{};
  bool status_impaired = false;  // DescribeInstanceStatus, or not running
};

struct LaunchRequest {
  std::string group;
  std::string zone;
  /// At most 64 ASCII characters. Same token + same zone is the same launch, however often it is
  /// sent.
  std::string client_token;
};

enum class CallError : std::uint8_t {
  none,
  capacity,       // this zone has none (or never will): next zone now, breaker on this one
  account_limit,  // no zone will do: stop launching for a while
  throttled,      // later
  not_found,      // terminate: already gone (not a proof right after a launch)
  denied,         // credentials or permission: an admin must act
  invalid,        // our request or configuration is wrong: an admin must act
  transient,      // the provider failed; nothing is known to have happened
  unknown,  // sent, no answer: it may have happened; ask again with the same token, or look for it
};

/// "capacity", "account_limit", …: a label of metrics.
[[nodiscard]] constexpr std::string_view call_error_name(CallError error) {
  constexpr std::string_view kNames[]{"none",      "capacity",  "account_limit",
                                      "throttled", "not_found", "denied",
                                      "invalid",   "transient", "unknown"};
  return kNames[static_cast<std::size_t>(error)];
}

struct CallFailure {
  CallError error = CallError::none;
  std::string code;     // InsufficientInstanceCapacity, ECONNRESET, …
  std::string message;  // a sentence
  /// With `capacity`: only a part of the zone has none (an EC2 subnet without free addresses), and
  /// that part is left out from now on. A launch there with another token may work.
  bool zone_has_room = false;
};

struct LaunchReply {
  std::optional<CallFailure> failure;
  ReportedInstance instance;  // when no failure
};
struct TerminateReply {
  std::optional<CallFailure> failure;
};
struct DescribeReply {
  std::optional<CallFailure> failure;
  std::vector<ReportedInstance>
      instances;  // every one of the group, terminated ones while the provider shows them
};
struct CpuSample {
  std::string instance;
  double ratio = 0;  // 0..1 (and above, where a share can be exceeded)
  TimePoint at{};    // when it was true, not when it was read
  Duration span{};   // it is the mean of this long up to `at`; 0: of the last moments
};
struct CpuReply {
  std::optional<CallFailure> failure;
  std::vector<CpuSample> samples;  // of an instance oldest first; with a failure, those that came
};

/// One per scaling group. Thread: the control loop. Every call ends, within its own deadline, with
/// a reply or a failure; none throws. Calls may overlap.
class Provider {
 public:
  virtual ~Provider() = default;
  /// Zones this group may launch in, in a stable order. Empty until `start` has succeeded.
  [[nodiscard]] virtual const std::vector<std::string>& zones() const = 0;
  /// Checks identity, credentials and zones. May be called again after a failure.
  virtual Task<std::optional<CallFailure>> start() = 0;
  virtual Task<LaunchReply> launch(LaunchRequest request) = 0;
  virtual Task<TerminateReply> terminate(std::string instance) = 0;
  virtual Task<DescribeReply> describe() = 0;
  /// Provider-made CPU figures (process accounting, CloudWatch). May be empty.
  virtual Task<CpuReply> cpu(std::vector<std::string> instances) = 0;
  /// Sentences about calls that the provider repeated by itself since the last look, for the
  /// history: what no reply tells because the call went well in the end.
  [[nodiscard]] virtual std::vector<std::string> take_remarks() { return {}; }
  /// How often `describe` is worth calling.
  [[nodiscard]] virtual Duration describe_interval() const = 0;
  /// After this long a launch that happened surely shows in `describe`. Until then an unanswered
  /// one is not asked for again.
  [[nodiscard]] virtual Duration visibility_delay() const { return std::chrono::seconds(30); }
};

}  // namespace lbd::scaler
