#include "lbd/route/request.h"

#include <arpa/inet.h>

#include <algorithm>

namespace lbd::route {
namespace {

constexpr int kMappedBits = 96;

}  // namespace

std::optional<IpBytes> ip_bytes(std::string_view text) noexcept {
  std::array<char, INET6_ADDRSTRLEN> storage{};
  if (text.size() >= storage.size()) return std::nullopt;
  std::copy(text.begin(), text.end(), storage.begin());
  IpBytes bytes{};
  if (text.find(':') != std::string_view::npos) {
    if (::inet_pton(AF_INET6, storage.data(), bytes.data()) != 1) return std::nullopt;
    return bytes;
  }
  bytes[10] = bytes[11] = 0xff;
  if (::inet_pton(AF_INET, storage.data(), bytes.data() + 12) != 1) return std::nullopt;
  return bytes;
}

bool Network::has(const IpBytes& address) const noexcept {
  const auto whole = static_cast<std::size_t>(prefix_bits / 8);
  if (!std::equal(ip.begin(), ip.begin() + static_cast<std::ptrdiff_t>(whole), address.begin())) {
    return false;
  }
  const int rest = prefix_bits % 8;
  if (rest == 0) return true;
  const unsigned mask = 0xffU << (8 - rest) & 0xffU;
  return ((ip[whole] ^ address[whole]) & mask) == 0;
}

std::optional<Network> network_of(std::string_view ip, int prefix_bits) noexcept {
  const std::optional<IpBytes> bytes = ip_bytes(ip);
  if (!bytes) return std::nullopt;
  const bool v6 = ip.find(':') != std::string_view::npos;
  return Network{*bytes, std::clamp(v6 ? prefix_bits : prefix_bits + kMappedBits, 0, 128)};
}

}  // namespace lbd::route
