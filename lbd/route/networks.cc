#include "lbd/route/networks.h"

#include <algorithm>
#include <map>

namespace lbd::route {
namespace {

IpBytes masked(IpBytes address, int prefix_bits) noexcept {
  for (int i = 0; i < 16; ++i) {
    const int kept = std::clamp(prefix_bits - 8 * i, 0, 8);
    auto& byte = address[static_cast<std::size_t>(i)];
    byte = static_cast<std::uint8_t>(byte & (0xff00U >> kept));
  }
  return address;
}

}  // namespace

NetworkSet::NetworkSet(const std::vector<config::Cidr>& networks) {
  std::map<int, std::vector<IpBytes>> by_length;
  for (const config::Cidr& each : networks) {
    const auto network = network_of(each.ip, each.prefix_bits);
    if (network) {
      by_length[network->prefix_bits].push_back(masked(network->ip, network->prefix_bits));
    }
  }
  for (auto& [prefix_bits, of_length] : by_length) {
    std::sort(of_length.begin(), of_length.end());
    lengths_.push_back({prefix_bits, std::move(of_length)});
  }
}

bool NetworkSet::has(const IpBytes& address) const noexcept {
  return std::any_of(lengths_.begin(), lengths_.end(), [&address](const OfLength& each) {
    return std::binary_search(each.networks.begin(), each.networks.end(),
                              masked(address, each.prefix_bits));
  });
}

}  // namespace lbd::route
