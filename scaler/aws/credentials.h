// Where credentials come from: environment, shared files, container endpoint, instance metadata;
// kept until they are about to expire.
#pragma once

#include <optional>
#include <string>

#include "lbd/base/event.h"
#include "lbd/base/task.h"
#include "scaler/aws/imds.h"
#include "scaler/aws/ini.h"
#include "scaler/aws/parts.h"
#include "scaler/aws/sigv4.h"

namespace lbd::aws {

struct CredentialsReply {
  std::optional<Credentials> credentials;
  std::string error;  // a sentence, when there are none
};

/// What a provider in the chain found.
struct FoundCredentials {
  Credentials credentials;
  std::optional<WallTime> expires;
  std::string source;  // "environment", "profile web", "container endpoint", "instance metadata"
  bool from_instance = false;  // may be used after their expiry, as AWS asks of its clients
};

/// Pure. The JSON of the container endpoint and of IMDS.
[[nodiscard]] Outcome<FoundCredentials> parse_credentials_json(const std::string& text);

/// Pure. Whether the container credentials may be asked for at this URL: https, or http to this
/// host or one of AWS's link-local addresses.
[[nodiscard]] bool container_url_allowed(std::string_view url);

/// Thread: the parts'. Calls may overlap: they share one refresh. Lifetime: outlives its tasks.
///
/// Refresh is tried from 15 min before expiry. A refresh that fails keeps the old ones while they
/// are valid; those of the instance metadata even longer ("static stability").
class CredentialChain {
 public:
  /// `profile`: of the configuration; set, it goes before the environment. Empty: none.
  CredentialChain(const AwsParts& parts, std::string profile)
      : parts_(parts), imds_(parts), profile_(std::move(profile)) {}

  Task<CredentialsReply> get();
  /// AWS refused `used`: the next `get` looks anew, unless it holds others already.
  void distrust(const Credentials& used);
  /// How far AWS's clock is ahead of this host's, by which expiries are judged from now on.
  void correct_clock(Duration offset);
  /// Where the current ones come from; empty before the first `get`.
  [[nodiscard]] std::string source() const { return held_ ? held_->source : std::string(); }

 private:
  using Found = Outcome<std::optional<FoundCredentials>>;  // nothing: ask the next in the chain

  [[nodiscard]] bool refresh_due() const;
  [[nodiscard]] WallTime aws_time() const;
  /// By AWS's clock; nothing: never.
  [[nodiscard]] std::optional<WallTime> held_until() const;
  Task<> refresh();
  void take(Found found);
  Task<Found> search();
  [[nodiscard]] Found from_environment() const;
  [[nodiscard]] Found from_profile() const;
  [[nodiscard]] Found container_url() const;  // in `source`, when the environment has one
  Task<Found> from_container();
  Task<Found> from_instance();

  AwsParts parts_;
  Imds imds_;
  std::string profile_;
  std::optional<FoundCredentials> held_;
  std::optional<WallTime> kept_until_;  // past their expiry, see take
  Duration offset_{};
  bool distrusted_ = false;
  TimePoint refreshed_at_{};  // tried, that is
  std::string error_;
  bool refreshing_ = false;
  Event refreshed_;
};

/// The region: the configuration's, AWS_REGION, AWS_DEFAULT_REGION, the profile's, this instance's.
/// Fails with a sentence when there is none.
Task<Outcome<std::string>> resolve_region(AwsParts parts, std::string configured,
                                          std::string profile);

}  // namespace lbd::aws
