// Running out of file descriptors, for a while.
#pragma once

#include <sys/resource.h>

namespace lbd {

/// UBSan reads an object's vptr through a pipe: without descriptors it finds every object broken.
/// The sanitized build has both sanitizers.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kRunsWithoutDescriptors = false;
#else
inline constexpr bool kRunsWithoutDescriptors = true;
#endif

/// While it lives, this process can open no descriptor (EMFILE). Those that are open stay.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit none = before_;
    none.rlim_cur = 1;  // 0, standard input, is taken; and poll refuses more than the limit
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
};

}  // namespace lbd
