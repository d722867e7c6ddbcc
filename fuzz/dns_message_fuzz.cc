// Any bytes as a DNS response with services. Oracles: what was accepted has hosts that are host
// names; cut short it is refused, or it has lost what came after its answers only.
#include <cstdint>

#include "fuzz/require.h"
#include "lbd/net/dns_message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lbd::net;
  using lbd::fuzz::require;
  const auto found = read_services({data, size});
  if (!found) return 0;
  for (const DnsService& each : found->services) {
    require(each.host.size() <= 254, "a host that is too long");
    for (const char c : each.host) {
      const bool fits =
          (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
      require(fits, "a host with what no host name has");
    }
    require(each.host.find("..") == std::string::npos, "an empty label");
  }
  require(found->ttl_seconds <= INT32_MAX || found->services.empty(), "a time to live below 0");
  if (size == 0) return 0;
  const auto shorter = read_services({data, size - 1});
  require(!shorter || shorter->services == found->services, "cut short it says something else");
  return 0;
}
