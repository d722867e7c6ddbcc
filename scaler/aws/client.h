// A signed call to one of AWS's query-protocol services, with the retries that are safe.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lbd/base/task.h"
#include "scaler/aws/credentials.h"
#include "scaler/aws/encoding.h"
#include "scaler/aws/endpoint.h"
#include "scaler/aws/errors.h"
#include "scaler/aws/parts.h"
#include "scaler/aws/retry.h"
#include "scaler/aws/xml.h"

namespace lbd::aws {

/// One HTTP attempt's outcome, as metrics have it.
struct CallKey {
  std::string service;  // ec2
  std::string action;   // RunInstances
  std::string code;     // ok, InsufficientInstanceCapacity, NoReply, …
  friend auto operator<=>(const CallKey&, const CallKey&) = default;
};

/// Upper bounds in seconds: an attempt takes from milliseconds to its timeout.
inline constexpr std::array<double, 11> kCallBounds{0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                    1,    2.5,   5,    10,  20};
/// How long attempts took until their answer, or until there was none.
struct CallTimes {
  std::array<std::uint64_t, kCallBounds.size() + 1> buckets{};  // not cumulative
  double sum = 0;                                               // seconds

  void record(Duration took) noexcept;
};

/// What all clients of a process share: the counters, and the buckets that keep RunInstances below
/// the account's limit (5, then 2 a second, per account and region). Thread: the control loop.
struct AwsShared {
  std::map<CallKey, std::uint64_t> calls;                          // attempts
  std::map<std::pair<std::string, std::string>, CallTimes> times;  // by service and action
  std::map<std::string, TokenBucket> launches;                     // by "profile/region"
};

struct ClientConfig {
  std::string region;   // empty: see resolve_region
  std::string profile;  // empty: none named
  std::string ec2_url;  // goes before AWS_ENDPOINT_URL_EC2; empty: none
  Duration connect_timeout = std::chrono::seconds(2);
};

struct AwsCall {
  Service service;
  std::string action;
  Form parameters;  // without Action and Version
  int attempts_max = kAttemptsMax;
  Duration timeout = std::chrono::seconds(20);  // of one attempt
};

struct AwsReply {
  std::optional<scaler::CallFailure> failure;
  /// With a failure: one of the attempts may have had its effect.
  bool may_have_happened = false;
  XmlNode body;  // without a failure: the answer's root element
  std::string request_id;
};

/// Thread: the parts'. Calls may overlap. Lifetime: outlives its tasks.
class Client {
 public:
  Client(const AwsParts& parts, ClientConfig config, std::shared_ptr<AwsShared> shared);

  /// At most three attempts, each signed anew. Credentials that AWS says are expired are looked up
  /// again once, and a clock that differs from AWS's by 4 min or more is corrected once; neither
  /// counts as an attempt.
  Task<AwsReply> call(AwsCall call);
  /// The region, once known.
  [[nodiscard]] const std::string& region() const noexcept { return region_; }
  [[nodiscard]] std::string credentials_source() const { return credentials_.source(); }
  /// How far AWS's clock is ahead of ours, once it mattered.
  [[nodiscard]] Duration clock_offset() const noexcept { return offset_; }
  /// One sentence for each attempt that failed and was repeated since the last look; the first
  /// kRemarksMax.
  [[nodiscard]] std::vector<std::string> take_remarks() { return std::exchange(remarks_, {}); }

 private:
  static constexpr std::size_t kRemarksMax = 20;

  struct Attempts {
    std::string invocation;
    int most = kAttemptsMax;
    int made = 0;  // retries that count
    std::uint32_t taken = 0;
    bool renewed = false;   // credentials were looked up again
    bool renewing = false;  // and are about to be
    bool corrected = false;
    bool may_have_happened = false;
    Credentials used;
  };

  Task<std::optional<scaler::CallFailure>> prepare(const Service& service);
  [[nodiscard]] net::HttpRequest make_request(const AwsCall& call, const Attempts& attempts);
  Task<> pace(std::string action);
  void count(const AwsCall& call, const std::string& code, Duration took);
  /// How long to wait before the next attempt; nothing: give up.
  std::optional<Duration> next_attempt(const net::HttpReply& reply, const Verdict& verdict,
                                       Attempts& attempts);
  std::optional<Duration> next_after_renewal(const net::HttpReply& reply, Attempts& attempts);
  [[nodiscard]] std::string new_invocation();
  [[nodiscard]] WallTime aws_time() const;

  AwsParts parts_;
  ClientConfig config_;
  std::shared_ptr<AwsShared> shared_;
  CredentialChain credentials_;
  RetryQuota quota_;
  std::string region_;
  std::map<std::string, std::string> endpoints_;  // by signing name
  std::string ca_file_;
  Duration offset_{};
  std::vector<std::string> remarks_;
};

/// Pure. An answer as failure, or as its XML.
struct ReadReply {
  ErrorFacts facts;  // code empty: success
  XmlNode body;
  std::string request_id;
};
[[nodiscard]] ReadReply read_reply(const net::HttpReply& reply);

}  // namespace lbd::aws
