// What must hold for every input: a fuzz target ends with a word when it does not.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace lbd::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

}  // namespace lbd::fuzz
