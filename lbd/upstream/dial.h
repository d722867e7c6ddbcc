// A connection being made, which the request that wants it may stop waiting for.
#pragma once

#include <boost/smart_ptr/local_shared_ptr.hpp>

#include "lbd/base/event.h"
#include "lbd/base/task.h"
#include "lbd/net/tcp_stream.h"

namespace lbd::upstream {

/// Shared by the request that waits and the task that dials. A request that leaves calls the dial
/// off.
///
/// Thread: one worker.
class Dial {
 public:
  struct To {
    net::Loop& loop;
    net::TcpDial::To target;
    TimePoint deadline;
  };
  /// The task is one of `tasks`, whose owner waits for it.
  [[nodiscard]] static boost::local_shared_ptr<Dial> start(TaskGroup& tasks, To to);

  explicit Dial(net::Loop& loop) : dial_(loop) {}
  /// Ends with the dial, or when `leave` is called.
  [[nodiscard]] Event::Wait wait() noexcept { return over_.wait(); }
  /// Wakes the waiter, inline. The connection is not wanted any more.
  void leave() noexcept {
    dial_.cancel();
    over_.set();
  }
  /// The outcome; only after `wait`, once. After `leave` it says nothing.
  [[nodiscard]] net::Dialled take() noexcept { return std::move(dialled_); }

 private:
  static Task<> run(boost::local_shared_ptr<Dial> dial, To to);

  net::TcpDial dial_;
  Event over_;
  net::Dialled dialled_ = net::DialFailure{Fault::cancelled, 0};
};

}  // namespace lbd::upstream
