#include "lbd/base/recycle.h"

#include <array>
#include <cstdlib>
#include <new>
#include <utility>

namespace lbd {
namespace {

#if defined(__SANITIZE_ADDRESS__)
#define LBD_PLAIN_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LBD_PLAIN_HEAP 1
#endif
#endif

#ifndef LBD_PLAIN_HEAP
constexpr std::size_t kClassBytes = 32;
constexpr std::size_t kClasses = 128;  // up to 4 KiB
constexpr std::size_t kFreePerClassMax = 4096;
/// Made at once when a class has none left: the next peak is a little higher than the last, and
/// should not need the heap again.
constexpr std::size_t kRefill = 8;

struct Node {
  Node* next;
};

/// The calling thread's free blocks. Without a constructor or destructor, so that nothing is asked
/// before each use; `ending` frees them, and what is released after it goes back to the heap.
struct FreeList {
  std::array<Node*, kClasses> head;
  std::array<std::size_t, kClasses> count;
  bool closed;
};

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): what this file is for
constinit thread_local FreeList free_blocks{};

struct Ending {
  ~Ending() {
    free_blocks.closed = true;
    for (Node*& node : free_blocks.head) {
      while (node != nullptr) std::free(std::exchange(node, node->next));
    }
  }
  void touch() const noexcept {}  // makes it this thread's
};

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): likewise
thread_local Ending ending;

constexpr std::size_t class_of(std::size_t size) { return (size - 1) / kClassBytes; }
#endif

}  // namespace

#ifdef LBD_PLAIN_HEAP

// Not the sized delete: clang does not have it without -fsized-deallocation.
void* take_recycled(std::size_t size) { return ::operator new(size); }
void give_recycled(void* block, std::size_t) noexcept { ::operator delete(block); }

#else

void* take_recycled(std::size_t size) {
  const std::size_t slot = class_of(size);
  if (slot < kClasses && free_blocks.head[slot] != nullptr) {
    Node* node = free_blocks.head[slot];
    free_blocks.head[slot] = node->next;
    --free_blocks.count[slot];
    return node;
  }
  void* block = std::malloc(slot < kClasses ? (slot + 1) * kClassBytes : size);
  if (block == nullptr) throw std::bad_alloc();
  if (slot >= kClasses || free_blocks.closed) return block;
  ending.touch();
  for (std::size_t i = 1; i < kRefill; ++i) {
    void* spare = std::malloc((slot + 1) * kClassBytes);
    if (spare == nullptr) break;
    give_recycled(spare, size);
  }
  return block;
}

void give_recycled(void* block, std::size_t size) noexcept {
  const std::size_t slot = class_of(size);
  if (slot >= kClasses || free_blocks.closed || free_blocks.count[slot] >= kFreePerClassMax) {
    std::free(block);
    return;
  }
  auto* node = new (block) Node{free_blocks.head[slot]};
  free_blocks.head[slot] = node;
  ++free_blocks.count[slot];
}

#endif

}  // namespace lbd
