// Task<T>: a lazily started coroutine for one thread, with frames from a per-thread free list (no
// heap in steady state). It knows no event loop: whatever resumes a suspended task (a socket, a
// timer, a test) drives it on.
//
// Contract: a Task is awaited once, or handed to a TaskGroup, and is never destroyed while it is
// suspended inside an operation: end the operation first (close the stream, cancel the timer) and
// let the task run out. Coroutine arguments are taken by value, or refer to what outlives the task.
// A plain function may return a Task as well, made of the value, when it needs no wait and so no
// frame: it has done its work before it is awaited.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "lbd/base/check.h"
#include "lbd/base/recycle.h"

namespace lbd {

template <class T = void>
class Task;

namespace detail {

struct PromiseBase {
  std::coroutine_handle<> continuation;
  std::exception_ptr exception;

  static void* operator new(std::size_t size) { return take_recycled(size); }
  static void operator delete(void* frame, std::size_t size) noexcept {
    give_recycled(frame, size);
  }

  struct Final {
    static bool await_ready() noexcept { return false; }
    template <class Promise>
    static std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> done) noexcept {
      std::coroutine_handle<> next = done.promise().continuation;
      return next ? next : std::noop_coroutine();
    }
    static void await_resume() noexcept {}
  };

  static std::suspend_always initial_suspend() noexcept { return {}; }
  static Final final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { exception = std::current_exception(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;

  Task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() {
    if (exception) std::rethrow_exception(exception);
    return std::move(*value);
  }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() noexcept;
  static void return_void() noexcept {}
  void take() const {
    if (exception) std::rethrow_exception(exception);
  }
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() noexcept = default;
  explicit Task(Handle handle) noexcept : handle_(handle) {}
  /// One that has ended already.
  template <class U>
  requires(!std::is_void_v<T> && std::is_constructible_v<T, U&&> &&
           !std::is_same_v<std::remove_cvref_t<U>, Task>)
      // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): the last condition keeps moves out
      Task(U&& value)
      : ended_(std::forward<U>(value)) {}
  Task(Task&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), ended_(std::move(other.ended_)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, nullptr);
      ended_ = std::move(other.ended_);
    }
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  /// Runs the task inline up to its first suspension. When it finishes without one, the awaiting
  /// coroutine never suspends, so a loop of ready operations uses no stack (and needs no tail
  /// calls, which -O0 does not give).
  struct Awaiter {
    Task& task;
    [[nodiscard]] bool await_ready() const noexcept { return task.handle_ == nullptr; }
    bool await_suspend(std::coroutine_handle<> caller) noexcept {
      const Handle handle = task.handle_;
      handle.resume();
      if (handle.done()) return false;
      handle.promise().continuation = caller;
      return true;
    }
    T await_resume() {
      if (task.handle_) return task.handle_.promise().take();
      if constexpr (!std::is_void_v<T>) return std::move(*task.ended_);
    }
  };

  Awaiter operator co_await() noexcept { return Awaiter{*this}; }

  /// Hands the frame over to the caller (TaskGroup).
  [[nodiscard]] Handle release() noexcept { return std::exchange(handle_, nullptr); }

 private:
  struct Nothing {};
  Handle handle_ = nullptr;
  [[no_unique_address]] std::conditional_t<std::is_void_v<T>, Nothing, std::optional<T>> ended_;
};

namespace detail {

template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>{std::coroutine_handle<Promise<T>>::from_promise(*this)};
}
inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>{std::coroutine_handle<Promise<void>>::from_promise(*this)};
}

}  // namespace detail

/// Runs tasks side by side on one thread and waits for the last of them.
///
/// `spawn` starts the task inline; it is destroyed when it finishes. An exception that escapes a
/// spawned task is a bug and ends the process. The group must be empty when it is destroyed:
/// `co_await join()` first.
class TaskGroup {
 public:
  TaskGroup() = default;
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup() { LBD_CHECK(running_ == 0); }

  void spawn(Task<void> task);
  [[nodiscard]] std::size_t running() const noexcept { return running_; }

  struct Join {
    TaskGroup& group;
    [[nodiscard]] bool await_ready() const noexcept { return group.running_ == 0; }
    void await_suspend(std::coroutine_handle<> caller) const noexcept {
      LBD_CHECK(!group.joiner_);
      group.joiner_ = caller;
    }
    static void await_resume() noexcept {}
  };
  /// Waits until nothing runs in the group. One waiter at a time.
  [[nodiscard]] Join join() noexcept { return Join{*this}; }

 private:
  struct Runner;
  static Runner run(TaskGroup& group, Task<void> task);
  void finished() noexcept;

  std::size_t running_ = 0;
  std::coroutine_handle<> joiner_;
};

}  // namespace lbd
