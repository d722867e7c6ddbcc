#include "lbd/proxy/session.h"

#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {

Session::~Session() = default;

void Session::drain(boost::local_shared_ptr<Pinned> last) noexcept {
  draining_ = true;
  if (!last_) last_ = std::move(last);
  begin_drain();
}

Fault Session::judge(config::DesyncMode mode, http::RequestHead& head) noexcept {
  using config::DesyncMode;
  const http::DesyncClass found = http::desync_class(head.desync);
  if (found == http::DesyncClass::compliant || mode == DesyncMode::monitor) return Fault::none;
  if (mode == DesyncMode::strictest || found == http::DesyncClass::severe) {
    return Fault::client_protocol;
  }
  head.alone = found == http::DesyncClass::ambiguous;
  return Fault::none;
}

const upstream::SnapshotListener* Session::find_listener(
    const upstream::Snapshot& snapshot) const noexcept {
  for (const auto& listener : snapshot.listeners) {
    if (listener->live.get() == live_.get()) return listener.get();
  }
  return nullptr;
}

const boost::local_shared_ptr<Pinned>& Session::pinned() const noexcept {
  return last_ && find_listener(*worker_.pinned->snapshot) == nullptr ? last_ : worker_.pinned;
}

}  // namespace lbd::proxy
