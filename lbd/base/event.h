// Event: a flag that coroutines of one thread wait for, with or without a deadline.
#pragma once

#include <coroutine>
#include <optional>

#include "lbd/base/clock.h"

namespace lbd {

/// Manual-reset. Waiters are resumed by `set()`, inline, in the order they came. Must outlive its
/// waiters.
class Event {
  struct Node {
    Node* next = nullptr;
    std::coroutine_handle<> waiter;
    bool linked = false;
  };

 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  [[nodiscard]] bool is_set() const noexcept { return set_; }
  void reset() noexcept { set_ = false; }

  /// Wakes everyone who waits now; later waiters do not wait until reset().
  void set() noexcept {
    set_ = true;
    Node* node = head_;
    head_ = nullptr;
    tail_ = &head_;
    for (Node* each = node; each != nullptr; each = each->next) each->linked = false;
    while (node != nullptr) {
      Node* next = node->next;  // the node dies when its waiter runs
      node->waiter.resume();
      node = next;
    }
  }

  class Wait {
   public:
    explicit Wait(Event& event) noexcept : event_(event) {}
    [[nodiscard]] bool await_ready() const noexcept { return event_.set_; }
    void await_suspend(std::coroutine_handle<> waiter) noexcept {
      node_.waiter = waiter;
      event_.link(node_);
    }
    static void await_resume() noexcept {}

   private:
    Event& event_;
    Node node_;
  };
  [[nodiscard]] Wait wait() noexcept { return Wait(*this); }

  class WaitUntil {
   public:
    WaitUntil(Event& event, Clock& clock, TimePoint due) noexcept
        : event_(event), due_(due), timer_(clock, this, &WaitUntil::expire) {}
    [[nodiscard]] bool await_ready() const noexcept { return event_.set_; }
    void await_suspend(std::coroutine_handle<> waiter) noexcept {
      node_.waiter = waiter;
      event_.link(node_);
      timer_.set(due_);
    }
    /// True when the event was set, false when the deadline came first.
    bool await_resume() noexcept {
      timer_.cancel();
      return !expired_;
    }

   private:
    static void expire(void* context) {
      auto* self = static_cast<WaitUntil*>(context);
      if (!self->node_.linked) return;  // set() has taken it and will resume it
      self->expired_ = true;
      self->event_.unlink(self->node_);
      self->node_.waiter.resume();
    }

    Event& event_;
    TimePoint due_;
    Timer timer_;
    Node node_;
    bool expired_ = false;
  };
  [[nodiscard]] WaitUntil wait_until(Clock& clock, TimePoint due) noexcept {
    return WaitUntil(*this, clock, due);
  }

 private:
  void link(Node& node) noexcept {
    node.next = nullptr;
    node.linked = true;
    *tail_ = &node;
    tail_ = &node.next;
  }
  void unlink(Node& node) noexcept {
    Node** at = &head_;
    while (*at != &node) at = &(*at)->next;
    *at = node.next;
    if (tail_ == &node.next) tail_ = at;
    node.linked = false;
  }

  bool set_ = false;
  Node* head_ = nullptr;
  Node** tail_ = &head_;
};

}  // namespace lbd
