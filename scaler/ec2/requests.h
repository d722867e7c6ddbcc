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

/// How often EC2 measures an instance: with detailed monitoring, and without.
inline constexpr std::chrono::seconds kDetailedPeriod{60};
inline constexpr std::chrono::seconds kBasicPeriod{300};

struct CpuQuery {
  std::string instance;
  std::chrono::seconds period{};  // the instance's own; asked in a shorter one, gaps come between
};
struct CpuQuestion {
  std::vector<CpuQuery> queries;  // at most kMetricQueriesMax
  WallTime now{};                 // by AWS's clock
  std::string next_token;         // empty: the first page
};
/// CPUUtilization of each (query id q0, q1, …), newest first, of the last 20 to 25 min.
[[nodiscard]] aws::AwsCall get_cpu(const CpuQuestion& question);

}  // namespace lbd::scaler::ec2
