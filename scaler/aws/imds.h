// The instance metadata service (IMDSv2): what this host, if it is an EC2 instance, knows of
// itself.
#pragma once

#include <optional>
#include <string>

#include "lbd/base/task.h"
#include "scaler/aws/parts.h"

namespace lbd::aws {

struct ImdsReply {
  int status = 0;  // 0: no answer
  std::string body;
  std::string error;  // a sentence, when the status is not 200
};

/// Honours AWS_EC2_METADATA_DISABLED, AWS_EC2_METADATA_SERVICE_ENDPOINT, …_ENDPOINT_MODE and
/// AWS_EC2_METADATA_V1_DISABLED. Each request waits 1 s at most. Thread: the parts'. Lifetime:
/// outlives its tasks.
class Imds {
 public:
  explicit Imds(const AwsParts& parts) : parts_(parts) {}

  /// `path` such as "/latest/meta-data/placement/region". A session token is fetched first and
  /// kept; one that the service no longer knows is replaced once.
  Task<ImdsReply> get(std::string path);
  /// This host's Availability Zone; nothing when it is no EC2 instance.
  Task<std::optional<std::string>> availability_zone();
  /// This host's region; nothing when it is no EC2 instance.
  Task<std::optional<std::string>> region();

 private:
  enum class TokenState : std::uint8_t { none, held, version_1 };

  Task<std::string> acquire_token();  // the error, empty when fine
  [[nodiscard]] std::string endpoint() const;

  AwsParts parts_;
  TokenState state_ = TokenState::none;
  std::string token_;
  TimePoint token_until_{};
};

}  // namespace lbd::aws
