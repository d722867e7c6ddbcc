#include "lbd/control/name_answers.h"

#include <algorithm>
#include <utility>

namespace lbd::control {
namespace {

using net::DnsFault;

constexpr std::uint32_t kWeightMax = 1000;
constexpr Duration kFirstRetry = std::chrono::seconds(1);
constexpr Duration kLastRetry = std::chrono::seconds(30);

bool says_none(const net::DnsAddresses& answer) noexcept {
  return answer.fault == DnsFault::no_records || answer.fault == DnsFault::no_such_name;
}
bool is_answer(const net::DnsAddresses& answer) noexcept {
  return answer.fault == DnsFault::none || says_none(answer);
}

/// 1 to 1000, in proportion; where some are 0, those get 1 and the largest 1000.
std::uint32_t scaled(std::uint32_t weight, std::uint32_t least, std::uint32_t most) noexcept {
  if (most == 0) return 1;
  if (least > 0 && most <= kWeightMax) return weight;
  return std::max<std::uint32_t>(1, weight * kWeightMax / most);
}

}  // namespace

HostAnswer merge_families(const HostAddresses& before, const net::DnsAddresses& v4,
                          const net::DnsAddresses& v6) {
  HostAnswer answer;
  answer.known = before;
  if (says_none(v4) && says_none(v6)) {
    const bool unknown = v4.fault == DnsFault::no_such_name && v6.fault == v4.fault;
    answer.fault = unknown ? DnsFault::no_such_name : DnsFault::no_records;
    return answer;
  }
  if (is_answer(v4)) answer.known.v4 = v4.found;
  if (is_answer(v6)) answer.known.v6 = v6.found;
  answer.fault = !is_answer(v4) ? v4.fault : !is_answer(v6) ? v6.fault : DnsFault::none;
  if (answer.fault != DnsFault::none) {
    // "None" beside a failure is no reason to give everything up.
    if (answer.known.empty()) answer.known = before;
    return answer;
  }
  answer.ttl = std::chrono::seconds::max();
  if (!v4.found.empty()) answer.ttl = std::min(answer.ttl, v4.ttl);
  if (!v6.found.empty()) answer.ttl = std::min(answer.ttl, v6.ttl);
  return answer;
}

std::vector<net::DnsService> usable_services(std::vector<net::DnsService> services) {
  std::erase_if(services, [](const net::DnsService& each) { return each.host.empty(); });
  std::uint16_t lowest = UINT16_MAX;
  for (const net::DnsService& each : services) lowest = std::min(lowest, each.priority);
  std::erase_if(services,
                [lowest](const net::DnsService& each) { return each.priority != lowest; });
  if (services.size() > kNameServicesMax) services.resize(kNameServicesMax);
  return services;
}

std::vector<NameAddress> service_addresses(const std::vector<net::DnsService>& services,
                                           const std::map<std::string, HostAddresses>& hosts) {
  std::uint32_t least = UINT32_MAX;
  std::uint32_t most = 0;
  for (const net::DnsService& each : services) {
    least = std::min<std::uint32_t>(least, each.weight);
    most = std::max<std::uint32_t>(most, each.weight);
  }
  std::map<std::string, NameAddress> by_text;
  for (const net::DnsService& service : services) {
    const auto found = hosts.find(service.host);
    if (found == hosts.end()) continue;
    for (const auto* family : {&found->second.v4, &found->second.v6}) {
      for (const net::SocketAddress& each : *family) {
        const auto address = net::SocketAddress::parse(each.ip(), service.port);
        if (!address) continue;
        NameAddress made{*address, scaled(service.weight, least, most)};
        const auto [at, is_new] = by_text.emplace(address->text(), made);
        if (!is_new) at->second.weight = std::min(at->second.weight + made.weight, kWeightMax);
      }
    }
  }
  std::vector<NameAddress> addresses;
  addresses.reserve(by_text.size());
  for (const auto& [text, each] : by_text) addresses.push_back(each);
  return addresses;
}

std::string_view host_of(std::string_view name) noexcept {
  while (name.starts_with('_') && name.find('.') != std::string_view::npos) {
    name.remove_prefix(name.find('.') + 1);
  }
  if (name.ends_with('.')) name.remove_suffix(1);
  return name;
}

Duration next_look(std::chrono::seconds ttl, std::uint32_t failures, TtlLimits limits,
                   double lot) noexcept {
  Duration wait;
  if (failures > 0) {
    wait = std::min(kFirstRetry * (1 << std::min(failures - 1, 10U)), kLastRetry);
    wait = std::min(wait, limits.most);
  } else {
    // A time to live may be all the seconds there are.
    const Duration day = std::chrono::hours(24);
    wait =
        std::clamp(ttl > std::chrono::hours(24) ? day : Duration(ttl), limits.least, limits.most);
  }
  return wait + std::chrono::duration_cast<Duration>(wait * (lot / 10));
}

}  // namespace lbd::control
