#include "scaler/ec2/replies.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "scaler/aws/encoding.h"
#include "scaler/ec2/requests.h"

namespace lbd::scaler::ec2 {
namespace {

using aws::XmlNode;

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || text.empty() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

enum class Ec2State : std::uint8_t {
  pending = 0,
  running = 16,
  shutting_down = 32,
  terminated = 48,
  stopping = 64,
  stopped = 80,
};

/// By name, else by the low byte of the code (the high one is AWS's own).
std::optional<Ec2State> state_of(const XmlNode& item) {
  constexpr std::pair<std::string_view, Ec2State> kNames[] = {
      {"pending", Ec2State::pending},
      {"running", Ec2State::running},
      {"shutting-down", Ec2State::shutting_down},
      {"terminated", Ec2State::terminated},
      {"stopping", Ec2State::stopping},
      {"stopped", Ec2State::stopped},
  };
  const std::string_view name = item.text_at("instanceState/name");
  const std::optional<int> code = number<int>(item.text_at("instanceState/code"));
  for (const auto& [each, state] : kNames) {
    if (name == each) return state;
  }
  for (const auto& [each, state] : kNames) {
    if (code && (*code & 0xff) == static_cast<int>(state)) return state;
  }
  return std::nullopt;
}

std::string tag_of(const XmlNode& item, std::string_view key) {
  for (const XmlNode* tag : item.list_at("tagSet")) {
    if (tag->text_at("key") == key) return std::string(tag->text_at("value"));
  }
  return {};
}

std::string reason_of(const XmlNode& item) {
  std::string code(item.text_at("stateReason/code"));
  std::string message(item.text_at("stateReason/message"));
  if (code.empty()) return message.empty() ? std::string(item.text_at("reason")) : message;
  if (message.empty() || message == code) return code;
  return message.starts_with(code) ? message : code + ": " + message;
}

std::optional<ReportedInstance> read_instance(const XmlNode& item) {
  ReportedInstance instance;
  instance.id = item.text_at("instanceId");
  const std::optional<Ec2State> state = state_of(item);
  if (instance.id.empty() || !state) return std::nullopt;
  instance.zone = item.text_at("placement/availabilityZone");
  instance.address = item.text_at("privateIpAddress");
  instance.client_token = item.text_at("clientToken");
  if (instance.client_token.empty()) instance.client_token = tag_of(item, kTokenTag);
  instance.state_reason = reason_of(item);
  instance.launched = aws::parse_iso_time(item.text_at("launchTime")).value_or(WallTime{});
  switch (*state) {
    case Ec2State::pending:
      instance.state = ReportedState::pending;
      break;
    case Ec2State::running:
      instance.state = ReportedState::running;
      break;
    case Ec2State::shutting_down:
      instance.state = ReportedState::stopping;
      break;
    case Ec2State::terminated:
      instance.state = ReportedState::terminated;
      break;
    case Ec2State::stopping:
    case Ec2State::stopped:
      // Stopped behind our back, it serves nobody but still exists: to be replaced and terminated.
      instance.state = ReportedState::running;
      instance.status_impaired = true;
      break;
  }
  return instance;
}

struct Asked {
  std::size_t query = 0;
  std::chrono::seconds period{};
};
void read_points(const XmlNode& result, const Asked& asked, std::vector<CpuPoint>& points) {
  const std::vector<const XmlNode*> times = result.list_at("Timestamps", "member");
  const std::vector<const XmlNode*> values = result.list_at("Values", "member");
  std::vector<CpuPoint> found;
  for (std::size_t i = 0; i < std::min(times.size(), values.size()); ++i) {
    const std::optional<WallTime> from = aws::parse_iso_time(times[i]->text);
    const std::optional<double> percent = number<double>(values[i]->text);
    if (!from || !percent || !std::isfinite(*percent) || *percent < 0) continue;
    found.push_back({asked.query, *percent / 100, *from, *from + asked.period});
  }
  std::sort(found.begin(), found.end(),
            [](const CpuPoint& a, const CpuPoint& b) { return a.from < b.from; });
  points.insert(points.end(), found.begin(), found.end());
}

}  // namespace

std::optional<InstancesPage> read_instances(const XmlNode& reply) {
  if (reply.name != "DescribeInstancesResponse" || reply.find("reservationSet") == nullptr) {
    return std::nullopt;
  }
  InstancesPage page;
  page.next_token = reply.text_at("nextToken");
  for (const XmlNode* reservation : reply.list_at("reservationSet")) {
    for (const XmlNode* item : reservation->list_at("instancesSet")) {
      std::optional<ReportedInstance> instance = read_instance(*item);
      if (!instance) return std::nullopt;
      if (item->text_at("monitoring/state") == "enabled") page.detailed.insert(instance->id);
      page.instances.push_back(std::move(*instance));
    }
  }
  return page;
}

std::map<std::string, std::vector<std::string>> read_deployments(const XmlNode& reply) {
  std::map<std::string, std::vector<std::string>> ids;
  for (const XmlNode* reservation : reply.list_at("reservationSet")) {
    for (const XmlNode* item : reservation->list_at("instancesSet")) {
      ids[tag_of(*item, kDeploymentTag)].emplace_back(item->text_at("instanceId"));
    }
  }
  return ids;
}

std::optional<ReportedInstance> read_launched(const XmlNode& reply) {
  const std::vector<const XmlNode*> items = reply.list_at("instancesSet");
  if (reply.name != "RunInstancesResponse" || items.empty()) return std::nullopt;
  return read_instance(*items.front());
}

std::optional<std::set<std::string>> read_impaired(const XmlNode& reply) {
  if (reply.name != "DescribeInstanceStatusResponse") return std::nullopt;
  std::set<std::string> impaired;
  for (const XmlNode* item : reply.list_at("instanceStatusSet")) {
    const bool failed = item->text_at("instanceStatus/status") == "impaired" ||
                        item->text_at("systemStatus/status") == "impaired";
    if (failed) impaired.emplace(item->text_at("instanceId"));
  }
  return impaired;
}

std::optional<std::vector<Subnet>> read_subnets(const XmlNode& reply) {
  if (reply.name != "DescribeSubnetsResponse") return std::nullopt;
  std::vector<Subnet> subnets;
  for (const XmlNode* item : reply.list_at("subnetSet")) {
    Subnet subnet{std::string(item->text_at("subnetId")),
                  std::string(item->text_at("availabilityZone"))};
    if (!subnet.id.empty() && !subnet.zone.empty()) subnets.push_back(std::move(subnet));
  }
  return subnets;
}

std::optional<std::string> read_identity(const XmlNode& reply) {
  std::string arn(reply.text_at("GetCallerIdentityResult/Arn"));
  if (arn.empty()) return std::nullopt;
  return arn;
}

std::optional<CpuPage> read_cpu(const XmlNode& reply, const std::vector<CpuQuery>& queries) {
  if (reply.name != "GetMetricDataResponse") return std::nullopt;
  CpuPage page;
  page.next_token = reply.text_at("GetMetricDataResult/NextToken");
  for (const XmlNode* result : reply.list_at("GetMetricDataResult/MetricDataResults", "member")) {
    const std::string_view id = result->text_at("Id");
    const std::optional<std::size_t> query =
        id.starts_with('q') ? number<std::size_t>(id.substr(1)) : std::nullopt;
    if (!query || *query >= queries.size()) continue;
    // PartialData: these figures are right, the next page has more.
    const std::string_view status = result->text_at("StatusCode");
    if (status == "Forbidden" || status == "InternalError") {
      page.refused = status;
      continue;
    }
    read_points(*result, {*query, queries[*query].period}, page.points);
  }
  return page;
}

}  // namespace lbd::scaler::ec2
