#include "lbd/upstream/waiting.h"

namespace lbd::upstream {

void Waiting::tell(TargetLoad& load) noexcept {
  const auto since = load.waiting == nullptr
                         ? std::chrono::microseconds(0)
                         : std::chrono::duration_cast<std::chrono::microseconds>(
                               load.waiting->since_.time_since_epoch());
  load.waiting_since_us.set(since.count());
}

void Waiting::join(TargetLoad& load, TimePoint now) noexcept {
  leave();
  load_ = &load;
  since_ = now;
  next_ = nullptr;
  previous_ = load.waiting_last;
  load.waiting_last = this;
  if (previous_ != nullptr) {
    previous_->next_ = this;
    return;
  }
  load.waiting = this;
  tell(load);
}

void Waiting::leave() noexcept {
  if (load_ == nullptr) return;
  TargetLoad& load = *std::exchange(load_, nullptr);
  (next_ != nullptr ? next_->previous_ : load.waiting_last) = previous_;
  if (previous_ != nullptr) {
    previous_->next_ = next_;
    return;
  }
  load.waiting = next_;
  tell(load);
}

}  // namespace lbd::upstream
