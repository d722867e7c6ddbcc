#include "lbd/base/rng.h"

#include <sys/random.h>

#include "lbd/base/check.h"

namespace lbd {

std::uint64_t os_seed() noexcept {
  std::uint64_t seed = 0;
  LBD_CHECK(::getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return seed;
}

}  // namespace lbd
