// DNS answers that c-ares does not read with their times to live: services (RFC 2782). Bytes only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lbd::net {

/// One SRV record.
struct DnsService {
  std::string host;  // lower case, without the last dot; empty: "there is none" (a bare dot)
  std::uint16_t port = 0;
  std::uint16_t priority = 0;  // lower is better
  std::uint16_t weight = 0;
  friend bool operator==(const DnsService&, const DnsService&) = default;
};

struct DnsServiceRecords {
  std::vector<DnsService> services;
  std::uint32_t ttl_seconds = 0;  // the least of the answer's
};

/// The SRV records of a whole response (RFC 1035 §4.1), and the least time to live of its answers.
/// Nothing when it breaks off, points forward or in circles, or names what is no host name.
[[nodiscard]] std::optional<DnsServiceRecords> read_services(std::span<const std::uint8_t> message);

}  // namespace lbd::net
