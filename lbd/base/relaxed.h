// A number that one thread writes and any thread may read, without locks or read-modify-write
// instructions.
#pragma once

#include <atomic>

namespace lbd {

/// Only the owning thread calls `set`, `add` and `sub`; `get` may be called anywhere and may be a
/// moment old.
template <class T>
class Relaxed {
 public:
  Relaxed() = default;
  explicit Relaxed(T value) noexcept : value_(value) {}
  [[nodiscard]] T get() const noexcept { return value_.load(std::memory_order_relaxed); }
  void set(T value) noexcept { value_.store(value, std::memory_order_relaxed); }
  void add(T amount) noexcept { set(static_cast<T>(get() + amount)); }
  void sub(T amount) noexcept { set(static_cast<T>(get() - amount)); }

 private:
  std::atomic<T> value_{};
};

}  // namespace lbd
