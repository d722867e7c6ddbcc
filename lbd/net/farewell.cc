#include "lbd/net/farewell.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace lbd::net {
namespace {

constexpr Duration kFarewell = std::chrono::seconds(5);

}  // namespace

Farewell::Farewell(LoopCore& core, int fd, std::vector<char> bytes)
    : core_(core), fd_(fd), bytes_(std::move(bytes)), timer_(core, this, [](void* self) {
        auto* farewell = static_cast<Farewell*>(self);
        farewell->core_.gone(*farewell);
      }) {
  timer_.set(core.now() + kFarewell);
  if (core_.watch(fd_, *this, EPOLLOUT | EPOLLET) != 0) core_.defer(*this);
}

Farewell::~Farewell() {
  core_.forget(fd_, *this);
  ::close(fd_);
}

void Farewell::ready(std::uint32_t /*events*/) {
  const char* from = bytes_.data() + sent_;
  const ssize_t step = ::send(fd_, from, bytes_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (step < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (step > 0) sent_ += static_cast<std::size_t>(step);
  if (step < 0 || sent_ == bytes_.size()) core_.gone(*this);
}

void Farewell::resume_deferred() { core_.gone(*this); }

}  // namespace lbd::net
