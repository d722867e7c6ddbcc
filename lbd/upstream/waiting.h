// Requests that wait for a target's response head: how the control plane notices a target that has
// fallen silent, and a worker finds what to take away from one that is down.
#pragma once

#include "lbd/base/clock.h"
#include "lbd/upstream/live.h"

namespace lbd::upstream {

/// How long after its start a response's head is overdue at a target that usually takes
/// `latency_us`: cause to check it.
[[nodiscard]] constexpr Duration overdue_after(float latency_us) noexcept {
  constexpr float kTimes = 8;
  constexpr std::chrono::milliseconds kLeast{500};
  constexpr std::chrono::seconds kMost{5};
  if (latency_us * kTimes <= 1000.0F * kLeast.count()) return kLeast;
  if (latency_us * kTimes >= 1e6F * kMost.count()) return kMost;
  return std::chrono::microseconds(static_cast<std::int64_t>(latency_us * kTimes));
}

/// One request's place in its worker's list of those that wait for one target (TargetLoad::waiting,
/// oldest first). Thread: the worker's. The TargetLoad outlives it.
class Waiting {
 public:
  explicit Waiting(void* request) noexcept : request_(request) {}
  ~Waiting() { leave(); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  void join(TargetLoad& load, TimePoint now) noexcept;
  void leave() noexcept;
  [[nodiscard]] TimePoint since() const noexcept { return since_; }
  [[nodiscard]] void* request() const noexcept { return request_; }
  [[nodiscard]] Waiting* next() const noexcept { return next_; }
  [[nodiscard]] const TargetLoad* load() const noexcept { return load_; }

 private:
  static void tell(TargetLoad& load) noexcept;

  void* request_;
  TargetLoad* load_ = nullptr;  // null while in no list
  Waiting* next_ = nullptr;
  Waiting* previous_ = nullptr;
  TimePoint since_{};
};

}  // namespace lbd::upstream
