// What the answers to look-ups make of a name's targets: pure.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/clock.h"
#include "lbd/net/dns_client.h"

namespace lbd::control {

/// More of one name are left out, and the log says so.
inline constexpr std::size_t kNameAddressesMax = 1024;
inline constexpr std::size_t kNameServicesMax = 256;  // each is a host to look up

/// What is known of one host.
struct HostAddresses {
  std::vector<net::SocketAddress> v4;
  std::vector<net::SocketAddress> v6;
  [[nodiscard]] bool empty() const noexcept { return v4.empty() && v6.empty(); }
};

struct HostAnswer {
  HostAddresses known;
  net::DnsFault fault = net::DnsFault::none;  // what of it is not an answer but kept from before
  std::chrono::seconds ttl{0};                // without a fault
};
/// Both families together. An answer without records of one family is one as long as the other has
/// some (whether it says so by NXDOMAIN or not); what failed keeps what it had.
[[nodiscard]] HostAnswer merge_families(const HostAddresses& before, const net::DnsAddresses& v4,
                                        const net::DnsAddresses& v6);

/// An address of a name's, as a target will have it.
struct NameAddress {
  net::SocketAddress address;  // with port
  std::uint32_t weight = 1;
};

/// Those services that are to be used: of the lowest priority, with a host.
[[nodiscard]] std::vector<net::DnsService> usable_services(std::vector<net::DnsService> services);

/// Their targets, sorted by address, each once. RFC 2782 wants services of weight 0 next to heavier
/// ones to get hardly any requests: weights come out between 1 and 1000.
[[nodiscard]] std::vector<NameAddress> service_addresses(
    const std::vector<net::DnsService>& services,
    const std::map<std::string, HostAddresses>& hosts);

/// What servers of a name are called, in certificates and Host fields: the name, or a service's
/// domain ("_http._tcp.app.internal" is of "app.internal"); without a last dot. Never what an
/// answer names (RFC 6125 §6.2.1).
[[nodiscard]] std::string_view host_of(std::string_view name) noexcept;

/// When to look again: as the answer's time to live says, between the limits, a tenth of it spread
/// (`lot` in [0, 1)) and later rather than sooner, so that caches on the way have let go of it.
/// After `failures` in a row, soon and then ever later, up to 30 s.
struct TtlLimits {
  Duration least;
  Duration most;
};
[[nodiscard]] Duration next_look(std::chrono::seconds ttl, std::uint32_t failures, TtlLimits limits,
                                 double lot) noexcept;

}  // namespace lbd::control
