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
constexpr std::size_t kClassBytes = 64;
constexpr std::size_t kClasses = 64;  // up to 4 KiB
constexpr std::size_t kFreePerClassMax = 4096;

struct Node {
  Node* next;
};

/// The calling thread's free blocks. Trivially destructible state is left to the thread's end on
/// purpose: blocks may still be released by later thread_local destructors.
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

thread_local FreeList free_blocks;

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
  return block;
}

void give_recycled(void* block, std::size_t size) noexcept {
  const std::size_t slot = class_of(size);
  if (slot >= kClasses || !free_blocks.open || free_blocks.count[slot] >= kFreePerClassMax) {
    std::free(block);
    return;
  }
  auto* node = new (block) Node{free_blocks.head[slot]};
  free_blocks.head[slot] = node;
  ++free_blocks.count[slot];
}

#endif

}  // namespace lbd
