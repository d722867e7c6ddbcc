#include "lbd/base/task.h"

#include <array>
#include <cstdlib>
#include <new>

namespace lbd {
namespace {

#if defined(__SANITIZE_ADDRESS__)
#define LBD_PLAIN_FRAMES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LBD_PLAIN_FRAMES 1
#endif
#endif

#ifndef LBD_PLAIN_FRAMES
constexpr std::size_t kClassBytes = 64;
constexpr std::size_t kClasses = 64;  // up to 4 KiB
constexpr std::size_t kFreePerClassMax = 4096;
/// Made at once when a class has none left: the next peak is a little higher than the last, and
/// should not need the heap again.
constexpr std::size_t kRefill = 8;

struct Node {
  Node* next;
};

/// The calling thread's free frames. Trivially destructible state is left to the thread's end on
/// purpose: frames may still be released by later thread_local destructors.
struct FreeList {
  std::array<Node*, kClasses> head{};
  std::array<std::size_t, kClasses> count{};
  bool open = true;

  ~FreeList() {
    open = false;
    for (Node*& node : head) {
      while (node != nullptr) std::free(std::exchange(node, node->next));
    }
  }
};

thread_local FreeList free_frames;

constexpr std::size_t class_of(std::size_t size) { return (size - 1) / kClassBytes; }
#endif

}  // namespace

namespace detail {

#ifdef LBD_PLAIN_FRAMES

// Not the sized delete: clang does not have it without -fsized-deallocation.
void* allocate_frame(std::size_t size) { return ::operator new(size); }
void release_frame(void* frame, std::size_t) noexcept { ::operator delete(frame); }

#else

void* allocate_frame(std::size_t size) {
  const std::size_t slot = class_of(size);
  if (slot < kClasses && free_frames.head[slot] != nullptr) {
    Node* node = free_frames.head[slot];
    free_frames.head[slot] = node->next;
    --free_frames.count[slot];
    return node;
  }
  void* frame = std::malloc(slot < kClasses ? (slot + 1) * kClassBytes : size);
  if (frame == nullptr) throw std::bad_alloc();
  if (slot >= kClasses) return frame;
  for (std::size_t i = 1; i < kRefill; ++i) {
    void* spare = std::malloc((slot + 1) * kClassBytes);
    if (spare == nullptr) break;
    release_frame(spare, size);
  }
  return frame;
}

void release_frame(void* frame, std::size_t size) noexcept {
  const std::size_t slot = class_of(size);
  if (slot >= kClasses || !free_frames.open || free_frames.count[slot] >= kFreePerClassMax) {
    std::free(frame);
    return;
  }
  auto* node = new (frame) Node{free_frames.head[slot]};
  free_frames.head[slot] = node;
  ++free_frames.count[slot];
}

#endif

}  // namespace detail

/// A coroutine that owns itself: it is destroyed when it ends, and tells its group.
struct TaskGroup::Runner {
  struct promise_type {
    static void* operator new(std::size_t size) { return detail::allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept {
      detail::release_frame(frame, size);
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
