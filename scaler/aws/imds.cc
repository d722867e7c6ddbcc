#include "scaler/aws/imds.h"

#include <fmt/format.h>

#include "scaler/aws/ini.h"

namespace lbd::aws {
namespace {

constexpr std::chrono::seconds kTimeout{1};
constexpr std::chrono::seconds kTokenLifetime{21600};
constexpr std::chrono::seconds kTokenMargin{60};
constexpr std::size_t kReplyBytesMax = 64 * 1024;

net::HttpRequest make_request(std::string method, std::string url) {
  net::HttpRequest request;
  request.method = std::move(method);
  request.url = std::move(url);
  request.connect_timeout = kTimeout;
  request.timeout = kTimeout;
  request.reply_bytes_max = kReplyBytesMax;
  return request;
}

/// One word of a name's characters; anything else is not metadata but, say, a portal's login page.
bool is_word(const std::string& text) {
  const std::string_view allowed = "abcdefghijklmnopqrstuvwxyz0123456789-";
  return !text.empty() && text.size() < 64 && text.find_first_not_of(allowed) == std::string::npos;
}

}  // namespace

std::string Imds::endpoint() const {
  std::string url = variable(parts_.machine, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
  const std::string mode = variable(parts_.machine, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
  if (url.empty()) {
    const bool v6 = mode == "IPv6" || mode == "ipv6";
    url = v6 ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
  }
  while (url.ends_with('/')) url.pop_back();
  return url;
}

Task<std::string> Imds::acquire_token() {
  net::HttpRequest request = make_request("PUT", endpoint() + "/latest/api/token");
  request.headers.emplace_back("x-aws-ec2-metadata-token-ttl-seconds",
                               fmt::to_string(kTokenLifetime.count()));
  const TimePoint asked = parts_.clock.now();
  const net::HttpReply reply = co_await parts_.http.send(std::move(request));
  std::string error;
  if (reply.status == 200 && reply.body.find_first_of("\r\n") == std::string::npos) {
    state_ = TokenState::held;
    token_ = reply.body;
    token_until_ = asked + kTokenLifetime - kTokenMargin;
    co_return error;
  }
  // An answer that got lost may be the hop limit's doing (a container): version 1 has none.
  const bool old = reply.status == 403 || reply.status == 404 || reply.status == 405;
  const bool lost = reply.status == 0 && reply.sent;
  if ((old || lost) && !is_true(variable(parts_.machine, "AWS_EC2_METADATA_V1_DISABLED"))) {
    state_ = TokenState::version_1;
    co_return error;
  }
  error = reply.status == 0
              ? fmt::format("the instance metadata service does not answer: {}", reply.error)
              : fmt::format("the instance metadata service refuses a token: HTTP {}", reply.status);
  co_return error;
}

Task<ImdsReply> Imds::get(std::string path) {
  ImdsReply made;
  if (is_true(variable(parts_.machine, "AWS_EC2_METADATA_DISABLED"))) {
    made.error = "the instance metadata service is off (AWS_EC2_METADATA_DISABLED)";
    co_return made;
  }
  for (int attempt = 1; attempt <= 2; ++attempt) {
    if (state_ == TokenState::held && parts_.clock.now() >= token_until_) {
      state_ = TokenState::none;
    }
    if (state_ == TokenState::none) {
      made.error = co_await acquire_token();
      if (!made.error.empty()) co_return made;
    }
    net::HttpRequest request = make_request("GET", endpoint() + path);
    if (state_ == TokenState::held) {
      request.headers.emplace_back("x-aws-ec2-metadata-token", token_);
    }
    net::HttpReply reply = co_await parts_.http.send(std::move(request));
    made.status = reply.status;
    made.body = std::move(reply.body);
    if (reply.status == 200) co_return made;
    made.error = reply.status == 0
                     ? fmt::format("the instance metadata service does not answer: {}", reply.error)
                     : fmt::format("the instance metadata service answers HTTP {} to {}",
                                   reply.status, path);
    const bool token_gone = reply.status == 401;
    if (token_gone || state_ == TokenState::version_1) state_ = TokenState::none;
    if (!token_gone) co_return made;
  }
  co_return made;
}

Task<std::optional<std::string>> Imds::availability_zone() {
  ImdsReply reply = co_await get("/latest/meta-data/placement/availability-zone");
  std::optional<std::string> zone;
  if (reply.status == 200 && is_word(reply.body)) zone = std::move(reply.body);
  co_return zone;
}

Task<std::optional<std::string>> Imds::region() {
  ImdsReply reply = co_await get("/latest/meta-data/placement/region");
  std::optional<std::string> region;
  if (reply.status == 200 && is_word(reply.body)) region = std::move(reply.body);
  co_return region;
}

}  // namespace lbd::aws
