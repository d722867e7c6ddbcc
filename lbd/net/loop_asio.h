// What is behind Loop: the io_context and a timer wheel. Only .cc files of net/ and the control
// plane's Asio users include it.
#pragma once

#include <array>
#include <bitset>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>

#include "lbd/base/clock.h"
#include "lbd/net/loop.h"

namespace lbd::net {

/// A hashed timer wheel: 1024 slots of 8 ms. Arming and disarming are O(1) and make no system call
/// unless the new timer is the earliest; a timer further out than the wheel's 8.2 s is looked at
/// once a turn.
class LoopCore final : public Clock {
 public:
  LoopCore();
  ~LoopCore() override;

  [[nodiscard]] TimePoint now() const noexcept override;
  [[nodiscard]] WallTime wall() const noexcept override;

  boost::asio::io_context io;

 private:
  static constexpr std::size_t kSlots = 1024;
  static constexpr std::chrono::milliseconds kTick{8};

  void arm(Timer& timer) noexcept override;
  void disarm(Timer& timer) noexcept override;
  static void push(Timer*& head, Timer& timer) noexcept;
  static void unlink(Timer& timer) noexcept;
  void place(Timer& timer, std::uint64_t tick) noexcept;
  [[nodiscard]] std::uint64_t tick_of(TimePoint when) const noexcept;
  void schedule(std::uint64_t tick);
  void schedule_next();
  void turn();
  void run_slot(std::size_t index, TimePoint now);

  boost::asio::steady_timer wake_;
  TimePoint start_;
  std::array<Timer*, kSlots> slots_{};
  std::bitset<kSlots> used_;
  std::size_t armed_ = 0;
  std::uint64_t current_tick_ = 0;             // every tick up to this one has been run
  std::uint64_t scheduled_tick_ = UINT64_MAX;  // when wake_ fires
  bool turning_ = false;
};

}  // namespace lbd::net
