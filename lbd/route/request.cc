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

bool is_mapped_v4(const IpBytes& ip) noexcept {
  return ip[10] == 0xff && ip[11] == 0xff &&
         std::all_of(ip.begin(), ip.begin() + 10, [](std::uint8_t byte) { return byte == 0; });
}

std::string_view client_key(const IpBytes& ip) noexcept {
  return {reinterpret_cast<const char*>(ip.data()), is_mapped_v4(ip) ? ip.size() : 8};
}

std::optional<Network> network_of(std::string_view ip, int prefix_bits) noexcept {
  const std::optional<IpBytes> bytes = ip_bytes(ip);
  if (!bytes) return std::nullopt;
  const bool v6 = ip.find(':') != std::string_view::npos;
  return Network{*bytes, std::clamp(v6 ? prefix_bits : prefix_bits + kMappedBits, 0, 128)};
}

std::string_view first_field(const std::vector<http::Header>& headers,
                             std::string_view name) noexcept {
  const auto found = std::find_if(headers.begin(), headers.end(), [name](const auto& header) {
    return http::equals_ignoring_case(header.name, name);
  });
  return found == headers.end() ? std::string_view() : found->value;
}

std::string_view first_cookie(const std::vector<http::Header>& headers,
                              std::string_view name) noexcept {
  std::string_view found;
  const auto take = [&](std::string_view each, std::string_view value) {
    if (each == name) found = value;
    return each == name;
  };
  for (const http::Header& header : headers) {
    if (http::equals_ignoring_case(header.name, "cookie") && each_pair(header.value, ';', take)) {
      return found;
    }
  }
  return {};
}

}  // namespace lbd::route
