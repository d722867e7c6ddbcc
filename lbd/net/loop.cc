#include "lbd/net/loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lbd/base/check.h"
#include "lbd/net/loop_core.h"

namespace lbd::net {
namespace {

constexpr int kDeferredRounds = 4;  // then the other descriptors get their turn

}  // namespace

LoopCore::LoopCore()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      start_(std::chrono::steady_clock::now()) {
  LBD_CHECK(epoll_ >= 0 && wake_ >= 0);
  deferred_.next_ = deferred_.previous_ = &deferred_;
  slow_.next_ = slow_.previous_ = &slow_;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  LBD_CHECK(::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) == 0);
}

LoopCore::~LoopCore() {
  leaving_.clear();
  host_.reset();
  while (deferred_.next_ != &deferred_) deferred_.next_->unlink();
  while (slow_.next_ != &slow_) slow_.next_->unlink();
  ::close(wake_);
  ::close(epoll_);
}

// Asked some ten times for a request: within one call from a worker's loop time stands still.
TimePoint LoopCore::now() const noexcept {
  if (!turning_ || host_) return std::chrono::steady_clock::now();
  if (moment_ == TimePoint{}) moment_ = std::chrono::steady_clock::now();
  return moment_;
}
WallTime LoopCore::wall() const noexcept { return std::chrono::system_clock::now(); }

void LoopCore::run() {
  if (host_) {
    host_->run();
  } else {
    while (!stopped_.load(std::memory_order_acquire)) turn(wait_ms());
  }
  stopped_.store(false, std::memory_order_release);
}

void LoopCore::stop() {
  stopped_.store(true, std::memory_order_release);
  if (host_) host_->stop();
  signal();
}

void LoopCore::post(std::function<void()> work) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(work));
  }
  signal();
}

void LoopCore::signal() noexcept {
  if (signalled_.exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t one = 1;
  // It can only fail when the counter is full, and then the descriptor is readable anyway.
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
}

int LoopCore::watch(int fd, Watch& watch, std::uint32_t events) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &watch;
  return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

int LoopCore::rewatch(int fd, Watch& watch, std::uint32_t events) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &watch;
  return ::epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) == 0 ? 0 : errno;
}

// Explicitly out of the set: closing would not do while a child between fork and exec shares the
// description.
void LoopCore::forget(int fd, Watch& watch) noexcept {
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  for (std::size_t i = batch_at_; i < batch_size_; ++i) {
    if (batch_[i].data.ptr == &watch) batch_[i].data.ptr = nullptr;
  }
  watch.unlink();
}

void LoopCore::gone(const Watch& watch) noexcept {
  std::erase_if(leaving_, [&](const auto& each) { return each.get() == &watch; });
}

void LoopCore::defer(Watch& watch) noexcept { put_off(watch, deferred_); }

void LoopCore::defer_slow(Watch& watch) noexcept { put_off(watch, slow_); }

void LoopCore::put_off(Watch& watch, Watch& ring) noexcept {
  if (watch.next_ != nullptr) return;
  watch.next_ = &ring;
  watch.previous_ = ring.previous_;
  ring.previous_->next_ = &watch;
  ring.previous_ = &watch;
  if (host_ && !turning_) signal();
}

LoopHost& LoopCore::host(const std::function<std::unique_ptr<LoopHost>(LoopCore&)>& make) {
  if (!host_) {
    host_ = make(*this);
    if (scheduled_tick_ != UINT64_MAX) host_->wake_at(time_of(scheduled_tick_));
  }
  return *host_;
}

