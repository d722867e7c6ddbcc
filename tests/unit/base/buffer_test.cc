#include "lbd/base/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "lbd/base/recycle.h"
#include "lbd/base/task.h"

namespace lbd {
namespace {

TEST(Buffer, IsAQueueOfBytesAcrossGrowthAndCompaction) {
  BufferPool pool;
  Buffer buffer(pool);
  std::string wanted;
  std::size_t sent = 0;
  std::size_t taken = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string piece;
    for (int i = 0; i < round % 97; ++i) piece += static_cast<char>('a' + sent++ % 26);
    buffer.append(piece);
    const std::size_t take = std::min<std::size_t>(buffer.size(), round % 89);
    for (const char c : buffer.view().substr(0, take)) {
      ASSERT_EQ(c, static_cast<char>('a' + taken++ % 26));
    }
    buffer.consume(take);
  }
  EXPECT_EQ(buffer.size(), sent - taken);
}

TEST(Buffer, ConsumingMovesNothingSoAReadMayBeUnderWay) {
  BufferPool pool;
  Buffer buffer(pool);
  buffer.append("head");
  char* const space = buffer.space().data();
  buffer.consume(4);
  EXPECT_EQ(buffer.space().data(), space);
  *space = 'x';
  buffer.commit(1);
  EXPECT_EQ(buffer.view(), "x");
}

TEST(Buffer, ReserveKeepsTheContentAndGivesTheWholeBlock) {
  BufferPool pool;
  Buffer buffer(pool);
  buffer.append(std::string(900, 'a') + "end");
  buffer.consume(900);
  buffer.reserve(5000);
  EXPECT_EQ(buffer.view(), "end");
  EXPECT_GE(buffer.space().size(), 5000u - 3);
  buffer.reserve(10);  // never shrinks
  EXPECT_GE(buffer.capacity(), 5000u);
}

TEST(Buffer, PiecesOfEverySizeAreCopiedWhole) {
  BufferPool pool;
  std::string text;
  for (int i = 0; i < 100; ++i) text.push_back(static_cast<char>('!' + i % 90));
  for (std::size_t size = 0; size <= text.size(); ++size) {
    Buffer one(pool);
    one.append("<");
    one.append(std::string_view(text).substr(0, size));
    one.append('>');
    EXPECT_EQ(one.view(), "<" + text.substr(0, size) + ">");
    Buffer all(pool);
    all.append_all("name", ": ", std::string_view(text).substr(0, size), "\r\n");
    EXPECT_EQ(all.view(), "name: " + text.substr(0, size) + "\r\n");
  }
}

TEST(Buffer, SeveralPiecesGrowItOnceAndKeepWhatIsThere) {
  BufferPool pool;
  Buffer buffer(pool);
  const std::string before(1000, 'b');
  const std::string value(3000, 'v');
  buffer.append(before);
  buffer.consume(10);
  buffer.append_all("n", value, "\n");
  EXPECT_EQ(buffer.view(), before.substr(10) + "n" + value + "\n");
}

TEST(Buffer, NumbersAreWrittenWhole) {
  BufferPool pool;
  Buffer buffer(pool);
  buffer.append_decimal(0);
  buffer.append(' ');
  buffer.append_decimal(UINT64_MAX);
  EXPECT_EQ(buffer.view(), "0 18446744073709551615");
}

TEST(BufferPool, ABlockGivenBackIsTheNextOneOfItsSize) {
  BufferPool pool;
  for (const std::size_t size : BufferPool::kSizes) {
    Buffer first(pool);
    first.reserve(size);
    EXPECT_EQ(first.capacity(), size);
    const char* block = first.space().data();
    first.release();
    EXPECT_EQ(first.capacity(), 0u);
    Buffer second(pool);
    second.reserve(size - 1);
    EXPECT_EQ(second.space().data(), block);
  }
}

TEST(BufferPool, ABlockBeyondItsClassesIsExact) {
  BufferPool pool;
  Buffer large(pool);
  large.reserve(200'000);
  EXPECT_EQ(large.capacity(), 200'000u);
}

Task<int> child(int value) { co_return value; }
Task<> parent(const void*& first, const void*& second, int& sum) {
  Task<int> a = child(1);
  sum += co_await a;
  first = &a;
  Task<int> b = child(2);
  sum += co_await b;
  second = &b;
}

TEST(Frames, AFrameGivenBackIsTheNextOneOfItsSize) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "plain heap under AddressSanitizer";
#endif
  void* first = take_recycled(200);
  give_recycled(first, 200);
  EXPECT_EQ(take_recycled(193), first);  // the same class of 32 bytes
  give_recycled(first, 193);
  void* large = take_recycled(10'000);  // beyond the classes
  ASSERT_NE(large, nullptr);
  give_recycled(large, 10'000);
  TaskGroup group;
  int sum = 0;
  const void* a = nullptr;
  const void* b = nullptr;
  group.spawn(parent(a, b, sum));
  EXPECT_EQ(sum, 3);
}

}  // namespace
}  // namespace lbd
