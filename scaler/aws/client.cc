#include "scaler/aws/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "scaler/aws/ini.h"
#include "scaler/aws/sigv4.h"

namespace lbd::aws {
namespace {

using scaler::CallFailure;

constexpr std::chrono::minutes kSkewMin{4};
constexpr double kLaunchBurst = 5;
constexpr double kLaunchesPerSecond = 2;
constexpr std::string_view kFormType = "application/x-www-form-urlencoded; charset=utf-8";
constexpr std::size_t kReplyBytesMax = 32 << 20;
constexpr std::size_t kMessageBytesMax = 1000;

std::optional<Duration> retry_hint(const net::HttpReply& reply) {
  const std::string_view text = reply.header("x-amz-retry-after");
  std::int64_t millis = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), millis);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (text.empty() || !whole || millis < 0 || millis > 3'600'000) return std::nullopt;
  return std::chrono::milliseconds(millis);
}

/// For one line of a log: no control characters, not endless.
std::string printable(std::string_view text) {
  std::string made(text.substr(0, kMessageBytesMax));
  for (char& c : made) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return made;
}

/// Codes become metric labels: what does not look like one is none.
bool is_code(std::string_view text) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:";
  return !text.empty() && text.size() <= 80 &&
         text.find_first_not_of(kAllowed) == std::string_view::npos;
}

/// The error element of either protocol.
void read_error(const XmlNode& root, ReadReply& read) {
  const XmlNode* error = root.find("Errors/Error");  // ec2
  if (error == nullptr) error = root.find("Error");  // query
  if (error == nullptr && root.name == "Error") error = &root;
  if (error == nullptr) return;
  if (is_code(error->text_at("Code"))) read.facts.code = error->text_at("Code");
  read.facts.message = printable(error->text_at("Message"));
}

}  // namespace

ReadReply read_reply(const net::HttpReply& reply) {
  ReadReply read;
  read.facts.status = reply.status;
  if (reply.status == 0) {
    read.facts.sent = reply.sent;
    read.facts.code = reply.sent ? "NoReply" : "ConnectionFailed";
    read.facts.message = printable(reply.error);
    return read;
  }
  std::optional<XmlNode> root = parse_xml(reply.body);
  const bool good = reply.status >= 200 && reply.status < 300;
  if (root) {
    for (const char* path : {"requestId", "RequestID", "RequestId", "ResponseMetadata/RequestId"}) {
      if (read.request_id.empty()) read.request_id = printable(root->text_at(path));
    }
    if (!good) read_error(*root, read);
  }
  if (!good && read.facts.code.empty()) {
    read.facts.code = fmt::format("HTTP{}", reply.status);
    read.facts.message = fmt::format("AWS answers HTTP {} without an error code", reply.status);
  } else if (good && !root) {
    read.facts.code = "BadReply";
    read.facts.message = "AWS's answer cannot be read: it is not XML";
  } else if (good) {
    read.body = std::move(*root);
  }
  return read;
}

Client::Client(const AwsParts& parts, ClientConfig config, std::shared_ptr<AwsShared> shared)
    : parts_(parts),
      config_(std::move(config)),
      shared_(std::move(shared)),
      credentials_(parts, config_.profile) {}

WallTime Client::aws_time() const {
  return parts_.clock.wall() + std::chrono::duration_cast<WallTime::duration>(offset_);
}

std::string Client::new_invocation() {
  const std::uint64_t high = (parts_.rng.next() & ~0xF000ULL) | 0x4000ULL;
  const std::uint64_t low = (parts_.rng.next() & ~(3ULL << 62)) | (2ULL << 62);
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xFFFF,
                     high & 0xFFFF, low >> 48, low & 0xFFFFFFFFFFFFULL);
}

/// Region, endpoint and trusted authorities: found once.
Task<std::optional<CallFailure>> Client::prepare(const Service& service) {
  std::optional<CallFailure> failed;
  if (region_.empty()) {
    Outcome<std::string> region = co_await resolve_region(parts_, config_.region, config_.profile);
    if (!region) {
      failed = CallFailure{CallError::invalid, "NoRegion", region.error().message};
      co_return failed;
    }
    region_ = std::move(*region);
  }
  const std::string name(service.signing_name);
  if (endpoints_.contains(name)) co_return failed;
  const Profile profile = load_profile(parts_.machine, config_.profile);
  const EndpointQuestion question{service, region_,
                                  name == kEc2.signing_name ? config_.ec2_url : std::string()};
  Outcome<std::string> url = resolve_endpoint(question, parts_.machine, profile);
  if (!url) {
    failed = CallFailure{CallError::invalid, "NoEndpoint", url.error().message};
    co_return failed;
  }
  ca_file_ = variable(parts_.machine, "AWS_CA_BUNDLE");
  if (ca_file_.empty()) ca_file_ = profile.value("ca_bundle");
  endpoints_[name] = std::move(*url);
  co_return failed;
}

