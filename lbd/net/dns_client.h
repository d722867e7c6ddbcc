// Looks up names without blocking the loop. c-ares underneath, which stays out of this header.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/task.h"
#include "lbd/net/address.h"
#include "lbd/net/dns_message.h"
#include "lbd/net/loop.h"

namespace lbd::net {

/// Why a look-up gave nothing: a word for metrics.
enum class DnsFault : std::uint8_t {
  none,
  no_such_name,    // NXDOMAIN
  no_records,      // the name is there, but not with records of this type
  server_failure,  // SERVFAIL, REFUSED, or no server that can be reached
  timeout,
  malformed,  // an answer that cannot be read
  cancelled,
  other,
  kCount,
};
[[nodiscard]] std::string_view dns_fault_name(DnsFault fault) noexcept;

/// `found` and `ttl` only without a fault.
struct DnsAddresses {
  DnsFault fault = DnsFault::none;
  std::vector<SocketAddress> found;  // port 0
  std::chrono::seconds ttl{0};
};
struct DnsServices {
  DnsFault fault = DnsFault::none;
  std::vector<DnsService> found;
  std::chrono::seconds ttl{0};
};

/// Thread: the loop's. Lifetime: `close` must have run, and its look-ups ended, before it is
/// destroyed.
class DnsClient {
 public:
  /// Asks these servers ("192.0.2.53:53", "[2001:db8::53]:53") and nobody else; with none, does as
  /// the host does: its resolv.conf with the search list, and its hosts file. An unusable list
  /// fails every look-up.
  DnsClient(Loop& loop, const std::vector<std::string>& servers);
  ~DnsClient();
  DnsClient(const DnsClient&) = delete;
  DnsClient& operator=(const DnsClient&) = delete;

  /// A or AAAA records, by `family`; aliases are followed. At most some seconds. UDP, then TCP when
  /// the answer does not fit. Nobody is asked for localhost.
  [[nodiscard]] Task<DnsAddresses> addresses(std::string name, int family);
  /// SRV records.
  [[nodiscard]] Task<DnsServices> services(std::string name);
  /// Look-ups under way, and all later ones, end with `cancelled`.
  void close();
  [[nodiscard]] bool closed() const noexcept;

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace lbd::net
