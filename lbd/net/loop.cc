#include "lbd/net/loop.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include "lbd/base/check.h"
#include "lbd/net/loop_asio.h"

namespace lbd::net {

namespace asio = boost::asio;

// One thread runs the loop, so reactor I/O needs no locks; the scheduler keeps its own for post()
// from other threads.
LoopCore::LoopCore()
    : io(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO),
      wake_(io),
      start_(std::chrono::steady_clock::now()) {}

LoopCore::~LoopCore() = default;

TimePoint LoopCore::now() const noexcept { return std::chrono::steady_clock::now(); }
WallTime LoopCore::wall() const noexcept { return std::chrono::system_clock::now(); }

std::uint64_t LoopCore::tick_of(TimePoint when) const noexcept {
  if (when <= start_) return 0;
  // Rounded up: a timer never fires early.
  return static_cast<std::uint64_t>((when - start_ + kTick - Duration(1)) / kTick);
}

void LoopCore::arm(Timer& timer) noexcept {
  const std::uint64_t tick = std::max(tick_of(timer.due()), current_tick_ + 1);
  timer.armed = true;
  timer.armed_due = timer.due();
  place(timer, tick);
  ++armed_;
  if (!turning_ && tick < scheduled_tick_) schedule(tick);
}

void LoopCore::disarm(Timer& timer) noexcept {
  unlink(timer);
  timer.armed = false;
  --armed_;
}

void LoopCore::push(Timer*& head, Timer& timer) noexcept {
  timer.next = head;
  timer.link = &head;
  if (head != nullptr) head->link = &timer.next;
  head = &timer;
}

// A slot's bit may stay set when its last timer leaves: the turn that visits it clears it.
void LoopCore::unlink(Timer& timer) noexcept {
  *timer.link = timer.next;
  if (timer.next != nullptr) timer.next->link = timer.link;
  timer.next = nullptr;
  timer.link = nullptr;
}

void LoopCore::place(Timer& timer, std::uint64_t tick) noexcept {
  push(slots_[tick % kSlots], timer);
  used_.set(tick % kSlots);
}

void LoopCore::schedule(std::uint64_t tick) {
  scheduled_tick_ = tick;
  wake_.expires_at(start_ + kTick * static_cast<std::int64_t>(tick));
  wake_.async_wait([this](const boost::system::error_code& error) {
    if (!error) turn();
  });
}

void LoopCore::schedule_next() {
  scheduled_tick_ = UINT64_MAX;
  if (armed_ == 0) return;
  for (std::uint64_t ahead = 1; ahead <= kSlots; ++ahead) {
    if (used_.test((current_tick_ + ahead) % kSlots)) {
      schedule(current_tick_ + ahead);
      return;
    }
  }
}

void LoopCore::turn() {
  const TimePoint moment = now();
  const auto target = static_cast<std::uint64_t>((moment - start_) / kTick);
  turning_ = true;
  // After a long stall every slot is run once, not once per missed tick.
  std::uint64_t from = current_tick_ + 1;
  if (target >= from + kSlots) from = target - kSlots + 1;
  for (std::uint64_t tick = from; tick <= target; ++tick) {
    current_tick_ = tick;
    if (used_.test(tick % kSlots)) run_slot(tick % kSlots, moment);
  }
  turning_ = false;
  schedule_next();
}

void LoopCore::run_slot(std::size_t index, TimePoint moment) {
  used_.reset(index);
  Timer* due = nullptr;  // the slot's timers, taken out, so that what they arm is not visited again
                         // in this walk
  while (slots_[index] != nullptr) {
    Timer& timer = *slots_[index];
    unlink(timer);
    push(due, timer);
  }
  while (due != nullptr) {
    Timer& timer = *due;
    unlink(timer);
    if (timer.due() > moment) {  // moved later, or more than one turn of the wheel away
      timer.armed_due = timer.due();
      place(timer, std::max(tick_of(timer.due()), current_tick_ + 1));
      continue;
    }
    timer.armed = false;
    --armed_;
    timer.fire();
  }
}

Loop::Loop() : core_(std::make_unique<LoopCore>()) {}
Loop::~Loop() = default;

void Loop::run() {
  auto guard = asio::make_work_guard(core_->io);
  core_->io.run();
}

void Loop::stop() { core_->io.stop(); }

void Loop::post(std::function<void()> work) { asio::post(core_->io, std::move(work)); }

Clock& Loop::clock() noexcept { return *core_; }

}  // namespace lbd::net
