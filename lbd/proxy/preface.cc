#include "lbd/proxy/preface.h"

#include <algorithm>

#include "lbd/proxy/h1_session.h"
#include "lbd/proxy/h2_session.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kCapacity = 1024;

/// A whole line that begins no HTTP/1 request and is no preface either.
bool is_neither(std::string_view bytes) noexcept {
  const std::size_t end = bytes.find("\r\n");
  if (end == 0 || end == std::string_view::npos || bytes.starts_with(kPreface.substr(0, 14))) {
    return false;
  }
  const std::string_view line = bytes.substr(0, end);
  return line.find(" HTTP/") == std::string_view::npos;
}

}  // namespace

PrefaceSession::PrefaceSession(WorkerContext& worker, std::unique_ptr<net::Stream> stream,
                               ClientInfo client, std::shared_ptr<upstream::LiveListener> listener)
    : Session(worker, std::move(listener)),
      stream_(std::move(stream)),
      client_(std::move(client)),
      in_(worker.buffers),
      watchdog_(worker.clock, this, &PrefaceSession::expired) {}

PrefaceSession::~PrefaceSession() = default;

void PrefaceSession::expired(void* self) { static_cast<PrefaceSession*>(self)->stream_->cancel(); }

/// False: the client left, said nothing in time, or speaks something else.
Task<bool> PrefaceSession::read_enough() {
  if (const upstream::SnapshotListener* listener = find_listener(*pinned()->snapshot)) {
    watchdog_.set(worker_.clock.now() + listener->settings.timeouts.request_head);
  }
  in_.reserve(kCapacity);
  for (;;) {
    const net::IoResult result = co_await stream_->read(in_.space());
    if (!result.ok()) co_return false;
    in_.commit(result.bytes);
    const std::size_t known = std::min(in_.size(), kPreface.size());
    if (is_neither(in_.view())) co_return false;
    const bool same = in_.view().substr(0, known) == kPreface.substr(0, known);
    if (!same || known == kPreface.size()) break;
  }
  watchdog_.cancel();
  co_return true;
}

Task<> PrefaceSession::run() {
  const bool enough = co_await read_enough();
  if (!enough || killed_) {
    if (is_neither(in_.view())) {
      live_->loads[worker_.index].failures[static_cast<std::size_t>(Fault::client_protocol)].add(1);
    }
    stream_->close(false);
    co_return;
  }
  if (in_.view().starts_with(kPreface)) {
    auto session =
        std::make_unique<H2Session>(worker_, std::move(stream_), std::move(client_), live_);
    session->begin_with(in_.view());
    found_ = std::move(session);
  } else {
    auto session =
        std::make_unique<H1Session>(worker_, std::move(stream_), std::move(client_), live_);
    session->begin_with(in_.view());
    found_ = std::move(session);
  }
  in_.release();
  if (draining_) found_->drain(pinned());
  co_await found_->run();
}

void PrefaceSession::begin_drain() noexcept {
  if (found_) {
    found_->drain(pinned());
  } else {
    const TimePoint end = worker_.clock.now() + std::max<Duration>(kLastLook, worker_.drain_grace);
    if (!watchdog_.is_set() || end < watchdog_.due()) watchdog_.set(end);
  }
}

void PrefaceSession::kill() noexcept {
  killed_ = true;
  if (found_) {
    found_->kill();
  } else {
    stream_->close(true);
  }
}

}  // namespace lbd::proxy