net::HttpRequest Client::make_request(const AwsCall& call, const Attempts& attempts) {
  Form form{{"Action", call.action}, {"Version", std::string(call.service.version)}};
  form.insert(form.end(), call.parameters.begin(), call.parameters.end());
  const std::string name(call.service.signing_name);
  SignableRequest signable;
  signable.url = endpoints_.at(name);
  signable.body = form_body(form);
  signable.headers = {
      {"content-type", std::string(kFormType)},
      {"amz-sdk-invocation-id", attempts.invocation},
      {"amz-sdk-request", fmt::format("attempt={}; max={}", attempts.made + 1, attempts.most)}};
  const SigningScope scope{region_, name, aws_time()};
  const Headers gained = sign(signable, attempts.used, scope);
  net::HttpRequest request;
  request.method = signable.method;
  request.url = std::move(signable.url);
  request.headers = std::move(signable.headers);
  request.headers.insert(request.headers.end(), gained.begin(), gained.end());
  request.headers.emplace_back("user-agent", "lbd/0.1");
  request.body = std::move(signable.body);
  request.connect_timeout = config_.connect_timeout;
  request.timeout = call.timeout;
  request.reply_bytes_max = kReplyBytesMax;
  request.ca_file = ca_file_;
  return request;
}

/// Waits until a launch may be sent; anything else at once.
Task<> Client::pace(std::string action) {
  if (action != "RunInstances") co_return;
  const auto [bucket, fresh] = shared_->launches.try_emplace(
      fmt::format("{}/{}", config_.profile, region_), kLaunchBurst, kLaunchesPerSecond);
  const Duration wait = bucket->second.reserve(parts_.clock.now());
  if (wait > Duration::zero()) co_await sleep_for(parts_.clock, wait);
}

void Client::count(const AwsCall& call, const std::string& code, Duration took) {
  const std::string service(call.service.signing_name);
  ++shared_->calls[CallKey{service, call.action, code.empty() ? "ok" : code}];
  shared_->times[{service, call.action}].record(took);
}

void CallTimes::record(Duration took) noexcept {
  const double seconds = std::chrono::duration<double>(std::max(took, Duration(0))).count();
  const auto bound = std::lower_bound(kCallBounds.begin(), kCallBounds.end(), seconds);
  ++buckets[static_cast<std::size_t>(bound - kCallBounds.begin())];
  sum += seconds;
}

/// AWS refuses who we are or when: a wrong clock or old credentials can be put right, once each.
std::optional<Duration> Client::next_after_renewal(const net::HttpReply& reply,
                                                   Attempts& attempts) {
  const std::optional<WallTime> theirs = parse_http_date(reply.header("date"));
  const auto off = theirs ? *theirs - aws_time() : WallTime::duration::zero();
  if (!attempts.corrected && (off >= kSkewMin || off <= -kSkewMin)) {
    attempts.corrected = true;
    offset_ = *theirs - parts_.clock.wall();
    credentials_.correct_clock(offset_);
    parts_.log.warning(
        "this host's clock is wrong; AWS calls are signed with AWS's time",
        {{"offset_seconds",
          fmt::to_string(std::chrono::duration_cast<std::chrono::seconds>(offset_).count())}});
    return Duration::zero();
  }
  if (attempts.renewed) return std::nullopt;
  attempts.renewed = true;
  attempts.renewing = true;
  credentials_.distrust(attempts.used);
  return Duration::zero();
}

std::optional<Duration> Client::next_attempt(const net::HttpReply& reply, const Verdict& verdict,
                                             Attempts& attempts) {
  if (verdict.remedy == Remedy::none) return std::nullopt;
  if (verdict.remedy == Remedy::renew) return next_after_renewal(reply, attempts);
  if (attempts.made + 1 >= attempts.most) return std::nullopt;
  const bool throttling = verdict.remedy == Remedy::slow_down;
  const std::optional<std::uint32_t> taken = quota_.take(throttling);
  if (!taken) return std::nullopt;
  attempts.taken = *taken;
  const RetryQuestion question{attempts.made++, throttling, retry_hint(reply)};
  return backoff(question, parts_.rng);
}

Task<AwsReply> Client::call(AwsCall call) {
  AwsReply made;
  made.failure = co_await prepare(call.service);
  if (made.failure) co_return made;
  Attempts attempts;
  attempts.invocation = new_invocation();
  attempts.most = call.attempts_max;
  for (;;) {
    CredentialsReply who = co_await credentials_.get();
    if (!who.credentials) {
      made.failure = CallFailure{CallError::denied, "NoCredentials", who.error};
      made.may_have_happened = attempts.may_have_happened;
      co_return made;
    }
    // Looked up again and still the same: asking once more would change nothing.
    if (attempts.renewing && *who.credentials == attempts.used) co_return made;
    attempts.renewing = false;
    attempts.used = std::move(*who.credentials);
    co_await pace(call.action);
    net::HttpRequest request = make_request(call, attempts);
    const TimePoint asked = parts_.clock.now();
    const net::HttpReply reply = co_await parts_.http.send(std::move(request));
    ReadReply read = read_reply(reply);
    count(call, read.facts.code, parts_.clock.now() - asked);
    made.request_id = std::move(read.request_id);
    if (read.facts.code.empty()) {
      quota_.give(attempts.taken == 0 ? 1 : attempts.taken);
      made.failure.reset();
      made.may_have_happened = false;
      made.body = std::move(read.body);
      co_return made;
    }
    const Verdict verdict = classify(read.facts);
    attempts.may_have_happened = attempts.may_have_happened || verdict.may_have_happened;
    made.failure = CallFailure{verdict.error, read.facts.code, read.facts.message};
    made.may_have_happened = attempts.may_have_happened;
    const std::optional<Duration> wait = next_attempt(reply, verdict, attempts);
    if (!wait) co_return made;
    if (remarks_.size() < kRemarksMax) {
      remarks_.push_back(fmt::format("{} was asked again: {} {}", call.action, read.facts.code,
                                     read.facts.message));
    }
    if (*wait > Duration::zero()) co_await sleep_for(parts_.clock, *wait);
  }
}

}  // namespace lbd::aws
