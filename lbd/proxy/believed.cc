#include "lbd/proxy/believed.h"

#include <algorithm>

namespace lbd::proxy {
namespace {

std::string_view trimmed(std::string_view text) noexcept {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return text.substr(0, text.find_last_not_of(" \t") + 1);
}

/// "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80" → the address alone.
std::string_view without_port(std::string_view text) noexcept {
  if (text.starts_with('[')) {
    text.remove_prefix(1);
    return text.substr(0, text.find(']'));
  }
  const std::size_t colon = text.find(':');
  const bool v6 = colon != std::string_view::npos && text.find(':', colon + 1) != text.npos;
  return v6 ? text : text.substr(0, colon);
}

/// Goes on to the address before `at`, the last first. False: this one is the client's.
struct Walk {
  const TrustedProxies& trusted;
  std::string_view found;

  bool step(std::string_view item) {
    item = trimmed(item);
    if (item.empty()) return true;  // empty members of a list count for nothing (RFC 9110 §5.6.1)
    const std::string_view ip = without_port(item);
    const auto address = net::SocketAddress::parse(ip, 0);
    if (!address) return false;  // "unknown", or nonsense: who wrote it is the last we know of
    found = ip;
    return is_trusted(*address, trusted);
  }
};

}  // namespace

bool is_trusted(const net::SocketAddress& peer, const TrustedProxies& trusted) noexcept {
  return std::any_of(trusted.begin(), trusted.end(), [&peer](const auto& network) {
    return peer.in(network.first, network.second);
  });
}

std::string_view believed_address(const ClientInfo& client, const http::RequestHead& request,
                                  const TrustedProxies& trusted) noexcept {
  if (!client.trusted) return client.peer_ip;
  Walk walk{trusted, client.peer_ip};
  for (auto header = request.headers.rbegin(); header != request.headers.rend(); ++header) {
    if (header->id != http::HeaderId::x_forwarded_for) continue;
    std::string_view rest = header->value;
    while (!rest.empty()) {
      const std::size_t comma = rest.rfind(',');
      const std::size_t start = comma == std::string_view::npos ? 0 : comma + 1;
      if (!walk.step(rest.substr(start))) return walk.found;
      rest = rest.substr(0, comma == std::string_view::npos ? 0 : comma);
    }
  }
  return walk.found;
}

std::string_view believed_scheme(const ClientInfo& client,
                                 const http::RequestHead& request) noexcept {
  if (!client.trusted) return client.scheme;
  for (const http::Header& header : request.headers) {
    if (header.id != http::HeaderId::x_forwarded_proto) continue;
    if (http::equals_ignoring_case(header.value, "https")) return "https";
    if (http::equals_ignoring_case(header.value, "http")) return "http";
  }
  return client.scheme;
}

}  // namespace lbd::proxy