int LoopCore::wait_ms() const noexcept {
  if (any_deferred()) return 0;
  if (scheduled_tick_ == UINT64_MAX) return -1;
  const Duration left = time_of(scheduled_tick_) - now();
  if (left <= Duration::zero()) return 0;
  const auto whole = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::min<std::int64_t>(whole, 60'000));
}

void LoopCore::turn(int timeout_ms) {
  const int count = ::epoll_wait(epoll_, batch_.data(), static_cast<int>(kBatch), timeout_ms);
  LBD_CHECK(count >= 0 || errno == EINTR);
  turning_ = true;
  signalled_.store(false, std::memory_order_release);
  batch_size_ = static_cast<std::size_t>(std::max(count, 0));
  for (batch_at_ = 0; batch_at_ < batch_size_; ++batch_at_) {
    const epoll_event event = batch_[batch_at_];
    moment_ = {};
    if (event.data.ptr != nullptr) static_cast<Watch*>(event.data.ptr)->ready(event.events);
  }
  batch_at_ = batch_size_ = 0;
  run_timers();
  run_posted();
  run_deferred();
  run_slow();
  turning_ = false;
  if (!host_) return;
  if (any_deferred()) signal();
  if (scheduled_tick_ != UINT64_MAX) host_->wake_at(time_of(scheduled_tick_));
}

void LoopCore::run_deferred() {
  for (int round = 0; round < kDeferredRounds && deferred_.next_ != &deferred_; ++round) {
    Anchor now;  // what is deferred from here on waits for the next round
    now.next_ = deferred_.next_;
    now.previous_ = deferred_.previous_;
    now.next_->previous_ = now.previous_->next_ = &now;
    deferred_.next_ = deferred_.previous_ = &deferred_;
    while (now.next_ != &now) {
      Watch& watch = *now.next_;
      watch.unlink();
      moment_ = {};
      watch.resume_deferred();
    }
  }
}

void LoopCore::run_slow() {
  for (int ran = 0; ran < kSlowPerTurn && slow_.next_ != &slow_; ++ran) {
    Watch& watch = *slow_.next_;
    watch.unlink();
    moment_ = {};
    watch.resume_deferred();
  }
}

void LoopCore::run_posted() {
  {
    const std::lock_guard lock(posted_mutex_);
    if (posted_.empty()) return;
    running_.swap(posted_);
  }
  for (std::function<void()>& work : running_) {
    moment_ = {};
    std::exchange(work, nullptr)();
  }
  running_.clear();
}

std::uint64_t LoopCore::tick_of(TimePoint when) const noexcept {
  if (when <= start_) return 0;
  // Rounded up: a timer never fires early.
  return static_cast<std::uint64_t>((when - start_ + kTick - Duration(1)) / kTick);
}

TimePoint LoopCore::time_of(std::uint64_t tick) const noexcept {
  return start_ + kTick * static_cast<std::int64_t>(tick);
}

void LoopCore::arm(Timer& timer) noexcept {
  const std::uint64_t tick = std::max(tick_of(timer.due()), current_tick_ + 1);
  timer.armed = true;
  timer.armed_due = timer.due();
  place(timer, tick);
  ++armed_;
  if (tick >= scheduled_tick_) return;
  scheduled_tick_ = tick;
  if (host_ && !turning_) host_->wake_at(time_of(tick));
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

void LoopCore::schedule_next() noexcept {
  scheduled_tick_ = UINT64_MAX;
  if (armed_ == 0) return;
  for (std::uint64_t ahead = 1; ahead <= kSlots; ++ahead) {
    if (used_.test((current_tick_ + ahead) % kSlots)) {
      scheduled_tick_ = current_tick_ + ahead;
      return;
    }
  }
}

void LoopCore::run_timers() {
  if (scheduled_tick_ == UINT64_MAX) return;
  moment_ = {};
  const TimePoint moment = now();
  const auto target = static_cast<std::uint64_t>((moment - start_) / kTick);
  if (target < scheduled_tick_) return;
  // After a long stall every slot is run once, not once per missed tick.
  std::uint64_t from = current_tick_ + 1;
  if (target >= from + kSlots) from = target - kSlots + 1;
  for (std::uint64_t tick = from; tick <= target; ++tick) {
    current_tick_ = tick;
    if (used_.test(tick % kSlots)) run_slot(tick % kSlots, moment);
  }
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
    moment_ = {};
    timer.fire();
  }
}

Loop::Loop() : core_(std::make_unique<LoopCore>()) {}
Loop::~Loop() = default;

void Loop::run() { core_->run(); }

void Loop::stop() { core_->stop(); }

void Loop::post(std::function<void()> work) { core_->post(std::move(work)); }

Clock& Loop::clock() noexcept { return *core_; }

class TurnEnd::Deferred final : public Watch {
 public:
  Deferred(LoopCore& core, void* context, Call call) noexcept
      : core_(core), context_(context), call_(call) {}
  void ready(std::uint32_t /*events*/) override {}
  void resume_deferred() override { call_(context_); }
  void ask() noexcept { core_.defer(*this); }

 private:
  LoopCore& core_;
  void* context_;
  Call call_;
};

TurnEnd::TurnEnd(Loop& loop, void* context, Call call)
    : deferred_(std::make_unique<Deferred>(loop.core(), context, call)) {}
TurnEnd::~TurnEnd() = default;
void TurnEnd::ask() noexcept { deferred_->ask(); }

}  // namespace lbd::net
