// A net::Stream in memory, for driving a session or an upstream one piece at a time, without a
// socket: the test says what each read brings, when writes block, and how it ends.
#pragma once

#include <cerrno>
#include <deque>
#include <string>
#include <string_view>
#include <utility>

#include "lbd/net/stream.h"

namespace lbd {

/// The test's end of a MemoryStream. Outlives the stream.
class MemoryWire {
 public:
  /// One read brings these bytes (or as many as fit; the rest comes with the next).
  void feed(std::string_view bytes) {
    pieces_.emplace_back(bytes);
    deliver();
  }
  /// The peer closed.
  void end() { finish_with({Fault::closed, 0, 0}); }
  void reset() { finish_with({Fault::io_error, ECONNRESET, 0}); }
  /// From now on writes wait until `unblock`.
  void block_writes() { blocked_ = true; }
  void unblock() {
    blocked_ = false;
    if (write_ != nullptr) std::exchange(write_, nullptr)->finish({Fault::none, 0, pending_});
  }
  /// What was written since the last call.
  std::string take_written() { return std::exchange(written_, {}); }
  [[nodiscard]] bool closed() const noexcept { return closed_; }
  [[nodiscard]] bool shut_down() const noexcept { return shut_down_; }
  [[nodiscard]] bool was_reset() const noexcept { return reset_; }
  [[nodiscard]] bool reading() const noexcept { return read_ != nullptr; }

 private:
  friend class MemoryStream;

  void finish_with(net::IoResult last) {
    last_ = last;
    ended_ = true;
    deliver();
  }
  /// Ends the read under way when there is something to end it with.
  void deliver() {
    if (read_ == nullptr) return;
    net::IoResult result;
    if (!take(into_, result)) return;
    std::exchange(read_, nullptr)->finish(result);
  }
  bool take(std::span<char> into, net::IoResult& result) {
    if (pieces_.empty()) {
      result = last_;
      return ended_;
    }
    if (into.empty()) into = room_.make(room_.context);
    std::string& piece = pieces_.front();
    const std::size_t size = piece.copy(into.data(), into.size());
    piece.erase(0, size);
    if (piece.empty()) pieces_.pop_front();
    result = {Fault::none, 0, size};
    return true;
  }
  void cancel() {
    if (read_ != nullptr) std::exchange(read_, nullptr)->finish({Fault::cancelled, 0, 0});
    if (write_ != nullptr) std::exchange(write_, nullptr)->finish({Fault::cancelled, 0, 0});
  }

  std::deque<std::string> pieces_;
  std::string written_;
  std::span<char> into_;
  net::RoomMaker room_;
  net::IoWait* read_ = nullptr;
  net::IoWait* write_ = nullptr;
  std::size_t pending_ = 0;
  net::IoResult last_;
  bool ended_ = false;
  bool blocked_ = false;
  bool closed_ = false;
  bool shut_down_ = false;
  bool reset_ = false;
};

class MemoryStream final : public net::Stream {
 public:
  explicit MemoryStream(MemoryWire& wire) noexcept : wire_(wire) {}

  bool begin_read(std::span<char> into, net::IoWait& wait) override {
    net::IoResult result{Fault::cancelled, 0, 0};
    if (wire_.closed_ || wire_.take(into, result)) {
      wait.finish(result);
      return true;
    }
    wire_.into_ = into;
    wire_.read_ = &wait;
    return false;
  }
  bool begin_read(net::RoomMaker room, net::IoWait& wait) override {
    wire_.room_ = room;
    return begin_read(std::span<char>(), wait);
  }
  bool begin_write(std::span<const iovec> pieces, net::IoWait& wait) override {
    std::size_t size = 0;
    if (!wire_.closed_) {
      for (const iovec& piece : pieces) {
        wire_.written_.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
        size += piece.iov_len;
      }
    }
    if (!wire_.closed_ && wire_.blocked_) {
      wire_.pending_ = size;
      wire_.write_ = &wait;
      return false;
    }
    wait.finish({wire_.closed_ ? Fault::cancelled : Fault::none, 0, size});
    return true;
  }
  void cancel() noexcept override { wire_.cancel(); }
  void shutdown_write() noexcept override { wire_.shut_down_ = true; }
  void close(bool reset) noexcept override {
    wire_.closed_ = true;
    wire_.reset_ = reset;
    wire_.cancel();
  }

 private:
  MemoryWire& wire_;
};

}  // namespace lbd
