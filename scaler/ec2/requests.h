// The calls the EC2 provider makes, as values. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "config/config.h"
#include "lbd/base/clock.h"
#include "scaler/aws/client.h"

namespace lbd::scaler::ec2 {

inline constexpr const char* kGroupTag = "lbd:group";
inline constexpr const char* kDeploymentTag = "lbd:deployment";
inline constexpr const char* kTokenTag = "lbd:token";
inline constexpr const char* kManagedTag = "lbd:managed";

/// DescribeInstanceStatus takes this many ids, GetMetricData this many queries.
inline constexpr std::size_t kStatusIdsMax = 100;
inline constexpr std::size_t kMetricQueriesMax = 500;

/// Whose an instance is. Groups of two deployments may share a name, their instances never.
struct Owner {
  std::string deployment;
  std::string group;
};

struct Launch {
  const config::Ec2Provider& config;
  Owner owner;
  std::string subnet;
  std::string client_token;
};
/// One instance from the launch template, tagged in the call. The same launch always gives the same
/// parameters: AWS refuses a known token with others.
[[nodiscard]] aws::AwsCall run_instances(const Launch& launch);
[[nodiscard]] aws::AwsCall terminate_instance(const std::string& instance);
/// Every instance of the owner, by its two tags; `next_token` empty: the first page.
[[nodiscard]] aws::AwsCall describe_group(const Owner& owner, const std::string& next_token);
/// Instances that run for a group of this name, whichever deployment's: the first page.
[[nodiscard]] aws::AwsCall describe_namesakes(const std::string& group);
/// What a launch with this token made.
[[nodiscard]] aws::AwsCall describe_launch(const std::string& client_token);
[[nodiscard]] aws::AwsCall describe_status(const std::vector<std::string>& instances);
[[nodiscard]] aws::AwsCall describe_subnets(const std::vector<std::string>& subnets);
[[nodiscard]] aws::AwsCall get_caller_identity();
/// CPUUtilization of each (query id q0, q1, …), newest first, of the last ten minutes.
[[nodiscard]] aws::AwsCall get_cpu(const std::vector<std::string>& instances, WallTime now);

}  // namespace lbd::scaler::ec2
