// Byte buffers from a per-worker pool: sizes 1, 4, 16 and 64 KiB, reused without going back to the
// heap.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace lbd {

/// Thread: its worker's. Lifetime: outlives its buffers.
class BufferPool {
 public:
  static constexpr std::array<std::size_t, 4> kSizes{1024, 4096, 16 * 1024, 64 * 1024};

  BufferPool() = default;
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool();

 private:
  friend class Buffer;
  /// A block of the smallest class that holds `size`, or exactly `size` beyond the classes.
  [[nodiscard]] std::span<char> take(std::size_t size);
  void give_back(std::span<char> block) noexcept;

  std::array<std::vector<char*>, kSizes.size()> free_;
};

/// A contiguous queue of bytes: written at the end, consumed at the front. Views into it hold until
/// it grows, compacts or is cleared; `consume` alone moves nothing.
class Buffer {
 public:
  explicit Buffer(BufferPool& pool) noexcept : pool_(&pool) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  [[nodiscard]] std::string_view view() const noexcept {
    return {block_.data() + begin_, end_ - begin_};
  }
  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return block_.size(); }
  /// Free space at the end.
  [[nodiscard]] std::span<char> space() noexcept { return block_.subspan(end_); }

  void commit(std::size_t bytes) noexcept { end_ += bytes; }
  /// Moves nothing and keeps the free space where it is, so that a read into `space()` may be under
  /// way.
  void consume(std::size_t bytes) noexcept { begin_ += bytes; }
  /// With one of the same pool.
  void swap(Buffer& other) noexcept {
    std::swap(block_, other.block_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
  }
  /// Drops the content, keeps the block.
  void clear() noexcept { begin_ = end_ = 0; }
  /// Drops the content and gives the block back to the pool.
  void release() noexcept;
  /// Makes the whole block at least `capacity` bytes, content moved to its front. Invalidates
  /// views.
  void reserve(std::size_t capacity);
  /// Moves the content to the front of the block. Invalidates views.
  void compact() noexcept;
  void append(std::string_view bytes) {
    copy(room(bytes.size()), bytes);
    end_ += bytes.size();
  }
  void append(char byte) {
    *room(1) = byte;
    ++end_;
  }
  /// All of them, one after the other, with one look at the room there is.
  template <class... Text>
  void append_all(const Text&... text) {
    const std::size_t size = (length(text) + ...);
    char* to = room(size);
    ((to = copy(to, text)), ...);
    end_ += size;
  }
  void append_decimal(std::uint64_t number);

 private:
  /// Where `size` bytes can be written.
  [[nodiscard]] char* room(std::size_t size) {
    if (size > block_.size() - end_) grow(size);
    return block_.data() + end_;
  }
  void grow(std::size_t size);
  static std::size_t length(std::string_view text) noexcept { return text.size(); }
  template <std::size_t kSize>
  static std::size_t length(const char (&/*literal*/)[kSize]) noexcept {
    return kSize - 1;
  }
  template <std::size_t kSize>
  static char* copy(char* to, const char (&literal)[kSize]) noexcept {
    std::memcpy(to, literal, kSize - 1);
    return to + kSize - 1;
  }
  /// Most pieces of a head are short: copied without a call. Returns where the copy ends.
  static char* copy(char* to, std::string_view from) noexcept {
    const std::size_t size = from.size();
    if (size > 32) {
      std::memcpy(to, from.data(), size);
    } else if (size >= 16) {
      copy_ends<16>(to, from);
    } else if (size >= 8) {
      copy_ends<8>(to, from);
    } else if (size >= 4) {
      copy_ends<4>(to, from);
    } else if (size >= 2) {
      copy_ends<2>(to, from);
    } else if (size == 1) {
      *to = from.front();
    }
    return to + size;
  }
  /// The first `kBytes` and the last, which may overlap.
  template <std::size_t kBytes>
  static void copy_ends(char* to, std::string_view from) noexcept {
    std::array<char, kBytes> first;  // NOLINT(cppcoreguidelines-pro-type-member-init): hot
    std::array<char, kBytes> last;   // NOLINT(cppcoreguidelines-pro-type-member-init): hot
    std::memcpy(first.data(), from.data(), kBytes);
    std::memcpy(last.data(), from.data() + from.size() - kBytes, kBytes);
    std::memcpy(to, first.data(), kBytes);
    std::memcpy(to + from.size() - kBytes, last.data(), kBytes);
  }

  BufferPool* pool_;
  std::span<char> block_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace lbd
