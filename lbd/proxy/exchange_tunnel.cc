// After 101: bytes both ways, as they come, until both sides have ended or a limit does.
#include <algorithm>

#include "lbd/proxy/exchange.h"
#include "lbd/proxy/headers.h"
#include "lbd/proxy/tunnel.h"

namespace lbd::proxy {
namespace {

/// A tunnel that is open.
class Open {
 public:
  explicit Open(upstream::ListenerLoad& load) noexcept : load_(load) {
    load_.tunnels.add(1);
    load_.tunnels_opened.add(1);
  }
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;
  ~Open() { load_.tunnels.sub(1); }

 private:
  upstream::ListenerLoad& load_;
};

}  // namespace

bool Exchange::refuses_upgrade() const noexcept {
  const http::RequestHead& request = client_.head();
  return listener_.settings.upgrade != config::Upgrade::websocket ||
         request.method != http::Method::get ||
         !http::equals_ignoring_case(request.upgrade, "websocket");
}

/// Each piece, either way, moves the idle deadline; the total one stays.
void Exchange::note_tunnel_use() noexcept {
  const Duration idle = listener_.settings.timeouts.tunnel_idle;
  if (idle.count() > 0) total_.set(std::min(total_due_, worker_.clock.now() + idle));
}

/// `none` when both sides have ended. How it ends says nothing of the target's health: no error is
/// the upstream's.
Task<Error> Exchange::tunnel(UpstreamSide& upstream, const Choice& choice) {
  response_headers(state_->response, via(), record_.id, state_->client_headers);
  set_sticky_cookies(choice);
  const ResponseOut head{101, state_->response.reason, &state_->client_headers, {}, false};
  const Duration most = listener_.settings.timeouts.tunnel_total;
  response_started_ = tunnelling_ = uploading_ = true;
  record_.status = head.status;
  record_.by_target = true;
  total_.cancel();
  total_due_ = most.count() > 0 ? worker_.clock.now() + most : TimePoint::max();
  if (most.count() > 0) total_.set(total_due_);
  note_tunnel_use();
  const Open open(listener_.live->loads[worker_.index]);
  const Result<void> sent = co_await client_.begin_tunnel(head);
  if (!sent) co_return sent.error();
  upstream.begin_tunnel();
  upload_.spawn(pump_up(upstream));
  const Flow down{upstream, client_, &Exchange::moved_down, this};
  Error error = co_await pump(down);
  if (error.fault == Fault::none) co_await upload_.join();
  if (error.side == Side::upstream) error.side = Side::self;
  co_return error.fault == Fault::none ? upload_error_ : error;
}

/// What came from the target, or from the client.
void Exchange::moved_down(void* self, std::size_t bytes) {
  auto* exchange = static_cast<Exchange*>(self);
  exchange->record_.response_bytes += bytes;
  exchange->note_tunnel_use();
}

void Exchange::moved_up(void* self, std::size_t bytes) {
  auto* exchange = static_cast<Exchange*>(self);
  exchange->record_.request_bytes += bytes;
  exchange->note_tunnel_use();
}

Task<> Exchange::pump_up(UpstreamSide& upstream) {
  const Flow flow{client_, upstream, &Exchange::moved_up, this, &upload_over_};
  const Error error = co_await pump(flow);
  if (error.fault == Fault::none) co_return;
  upload_error_ = error;
  if (error.side == Side::upstream) upload_error_ = {error.fault, Side::self, false};
  upstream.abort();
}

}  // namespace lbd::proxy
