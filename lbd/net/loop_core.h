// What is behind Loop: an epoll set, a timer wheel and posted work (docs/adr/0004). For net/ only.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "lbd/base/clock.h"

namespace lbd::net {

/// Something the loop calls: a watched descriptor, or work put off to the end of the turn.
/// Lifetime: leaves the loop (LoopCore::forget, or its destructor for deferred work) before it
/// dies. Thread: the loop's.
class Watch {
 public:
  Watch() = default;
  virtual ~Watch() { unlink(); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// `events`: EPOLL* bits. May destroy this and any other watch.
  virtual void ready(std::uint32_t events) = 0;
  /// After LoopCore::defer. May destroy this and any other watch.
  virtual void resume_deferred() {}

 private:
  friend class LoopCore;
  void unlink() noexcept {
    if (next_ == nullptr) return;
    next_->previous_ = previous_;
    previous_->next_ = next_;
    next_ = previous_ = nullptr;
  }
  // The ring of what is deferred; null while not in it.
  Watch* next_ = nullptr;
  Watch* previous_ = nullptr;
};

/// A library's own event loop that runs the thread in place of ours (loop_asio.cc).
class LoopHost {
 public:
  virtual ~LoopHost() = default;
  /// Runs until `stop`, calling LoopCore::turn when the loop's descriptor is readable and at the
  /// time of the last `wake_at`.
  virtual void run() = 0;
  /// Thread: any.
  virtual void stop() = 0;
  virtual void wake_at(TimePoint when) = 0;
};

/// Thread: one, but for `post` and `stop`. The timers are a hashed wheel: 1024 slots of 8 ms;
/// arming and disarming are O(1); a timer further out than the wheel's 8.2 s is looked at once a
/// turn.
class LoopCore final : public Clock {
 public:
  LoopCore();
  ~LoopCore() override;

  [[nodiscard]] TimePoint now() const noexcept override;
  [[nodiscard]] WallTime wall() const noexcept override;

  void run();
  void stop();
  void post(std::function<void()> work);

  /// Adds a descriptor. Returns 0 or an errno. `watch` must be forgotten before `fd` is closed.
  [[nodiscard]] int watch(int fd, Watch& watch, std::uint32_t events) noexcept;
  /// Changes what is asked for; what is ready already is told again. Returns 0 or an errno.
  [[nodiscard]] int rewatch(int fd, Watch& watch, std::uint32_t events) noexcept;
  /// Takes it out of the set, of the events under way and of what is deferred.
  void forget(int fd, Watch& watch) noexcept;
  /// Calls `watch.resume_deferred` later, never inside this call. Once however often it is asked.
  void defer(Watch& watch) noexcept;
  /// The same for work that takes long: kSlowPerTurn of these a turn, so that a flood of it leaves
  /// time for everything else.
  void defer_slow(Watch& watch) noexcept;

  /// Keeps something that outlives who made it, until it says `gone`, or the loop ends.
  void see_off(std::unique_ptr<Watch> leaving) { leaving_.push_back(std::move(leaving)); }
  /// Destroys it.
  void gone(const Watch& watch) noexcept;

  /// Handles what is ready, without waiting. For the host.
  void turn() { turn(0); }
  [[nodiscard]] int descriptor() const noexcept { return epoll_; }
  /// For whoever has the turn, empty between turns; its memory is kept.
  [[nodiscard]] std::vector<char>& scratch() noexcept { return scratch_; }
  /// The host, made by `make` when there is none yet; before `run`.
  LoopHost& host(const std::function<std::unique_ptr<LoopHost>(LoopCore&)>& make);

 private:
  static constexpr std::size_t kSlots = 1024;
  static constexpr std::size_t kBatch = 256;
  static constexpr int kSlowPerTurn = 2;
  static constexpr std::chrono::milliseconds kTick{8};

  /// The anchor of the ring.
  struct Anchor final : Watch {
    void ready(std::uint32_t /*events*/) override {}
  };

  void turn(int timeout_ms);
  [[nodiscard]] int wait_ms() const noexcept;
  void put_off(Watch& watch, Watch& ring) noexcept;
  void run_deferred();
  void run_slow();
  void run_posted();
  void signal() noexcept;
  [[nodiscard]] bool any_deferred() const noexcept {
    return deferred_.next_ != &deferred_ || slow_.next_ != &slow_;
  }

  void arm(Timer& timer) noexcept override;
  void disarm(Timer& timer) noexcept override;
  static void push(Timer*& head, Timer& timer) noexcept;
  static void unlink(Timer& timer) noexcept;
  void place(Timer& timer, std::uint64_t tick) noexcept;
  [[nodiscard]] std::uint64_t tick_of(TimePoint when) const noexcept;
  [[nodiscard]] TimePoint time_of(std::uint64_t tick) const noexcept;
  void schedule_next() noexcept;
  void run_timers();
  void run_slot(std::size_t index, TimePoint now);

  int epoll_;
  int wake_;  // an eventfd, edge-triggered: never read
  std::array<epoll_event, kBatch> batch_{};
  std::size_t batch_at_ = 0;
  std::size_t batch_size_ = 0;
  Anchor deferred_;
  Anchor slow_;
  bool turning_ = false;
  mutable TimePoint moment_{};  // when the call under way first asked; none: it has not yet
  std::vector<char> scratch_;
  std::vector<std::unique_ptr<Watch>> leaving_;
  std::unique_ptr<LoopHost> host_;

  std::atomic<bool> stopped_ = false;
  std::atomic<bool> signalled_ = false;  // wake_ was written and the turn for it is to come
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
  std::vector<std::function<void()>> running_;

  TimePoint start_;
  std::array<Timer*, kSlots> slots_{};
  std::bitset<kSlots> used_;
  std::size_t armed_ = 0;
  std::uint64_t current_tick_ = 0;             // every tick up to this one has been run
  std::uint64_t scheduled_tick_ = UINT64_MAX;  // the next that has something, or earlier
};

}  // namespace lbd::net
