// Invariants. Input never asserts; an invariant that breaks is a bug of ours and ends the process
// loudly.
#pragma once

#include <string_view>

namespace lbd {

/// Prints the broken invariant to stderr and aborts. Active in every build type.
[[noreturn]] void bug(std::string_view what, std::string_view detail, const char* file,
                      int line) noexcept;

}  // namespace lbd

#define LBD_CHECK(condition)                                      \
  do {                                                            \
    if (!(condition)) [[unlikely]]                                \
      ::lbd::bug("check failed", #condition, __FILE__, __LINE__); \
  } while (false)
