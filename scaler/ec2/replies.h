// What EC2, STS and CloudWatch answer, as values. Pure; unknown elements are passed over, and what
// an answer must have but has not makes the result empty, never a guess.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "scaler/aws/xml.h"
#include "scaler/provider.h"

namespace lbd::scaler::ec2 {

struct InstancesPage {
  std::vector<ReportedInstance> instances;
  std::string next_token;  // empty: the last page
};

/// DescribeInstances. Nothing when it is not one, or an instance has no id or no known state (a
/// list with holes would look like instances that are gone).
[[nodiscard]] std::optional<InstancesPage> read_instances(const aws::XmlNode& reply);
/// DescribeInstances: ids by their deployment's tag, "" for those without one.
[[nodiscard]] std::map<std::string, std::vector<std::string>> read_deployments(
    const aws::XmlNode& reply);
/// RunInstances: the first instance.
[[nodiscard]] std::optional<ReportedInstance> read_launched(const aws::XmlNode& reply);
/// DescribeInstanceStatus: ids with a failed instance or system status check.
[[nodiscard]] std::optional<std::set<std::string>> read_impaired(const aws::XmlNode& reply);

struct Subnet {
  std::string id;
  std::string zone;
};
/// DescribeSubnets.
[[nodiscard]] std::optional<std::vector<Subnet>> read_subnets(const aws::XmlNode& reply);

/// STS GetCallerIdentity: the ARN.
[[nodiscard]] std::optional<std::string> read_identity(const aws::XmlNode& reply);

constexpr std::chrono::seconds kCpuPeriod{60};  // what a CloudWatch figure is the mean of

struct CpuPoint {
  std::size_t query = 0;  // as numbered by get_cpu
  double ratio = 0;
  WallTime until{};  // end of the minute it is the mean of
};
/// GetMetricData: the newest point of each query that has one. Empty when there are none yet.
[[nodiscard]] std::vector<CpuPoint> read_cpu(const aws::XmlNode& reply);

}  // namespace lbd::scaler::ec2
