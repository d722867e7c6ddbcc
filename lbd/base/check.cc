#include "lbd/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace lbd {

void bug(std::string_view what, std::string_view detail, const char* file, int line) noexcept {
  std::fprintf(stderr, "lbd: bug: %.*s: %.*s (%s:%d)\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(detail.size()), detail.data(), file, line);
  std::abort();
}

}  // namespace lbd
