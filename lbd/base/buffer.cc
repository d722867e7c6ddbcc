#include "lbd/base/buffer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <new>

namespace lbd {
namespace {

constexpr std::size_t kFreePerClassMax = 1024;

std::size_t class_of(std::size_t size) noexcept {
  std::size_t index = 0;
  while (index < BufferPool::kSizes.size() && BufferPool::kSizes[index] < size) ++index;
  return index;
}

}  // namespace

BufferPool::~BufferPool() {
  for (auto& blocks : free_) {
    for (char* block : blocks) std::free(block);
  }
}

std::span<char> BufferPool::take(std::size_t size) {
  const std::size_t index = class_of(size);
  if (index < kSizes.size()) {
    size = kSizes[index];
    if (!free_[index].empty()) {
      char* block = free_[index].back();
      free_[index].pop_back();
      return {block, size};
    }
  }
  auto* block = static_cast<char*>(std::malloc(size));
  if (block == nullptr) throw std::bad_alloc();
  return {block, size};
}

void BufferPool::give_back(std::span<char> block) noexcept {
  const std::size_t index = class_of(block.size());
  if (index < kSizes.size() && block.size() == kSizes[index] &&
      free_[index].size() < kFreePerClassMax) {
    free_[index].push_back(block.data());
    return;
  }
  std::free(block.data());
}

void Buffer::release() noexcept {
  if (!block_.empty()) pool_->give_back(block_);
  block_ = {};
  begin_ = end_ = 0;
}

void Buffer::reserve(std::size_t capacity) {
  if (capacity <= block_.size()) return;
  const std::span<char> bigger = pool_->take(capacity);
  const std::size_t content = size();
  if (content > 0) std::memcpy(bigger.data(), block_.data() + begin_, content);
  if (!block_.empty()) pool_->give_back(block_);
  block_ = bigger;
  begin_ = 0;
  end_ = content;
}

void Buffer::compact() noexcept {
  if (begin_ == 0) return;
  std::memmove(block_.data(), block_.data() + begin_, size());
  end_ -= begin_;
  begin_ = 0;
}

void Buffer::grow(std::size_t more) {
  if (size() + more <= block_.size()) {
    compact();
  } else {
    reserve(std::max(2 * block_.size(), size() + more));
  }
}

void Buffer::append_decimal(std::uint64_t number) {
  constexpr std::size_t kDigitsMax = 20;
  char* const first = room(kDigitsMax);
  const auto [end, error] = std::to_chars(first, first + kDigitsMax, number);
  end_ += static_cast<std::size_t>(end - first);
}

}  // namespace lbd
