#include "scaler/aws/credentials.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "scaler/aws/encoding.h"

namespace lbd::aws {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr minutes kAdvisory{15};       // refresh if it works
constexpr minutes kMandatory{10};      // refresh with more haste
constexpr seconds kAdvisoryPause{60};  // between two failed refreshes
constexpr seconds kMandatoryPause{10};
constexpr seconds kContainerTimeout{2};
constexpr seconds kContainerPause{1};
constexpr int kContainerTries = 3;
constexpr std::size_t kTokenBytesMax = 64 * 1024;

std::string text_of(const boost::json::object& object, std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  const boost::json::string* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(text->c_str(), text->size());
}

std::string host_of(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return {};
  url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  if (url.find('@') != std::string_view::npos) return {};
  if (url.starts_with('[')) return std::string(url.substr(0, url.find(']') + 1));
  return std::string(url.substr(0, url.find(':')));
}

bool is_loopback_v4(std::string_view host) {
  return host.starts_with("127.") &&
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

std::optional<FoundCredentials> static_credentials(std::string id, std::string secret,
                                                   std::string token, std::string source) {
  FoundCredentials found;
  found.credentials = {std::move(id), std::move(secret), std::move(token)};
  found.source = std::move(source);
  return found;
}

}  // namespace

Outcome<FoundCredentials> parse_credentials_json(const std::string& text) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(text, error);
  const boost::json::object* object = error ? nullptr : value.if_object();
  if (object == nullptr) return failure("the answer is not JSON");
  const std::string code = text_of(*object, "Code");
  if (!code.empty() && code != "Success") {
    return failure(fmt::format("{}: {}", code, text_of(*object, "Message")));
  }
  FoundCredentials found;
  found.credentials = {text_of(*object, "AccessKeyId"), text_of(*object, "SecretAccessKey"),
                       text_of(*object, "Token")};
  if (found.credentials.access_key_id.empty() || found.credentials.secret_access_key.empty()) {
    return failure("the answer holds no key");
  }
  const std::string expires = text_of(*object, "Expiration");
  found.expires = parse_iso_time(expires);
  if (!expires.empty() && !found.expires) {
    return failure(fmt::format("the answer's expiry is no time: {}", expires));
  }
  return found;
}

bool container_url_allowed(std::string_view url) {
  const std::string host = host_of(url);
  if (host.empty()) return false;
  if (url.starts_with("https://")) return true;
  if (!url.starts_with("http://")) return false;
  for (const std::string_view each :
       {"localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"}) {
    if (host == each) return true;
  }
  return is_loopback_v4(host);
}

CredentialChain::Found CredentialChain::from_environment() const {
  const std::string id = variable(parts_.machine, "AWS_ACCESS_KEY_ID");
  if (id.empty() || !profile_.empty()) return std::optional<FoundCredentials>();
  const std::string secret = variable(parts_.machine, "AWS_SECRET_ACCESS_KEY");
  if (secret.empty()) {
    return failure("AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not");
  }
  std::string token = variable(parts_.machine, "AWS_SESSION_TOKEN");
  if (token.empty()) token = variable(parts_.machine, "AWS_SECURITY_TOKEN");
  std::optional<FoundCredentials> found = static_credentials(id, secret, token, "environment");
  found->expires = parse_iso_time(variable(parts_.machine, "AWS_CREDENTIAL_EXPIRATION"));
  return found;
}

