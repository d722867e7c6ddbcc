// AWS Signature Version 4: header signing and presigned URLs. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lbd/base/clock.h"

namespace lbd::aws {

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  // empty: none
  friend bool operator==(const Credentials&, const Credentials&) = default;
};

struct SigningScope {
  std::string region;
  std::string service;  // the signing name: ec2, monitoring, sts, s3, …
  WallTime at{};
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct SignableRequest {
  std::string method = "POST";
  std::string url;  // as it goes over the wire
  Headers headers;
  std::string body;
};

/// What the request's headers must gain: host, x-amz-date, x-amz-security-token when there is one,
/// x-amz-content-sha256 for S3, and authorization. The request's own headers are signed too, but
/// for those that intermediaries change (user-agent, connection, expect, …).
[[nodiscard]] Headers sign(const SignableRequest& request, const Credentials& credentials,
                           const SigningScope& scope);

/// The URL with its signature, good for `lifetime` (at most a week). Only the host is signed.
[[nodiscard]] std::string presign(const SignableRequest& request, const Credentials& credentials,
                                  const SigningScope& scope, std::chrono::seconds lifetime);

}  // namespace lbd::aws
