#include "lbd/net/loop_asio.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "lbd/net/loop_core.h"

namespace lbd::net {
namespace {

namespace asio = boost::asio;

class AsioHost final : public LoopHost {
 public:
  explicit AsioHost(LoopCore& core)
      : core_(core),
        watched_(io_, core.descriptor()),
        wake_(io_),
        guard_(asio::make_work_guard(io_)) {
    wait();
  }
  ~AsioHost() override { watched_.release(); }

  void run() override {
    io_.run();
    io_.restart();
  }
  void stop() override { io_.stop(); }
  void wake_at(TimePoint when) override {
    if (when == waking_at_) return;
    waking_at_ = when;
    wake_.expires_at(when);
    wake_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      waking_at_ = {};
      core_.turn();
    });
  }

  asio::io_context& io() noexcept { return io_; }

 private:
  void wait() {
    watched_.async_wait(asio::posix::descriptor_base::wait_read,
                        [this](const boost::system::error_code& error) {
                          if (error) return;
                          core_.turn();
                          wait();
                        });
  }

  LoopCore& core_;
  // One thread runs it, so its reactor needs no locks; the scheduler keeps its own.
  asio::io_context io_{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO};
  asio::posix::stream_descriptor watched_;  // the loop's epoll set: not ours to close
  asio::steady_timer wake_;
  TimePoint waking_at_{};
  asio::executor_work_guard<asio::io_context::executor_type> guard_;
};

}  // namespace

asio::io_context& asio_of(Loop& loop) {
  LoopHost& host = loop.core().host(
      [](LoopCore& core) -> std::unique_ptr<LoopHost> { return std::make_unique<AsioHost>(core); });
  return static_cast<AsioHost&>(host).io();
}

}  // namespace lbd::net
