// What EC2, STS and CloudWatch answer, as values. Pure; unknown elements are passed over, and what
// an answer must have but has not makes the result empty, never a guess.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "scaler/aws/xml.h"
#include "scaler/ec2/requests.h"
#include "scaler/provider.h"

namespace lbd::scaler::ec2 {

struct InstancesPage {
  std::vector<ReportedInstance> instances;
  std::set<std::string> detailed;  // ids whose metrics come each minute: monitoring is enabled
  std::string next_token;          // empty: the last page
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

/// The mean over [from, until): the period it was asked in.
struct CpuPoint {
  std::size_t query = 0;  // as numbered by get_cpu
  double ratio = 0;
  WallTime from{};
  WallTime until{};
};
struct CpuPage {
  std::vector<CpuPoint> points;  // of the queries in turn, each oldest first
  std::string refused;           // StatusCode of a result without figures: Forbidden, InternalError
  std::string next_token;        // empty: the last page
};
/// GetMetricData for `queries`. Nothing when it is not one. No points: there are none yet.
[[nodiscard]] std::optional<CpuPage> read_cpu(const aws::XmlNode& reply,
                                              const std::vector<CpuQuery>& queries);

}  // namespace lbd::scaler::ec2
