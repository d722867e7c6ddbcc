#include "scaler/ec2/requests.h"

#include <fmt/format.h>

#include "scaler/aws/encoding.h"

namespace lbd::scaler::ec2 {
namespace {

using aws::AwsCall;
using aws::Form;

/// Four points of basic monitoring: what a lost poll or two have missed is still there.
constexpr std::chrono::minutes kCpuWindow{20};
constexpr const char* kPageRows = "1000";

void add_list(Form& form, const std::string& name, const std::vector<std::string>& values) {
  std::size_t number = 0;
  for (const std::string& each : values) {
    form.emplace_back(fmt::format("{}.{}", name, ++number), each);
  }
}

/// Filter values are patterns to EC2: `*` and `?` must not be.
std::string literal(const std::string& text) {
  std::string made;
  for (const char c : text) {
    if (c == '*' || c == '?' || c == '\\') made += '\\';
    made += c;
  }
  return made;
}

void add_tag_filter(Form& form, int number, const char* tag, const std::string& value) {
  form.emplace_back(fmt::format("Filter.{}.Name", number), fmt::format("tag:{}", tag));
  form.emplace_back(fmt::format("Filter.{}.Value.1", number), literal(value));
}

std::map<std::string, std::string> tags_of(const Launch& launch) {
  std::map<std::string, std::string> tags = launch.config.tags;
  tags.try_emplace("Name", launch.owner.group);
  tags[kGroupTag] = launch.owner.group;
  tags[kDeploymentTag] = launch.owner.deployment;
  tags[kTokenTag] = launch.client_token;
  tags[kManagedTag] = "true";
  return tags;
}

}  // namespace

AwsCall run_instances(const Launch& launch) {
  Form form{{"MinCount", "1"},
            {"MaxCount", "1"},
            {"ClientToken", launch.client_token},
            {"SubnetId", launch.subnet}};
  const config::Ec2Provider& config = launch.config;
  if (config.launch_template_id.empty()) {
    form.emplace_back("LaunchTemplate.LaunchTemplateName", config.launch_template_name);
  } else {
    form.emplace_back("LaunchTemplate.LaunchTemplateId", config.launch_template_id);
  }
  form.emplace_back("LaunchTemplate.Version", config.launch_template_version);
  form.emplace_back("TagSpecification.1.ResourceType", "instance");
  std::size_t number = 0;
  for (const auto& [key, value] : tags_of(launch)) {
    ++number;
    form.emplace_back(fmt::format("TagSpecification.1.Tag.{}.Key", number), key);
    form.emplace_back(fmt::format("TagSpecification.1.Tag.{}.Value", number), value);
  }
  return {aws::kEc2, "RunInstances", std::move(form)};
}

AwsCall terminate_instance(const std::string& instance) {
  return {aws::kEc2, "TerminateInstances", {{"InstanceId.1", instance}}};
}

AwsCall describe_group(const Owner& owner, const std::string& next_token) {
  Form form{{"MaxResults", kPageRows}};
  add_tag_filter(form, 1, kGroupTag, owner.group);
  add_tag_filter(form, 2, kDeploymentTag, owner.deployment);
  if (!next_token.empty()) form.emplace_back("NextToken", next_token);
  return {aws::kEc2, "DescribeInstances", std::move(form)};
}

AwsCall describe_namesakes(const std::string& group) {
  Form form{{"MaxResults", kPageRows}};
  add_tag_filter(form, 1, kGroupTag, group);
  form.emplace_back("Filter.2.Name", "instance-state-name");
  form.emplace_back("Filter.2.Value.1", "pending");
  form.emplace_back("Filter.2.Value.2", "running");
  return {aws::kEc2, "DescribeInstances", std::move(form)};
}

AwsCall describe_launch(const std::string& client_token) {
  Form form;
  add_tag_filter(form, 1, kTokenTag, client_token);
  return {aws::kEc2, "DescribeInstances", std::move(form)};
}

AwsCall describe_status(const std::vector<std::string>& instances) {
  Form form;
  add_list(form, "InstanceId", instances);
  return {aws::kEc2, "DescribeInstanceStatus", std::move(form)};
}

AwsCall describe_subnets(const std::vector<std::string>& subnets) {
  Form form;
  add_list(form, "SubnetId", subnets);
  return {aws::kEc2, "DescribeSubnets", std::move(form)};
}

AwsCall get_caller_identity() { return {aws::kSts, "GetCallerIdentity", {}}; }

AwsCall get_cpu(const CpuQuestion& question) {
  using FiveMinutes = std::chrono::duration<std::int64_t, std::ratio<300>>;
  // CloudWatch's own grid, so that a point is never the mean of a part of its period.
  const WallTime start = std::chrono::floor<FiveMinutes>(question.now - kCpuWindow);
  const WallTime end = std::chrono::ceil<std::chrono::minutes>(question.now);
  Form form{{"StartTime", aws::iso_time(start)},
            {"EndTime", aws::iso_time(end)},
            {"ScanBy", "TimestampDescending"}};
  if (!question.next_token.empty()) form.emplace_back("NextToken", question.next_token);
  std::size_t number = 0;
  for (const CpuQuery& each : question.queries) {
    const std::string query = fmt::format("MetricDataQueries.member.{}", number + 1);
    const std::string stat = query + ".MetricStat";
    form.emplace_back(query + ".Id", fmt::format("q{}", number));
    form.emplace_back(query + ".ReturnData", "true");
    form.emplace_back(stat + ".Period", fmt::to_string(each.period.count()));
    form.emplace_back(stat + ".Stat", "Average");
    form.emplace_back(stat + ".Metric.Namespace", "AWS/EC2");
    form.emplace_back(stat + ".Metric.MetricName", "CPUUtilization");
    form.emplace_back(stat + ".Metric.Dimensions.member.1.Name", "InstanceId");
    form.emplace_back(stat + ".Metric.Dimensions.member.1.Value", each.instance);
    ++number;
  }
  return {aws::kCloudWatch, "GetMetricData", std::move(form)};
}

}  // namespace lbd::scaler::ec2
