// What the provider's tests share: answers as AWS sends them, and a provider over a fake client.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "scaler/aws/encoding.h"
#include "scaler/ec2/ec2_provider.h"
#include "tests/support/fake_http.h"
#include "tests/support/memory_reader.h"
#include "tests/support/run_task.h"

namespace lbd::scaler::ec2 {

inline std::string instance_xml(const std::string& id, const std::string& state,
                                const std::string& extra = "") {
  return fmt::format(
      "<item><instanceId>{}</instanceId><instanceState><code>16</code><name>{}</name>"
      "</instanceState><privateIpAddress>10.0.1.4</privateIpAddress><placement>"
      "<availabilityZone>us-east-1a</availabilityZone></placement>"
      "<launchTime>2026-01-02T03:04:05.000Z</launchTime>{}</item>",
      id, state, extra);
}
inline std::string run_reply(const std::string& id) {
  return "<?xml version=\"1.0\"?><RunInstancesResponse "
         "xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>"
         "<instancesSet>" +
         instance_xml(id, "pending") + "</instancesSet></RunInstancesResponse>";
}
inline std::string describe_reply(const std::string& items, const std::string& next = "") {
  return "<DescribeInstancesResponse><reservationSet><item><instancesSet>" + items +
         "</instancesSet></item></reservationSet><nextToken>" + next +
         "</nextToken></DescribeInstancesResponse>";
}
inline std::string error_reply(const std::string& code, const std::string& message = "because") {
  return fmt::format(
      "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors>"
      "<RequestID>r-2</RequestID></Response>",
      code, message);
}
inline std::string identity_reply() {
  return "<GetCallerIdentityResponse><GetCallerIdentityResult>"
         "<Arn>arn:aws:iam::1:user/lbd</Arn></GetCallerIdentityResult>"
         "</GetCallerIdentityResponse>";
}
inline std::string subnets_reply() {
  std::string items;
  for (const auto& [id, zone] : {std::pair{"subnet-c", "us-east-1c"},
                                 {"subnet-a", "us-east-1a"},
                                 {"subnet-b", "us-east-1b"},
                                 {"subnet-a2", "us-east-1a"}}) {
    items += fmt::format(
        "<item><subnetId>{}</subnetId><availabilityZone>{}</availabilityZone></item>", id, zone);
  }
  return "<DescribeSubnetsResponse><subnetSet>" + items + "</subnetSet></DescribeSubnetsResponse>";
}
inline std::string status_reply(const std::string& impaired) {
  return "<DescribeInstanceStatusResponse><instanceStatusSet><item><instanceId>" + impaired +
         "</instanceId><instanceStatus><status>impaired</status></instanceStatus><systemStatus>"
         "<status>ok</status></systemStatus></item></instanceStatusSet>"
         "</DescribeInstanceStatusResponse>";
}

/// Keeps warnings as "message key=value …".
class WarningLog final : public Log {
 public:
  void write(LogLevel level, std::string_view message,
             std::initializer_list<LogField> fields) override {
    if (level != LogLevel::warning) return;
    std::string line(message);
    for (const LogField& each : fields) line += fmt::format(" {}={}", each.key, each.value);
    lines.push_back(std::move(line));
  }
  std::vector<std::string> lines;
};

class Ec2Test : public ::testing::Test {
 protected:
  Ec2Test() {
    machine.variables["AWS_ACCESS_KEY_ID"] = "AKID";
    machine.variables["AWS_SECRET_ACCESS_KEY"] = "secret";
    group.name = "web";
    config.region = "us-east-1";
    config.launch_template_name = "web";
    config.subnets = {"subnet-a", "subnet-b", "subnet-c", "subnet-a2"};
    make();
  }
  void make() {
    group.provider = config;
    provider = std::make_unique<Ec2Provider>(parts, group, config);
  }
  void start(const std::string& namesakes = "") {
    push(200, identity_reply());
    push(200, subnets_reply());
    push(200, describe_reply(namesakes));
    const std::optional<CallFailure> failed = run_task(clock, provider->start());
    ASSERT_FALSE(failed.has_value()) << failed->message;
    http.requests.clear();
  }
  void push(int status, const std::string& body) {
    http.script.push_back(FakeHttp::answer(status, body));
  }
  void push_lost() { http.script.push_back(FakeHttp::broken("connection reset by peer", true)); }
  LaunchReply launch(const std::string& zone = "us-east-1a", const std::string& token = "t-1") {
    LaunchRequest request{"web", zone, token};
    return run_task(clock, provider->launch(std::move(request)));
  }
  DescribeReply describe() { return run_task(clock, provider->describe()); }
  /// A parameter of the nth request since start().
  [[nodiscard]] std::string parameter(std::size_t request, const std::string& name) const {
    std::string body = "&" + http.requests.at(request).body + "&";
    const std::size_t at = body.find("&" + name + "=");
    if (at == std::string::npos) return "(none)";
    const std::size_t from = at + name.size() + 2;
    return aws::uri_decode(body.substr(from, body.find('&', from) - from));
  }
  [[nodiscard]] std::uint64_t counted(const std::string& action, const std::string& code) const {
    const auto found = parts.shared->calls.find({"ec2", action, code});
    return found == parts.shared->calls.end() ? 0 : found->second;
  }

  ManualClock clock;
  WarningLog log;
  Rng rng{1};
  FakeHttp http{clock};
  config::MemoryReader machine;
  Ec2Parts parts{clock, log, rng, http, machine, [] { return "here"; }};
  config::ScalingGroup group;
  config::Ec2Provider config;
  std::unique_ptr<Ec2Provider> provider;
};

}  // namespace lbd::scaler::ec2