CredentialChain::Found CredentialChain::from_profile() const {
  const Profile profile = load_profile(parts_.machine, profile_);
  const std::string id = profile.value("aws_access_key_id");
  const std::string secret = profile.value("aws_secret_access_key");
  if (profile.explicitly && !profile.found) {
    return failure(fmt::format("the profile {} is in neither shared file", profile.name));
  }
  for (const char* key : {"role_arn", "web_identity_token_file", "sso_session", "sso_start_url"}) {
    if (profile.value(key).empty()) continue;
    return failure(fmt::format("profile {}: {} is not supported yet", profile.name, key));
  }
  if (profile_.empty() && !variable(parts_.machine, "AWS_WEB_IDENTITY_TOKEN_FILE").empty()) {
    return failure("AWS_WEB_IDENTITY_TOKEN_FILE is not supported yet");
  }
  if (!id.empty() && !secret.empty()) {
    return static_credentials(id, secret, profile.value("aws_session_token"),
                              "profile " + profile.name);
  }
  if (!id.empty()) {
    return failure(fmt::format("profile {} has a key id but no secret", profile.name));
  }
  if (!profile.value("credential_process").empty()) {
    return failure(
        fmt::format("profile {}: credential_process is not supported yet", profile.name));
  }
  return std::optional<FoundCredentials>();
}

