#include "lbd/base/task.h"

#include <exception>

namespace lbd {

/// A coroutine that owns itself: it is destroyed when it ends, and tells its group.
struct TaskGroup::Runner {
  struct promise_type {
    static void* operator new(std::size_t size) { return take_recycled(size); }
    static void operator delete(void* frame, std::size_t size) noexcept {
      give_recycled(frame, size);
    }
    static Runner get_return_object() noexcept { return {}; }
    static std::suspend_never initial_suspend() noexcept { return {}; }
    static std::suspend_never final_suspend() noexcept { return {}; }
    static void return_void() noexcept {}
    static void unhandled_exception() noexcept {
      try {
        throw;
      } catch (const std::exception& e) {
        bug("an exception escaped a task", e.what(), __FILE__, __LINE__);
      } catch (...) {
        bug("an exception escaped a task", "unknown", __FILE__, __LINE__);
      }
    }
  };
};

TaskGroup::Runner TaskGroup::run(TaskGroup& group, Task<void> task) {
  {
    Task<void> owned = std::move(task);  // destroyed before the group hears of the end
    co_await owned;
  }
  group.finished();
}

void TaskGroup::spawn(Task<void> task) {
  ++running_;
  run(*this, std::move(task));
}

void TaskGroup::finished() noexcept {
  --running_;
  if (running_ == 0 && joiner_) std::exchange(joiner_, nullptr).resume();
}

}  // namespace lbd
