// Sets of networks: is an address in one of them?
#pragma once

#include <vector>

#include "config/config.h"
#include "lbd/route/request.h"

namespace lbd::route {

/// Immutable; any thread. A look-up is one binary search per different prefix length.
class NetworkSet {
 public:
  explicit NetworkSet(const std::vector<config::Cidr>& networks);
  [[nodiscard]] bool has(const IpBytes& address) const noexcept;
  [[nodiscard]] bool empty() const noexcept { return lengths_.empty(); }

 private:
  struct OfLength {
    int prefix_bits = 0;
    std::vector<IpBytes> networks;  // ascending; zero behind the prefix
  };
  std::vector<OfLength> lengths_;
};

/// Who may come in: nobody of `deny`; and if there is an `allow`, only whom that names.
class AccessList {
 public:
  explicit AccessList(const config::AccessList& list) : allow_(list.allow), deny_(list.deny) {}
  [[nodiscard]] bool empty() const noexcept { return allow_.empty() && deny_.empty(); }
  /// An address that is not known is admitted by an empty list only.
  [[nodiscard]] bool admits(const std::optional<IpBytes>& address) const noexcept {
    if (empty()) return true;
    return address && !deny_.has(*address) && (allow_.empty() || allow_.has(*address));
  }

 private:
  NetworkSet allow_;
  NetworkSet deny_;
};

}  // namespace lbd::route
