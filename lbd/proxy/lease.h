// Leases, not counters: what is in flight is given back on every path.
#pragma once

#include <cstdint>

#include "lbd/base/relaxed.h"

namespace lbd::proxy {

/// Adds one while it lives. The count outlives it.
class Lease {
 public:
  explicit Lease(Relaxed<std::uint32_t>& count) noexcept : count_(count) { count_.add(1); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() { count_.sub(1); }

 private:
  Relaxed<std::uint32_t>& count_;
};

}  // namespace lbd::proxy
