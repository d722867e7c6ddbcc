// What happens to an accepted connection before its session: a list of those under way, so that
// their owner can call them off.
#pragma once

namespace lbd::net {

/// Thread: the loop's.
class Opening {
 public:
  Opening() = default;
  virtual ~Opening() = default;
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;

  /// Its `run` ends soon.
  virtual void cancel() noexcept = 0;

  Opening* next = nullptr;
  Opening* previous = nullptr;
};

}  // namespace lbd::net
