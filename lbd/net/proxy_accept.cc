#include "lbd/net/proxy_accept.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace lbd::net {

ProxyAccept::ProxyAccept(Loop& loop, int fd) : core_(loop.core()), fd_(fd) {}

ProxyAccept::~ProxyAccept() {
  const int fd = release();
  if (fd >= 0) ::close(fd);
}

Task<Result<std::optional<ProxyEndpoints>, ProxyFault>> ProxyAccept::run(TimePoint deadline) {
  if (core_.watch(fd_, *this, EPOLLIN | EPOLLRDHUP | EPOLLET) != 0) co_return ProxyFault::closed;
  while (!cancelled_ && !read_some()) {
    more_.reset();
    const bool in_time = co_await more_.wait_until(core_, deadline);
    if (!in_time) co_return ProxyFault::timeout;
  }
  if (cancelled_) co_return ProxyFault::closed;
  if (fault_ != ProxyFault::none) co_return fault_;
  co_return header_.endpoints();
}

void ProxyAccept::cancel() noexcept {
  cancelled_ = true;
  core_.defer(*this);
}

int ProxyAccept::release() noexcept {
  if (fd_ >= 0) core_.forget(fd_, *this);
  return std::exchange(fd_, -1);
}

void ProxyAccept::ready(std::uint32_t /*events*/) { more_.set(); }

void ProxyAccept::resume_deferred() { more_.set(); }

/// Looks at what is there, and then takes what of it is the header's.
bool ProxyAccept::read_some() {
  std::array<std::uint8_t, 512> bytes{};
  for (;;) {
    const ssize_t seen = ::recv(fd_, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    if (seen < 0 && errno == EINTR) continue;
    if (seen < 0 && errno == EAGAIN) return false;
    if (seen <= 0) {
      fault_ = ProxyFault::closed;
      return true;
    }
    const std::size_t taken = header_.step({bytes.data(), static_cast<std::size_t>(seen)});
    if (::recv(fd_, bytes.data(), taken, MSG_DONTWAIT) != static_cast<ssize_t>(taken)) {
      fault_ = ProxyFault::closed;
      return true;
    }
    if (header_.state() == ProxyHeaderReader::State::reading) continue;
    fault_ = header_.fault();
    return true;
  }
}

}  // namespace lbd::net