CredentialChain::Found CredentialChain::container_url() const {
  const std::string relative = variable(parts_.machine, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  std::string url = variable(parts_.machine, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (!relative.empty()) url = "http://169.254.170.2" + relative;
  if (url.empty()) return std::optional<FoundCredentials>();
  if (!container_url_allowed(url)) {
    return failure(fmt::format("container credentials: {} is neither https nor local", url));
  }
  FoundCredentials found;
  found.source = url;
  return std::optional<FoundCredentials>(std::move(found));
}

Task<CredentialChain::Found> CredentialChain::from_container() {
  Found url = container_url();
  if (!url || !*url) co_return url;
  std::string token = variable(parts_.machine, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
  const std::string file = variable(parts_.machine, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  if (!file.empty()) {
    const Outcome<std::string> content = parts_.machine.read(file, kTokenBytesMax);
    if (!content) {
      co_return failure(
          fmt::format("container credentials: {}: {}", file, content.error().message));
    }
    token = *content;
  }
  if (token.find_first_of("\r\n") != std::string::npos) {
    co_return failure("container credentials: the token holds a line break");
  }
  std::string error;
  for (int attempt = 1; attempt <= kContainerTries; ++attempt) {
    if (attempt > 1) co_await sleep_for(parts_.clock, kContainerPause);
    net::HttpRequest request;
    request.url = (*url)->source;
    request.headers.emplace_back("accept", "application/json");
    if (!token.empty()) request.headers.emplace_back("authorization", token);
    request.connect_timeout = kContainerTimeout;
    request.timeout = kContainerTimeout;
    const net::HttpReply reply = co_await parts_.http.send(std::move(request));
    error = reply.status == 0 ? reply.error : fmt::format("HTTP {}", reply.status);
    if (reply.status != 200) continue;
    Outcome<FoundCredentials> found = parse_credentials_json(reply.body);
    if (found) {
      found->source = "container endpoint";
      co_return std::optional<FoundCredentials>(std::move(*found));
    }
    error = found.error().message;
  }
  co_return failure(fmt::format("container credentials: {}", error));
}

Task<CredentialChain::Found> CredentialChain::from_instance() {
  const std::string folder = "/latest/meta-data/iam/security-credentials/";
  ImdsReply role = co_await imds_.get(folder);
  if (role.status == 404) co_return failure("this instance has no IAM role");
  if (role.status != 200) co_return failure(role.error);
  const std::string name = role.body.substr(0, role.body.find_first_of("\r\n"));
  if (name.empty()) co_return failure("this instance has no IAM role");
  std::string path = folder + uri_encode(name);
  ImdsReply reply = co_await imds_.get(std::move(path));
  if (reply.status != 200) co_return failure(reply.error);
  Outcome<FoundCredentials> found = parse_credentials_json(reply.body);
  if (!found) {
    co_return failure(fmt::format("instance role {}: {}", name, found.error().message));
  }
  found->source = "instance metadata";
  found->from_instance = true;
  co_return std::optional<FoundCredentials>(std::move(*found));
}

/// The chain: the first that has credentials, or that should have and fails, decides.
Task<CredentialChain::Found> CredentialChain::search() {
  Found found = from_environment();
  if (!found || *found) co_return found;
  found = from_profile();
  if (!found || *found) co_return found;
  found = co_await from_container();
  if (!found || *found) co_return found;
  found = co_await from_instance();
  if (!found) {
    co_return failure(
        fmt::format("no AWS credentials in environment, shared files or container endpoint, and {}",
                    found.error().message));
  }
  co_return found;
}

void CredentialChain::take(Found found) {
  const WallTime now = aws_time();
  refreshed_at_ = parts_.clock.now();
  if (found) {
    const bool same = held_ && held_->credentials == (*found)->credentials;
    if (!held_) {
      parts_.log.info("AWS credentials found", {{"source", (*found)->source}});
    } else if (!same) {
      parts_.log.info("AWS credentials renewed", {{"source", (*found)->source}});
    }
    held_ = std::move(*found);
    kept_until_.reset();
    error_.clear();
  } else {
    error_ = found.error().message;
    parts_.log.warning("AWS credentials not renewed", {{"error", error_}});
  }
  distrusted_ = false;
  const std::optional<WallTime> until = held_until();
  if (held_ && held_->from_instance && until && *until <= now) {
    // The metadata service is behind: better old ones that AWS may still take than none.
    kept_until_ = now + kAdvisory + minutes(2) + seconds(parts_.rng.below(480));
  }
}

Task<> CredentialChain::refresh() {
  refreshing_ = true;
  refreshed_.reset();
  Found found = co_await search();
  take(std::move(found));
  refreshing_ = false;
  refreshed_.set();
}

bool CredentialChain::refresh_due() const {
  if (!held_ || distrusted_) return true;
  const std::optional<WallTime> until = held_until();
  if (!until) return false;
  const auto left = *until - aws_time();
  if (left <= WallTime::duration::zero()) return true;
  if (left >= kAdvisory) return false;
  const Duration pause = left < kMandatory ? kMandatoryPause : kAdvisoryPause;
  return parts_.clock.now() - refreshed_at_ >= pause;
}

Task<CredentialsReply> CredentialChain::get() {
  if (refresh_due()) {
    if (refreshing_) {
      co_await refreshed_.wait();
    } else {
      co_await refresh();
    }
  }
  CredentialsReply reply;
  const std::optional<WallTime> until = held_until();
  const bool valid = held_ && (!until || *until > aws_time());
  if (valid) reply.credentials = held_->credentials;
  if (!valid) reply.error = error_.empty() ? "the AWS credentials have expired" : error_;
  co_return reply;
}

void CredentialChain::distrust(const Credentials& used) {
  if (held_ && held_->credentials == used) distrusted_ = true;
}

void CredentialChain::correct_clock(Duration offset) {
  offset_ = offset;
  kept_until_.reset();  // judged by the wrong clock
}

WallTime CredentialChain::aws_time() const {
  return parts_.clock.wall() + std::chrono::duration_cast<WallTime::duration>(offset_);
}

std::optional<WallTime> CredentialChain::held_until() const {
  if (!held_ || kept_until_) return kept_until_;
  return held_->expires;
}

Task<Outcome<std::string>> resolve_region(AwsParts parts, std::string configured,
                                          std::string profile) {
  std::string region = std::move(configured);
  if (region.empty()) region = variable(parts.machine, "AWS_REGION");
  if (region.empty()) region = variable(parts.machine, "AWS_DEFAULT_REGION");
  if (region.empty()) region = load_profile(parts.machine, profile).value("region");
  if (region.empty()) {
    Imds imds(parts);
    std::optional<std::string> own = co_await imds.region();
    if (own) region = std::move(*own);
  }
  if (region.empty()) {
    co_return failure("no AWS region: set ec2.region, AWS_REGION or the profile's region");
  }
  Outcome<std::string> found(boost::system::in_place_value, std::move(region));
  co_return found;
}

}  // namespace lbd::aws
