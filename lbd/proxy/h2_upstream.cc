#include "lbd/proxy/h2_upstream.h"

#include <algorithm>

#include "lbd/net/digest.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {
namespace {

/// Interim responses to one request, 100 not counted; the exchange refuses as many.
constexpr std::size_t kInterimMax = 65;

Error bad_response() noexcept { return {Fault::bad_response, Side::upstream, false}; }

std::string_view key_of(const std::vector<http::Header>& headers) noexcept {
  const auto found = std::find_if(headers.begin(), headers.end(), [](const http::Header& each) {
    return http::equals_ignoring_case(each.name, "sec-websocket-key");
  });
  return found == headers.end() ? std::string_view() : found->value;
}

}  // namespace

H2Upstream::H2Upstream(WorkerContext& worker)
    : worker_(worker),
      head_fields_(std::make_unique<http::H2HeadBuilder>(worker.buffers)),
      trailer_fields_(worker.buffers),
      taken_(worker.buffers),
      arriving_(worker.buffers),
      outgoing_(worker.buffers),
      watchdog_(worker.clock, this, &H2Upstream::expire) {}

// ---- the connection

void H2Upstream::start(const UpstreamTo& to) {
  head_fields_->clear();
  trailer_fields_.clear();
  interims_.clear();
  interims_read_ = 0;
  trailers_.clear();
  outgoing_.clear();
  lost_ = Fault::none;
  https_ = to.group.tls != nullptr;
  submitted_ = untouched_ = open_ = reused_ = request_done_ = answered_ = responded_ = head_last_ =
      false;
  bodiless_ = response_done_ = trailers_bad_ = tunnel_ = expired_ = aborted_ = false;
}

bool H2Upstream::take_kept(const UpstreamTo& to) {
  const upstream::ConnectionUse use{to.group.tls.get(), to.greeting};
  upstream::H2Connection* found = worker_.http2.find(*to.target.live, use);
  if (found == nullptr) return false;
  start(to);
  found->reserve(*this);
  connection_ = found;
  reused_ = found->proven();
  return true;
}

Task<Result<bool, net::DialFailure>> H2Upstream::dial(const UpstreamTo& to) {
  start(to);
  upstream::H2Seat seat(*this);
  seat_ = &seat;
  worker_.http2.wait(seat, {to.target, to.group, to.greeting});
  Event::Wait over = seat.over.wait();
  co_await over;
  seat_ = nullptr;
  if (seat.connection == nullptr) co_return seat.failure;
  connection_ = seat.connection;
  co_return seat.made;
}

Task<> H2Upstream::finish(bool /*well*/) {
  watchdog_.cancel();
  if (connection_ != nullptr) {
    if (open_) connection_->codec().forget(*this);
    std::exchange(connection_, nullptr)->release(*this);
  }
  open_ = false;
  head_fields_->clear();
  trailer_fields_.clear();
  interims_.clear();
  taken_.release();
  arriving_.release();
  outgoing_.clear();
  co_return;
}

net::TlsKind H2Upstream::tls_kind() const noexcept {
  return connection_ != nullptr ? connection_->stream().tls_kind() : net::TlsKind::none;
}

bool H2Upstream::reused() const noexcept {
  return reused_ && (connection_ == nullptr || connection_->codec().ending());
}

// ---- what the codec tells

void H2Upstream::head_ended(bool last) {
  answered_ = true;
  connection_->note_answer();
  if (responded_) {
    trailers_bad_ = trailer_fields_.finish_trailers(trailers_) != Fault::none;
    body_ended();
    return;
  }
  if (head_fields_->status() / 100 == 1) return interim_ended(last);
  responded_ = true;
  head_last_ = last;
  if (last) {
    body_ended();
  } else {
    reader_.wake(Fault::none);
  }
}

/// 100 was ours to give. The others wait for the exchange, which passes them on one by one.
void H2Upstream::interim_ended(bool last) {
  if (!last && head_fields_->status() == 100) {
    head_fields_->clear();
    return;
  }
  if (last || interims_.size() >= kInterimMax) {
    responded_ = head_last_ = true;  // what it is then is no response
    body_ended();
    return;
  }
  interims_.push_back(std::move(head_fields_));
  head_fields_ = std::make_unique<http::H2HeadBuilder>(worker_.buffers);
  reader_.wake(Fault::none);
}

void H2Upstream::body_came(std::string_view bytes) {
  connection_->codec().consume_connection(bytes.size());
  arriving_.append(bytes);
  reader_.wake(Fault::none);
}

/// When the request is over too, `closed` comes next: the stream is not left before.
void H2Upstream::body_ended() {
  response_done_ = true;
  if (!connection_->codec().sent_all(*this)) wake(Fault::target_reset);
}

std::size_t H2Upstream::ready_bytes(bool& last) const noexcept {
  last = request_done_;
  return outgoing_.size();
}

void H2Upstream::take_bytes(std::size_t size, Buffer& out) {
  outgoing_.take(size, out);
  if (outgoing_.empty()) connection_->note_sent(*this);
}

void H2Upstream::closed(const http::H2Closed& how) {
  open_ = false;
  if (!response_done_) {
    // Without an error, before the response was whole: so much was not promised.
    const bool malformed = how.by_us || how.error == http::H2Error::no_error;
    lost_ = malformed ? Fault::bad_response : Fault::target_reset;
    untouched_ = how.untouched;
  }
  wake(Fault::target_reset);
}

void H2Upstream::sent() {
  if (outgoing_.empty()) sender_.wake(Fault::none);
}

void H2Upstream::disconnected(bool broke_rules) {
  connection_ = nullptr;
  if (submitted_ && !open_) return;
  closed({http::H2Error::internal_error, broke_rules, !open_ || !on_wire()});
}

// ---- the exchange

/// Of those that wait, the reader last: the exchange may be over when it has run.
void H2Upstream::wake(Fault why) {
  sender_.wake(why);
  reader_.wake(why);
}

bool H2Upstream::stuck() const noexcept { return lost_ != Fault::none || expired_ || aborted_; }

Error H2Upstream::error_now() const noexcept {
  if (expired_) return {Fault::target_timeout, Side::upstream, false};
  if (aborted_) return {Fault::cancelled, Side::self, false};
  // Nor is the target to blame: clients could have it ejected by asking.
  if (lost_ == Fault::upgrade_unsupported) return {lost_, Side::self, false};
  if (lost_ != Fault::none) return {lost_, Side::upstream, untouched_};
  return {Fault::target_reset, Side::upstream, false};  // it has answered, and wants no more
}

Task<Result<void>> H2Upstream::send_head(const http::RequestHead& request,
                                         const std::vector<http::Header>& headers,
                                         BodyPiece first) {
  if (stuck()) co_return error_now();
  method_ = request.method;
  upgrade_ = request.upgrade;
  if (!upgrade_.empty()) {
    if (!connection_->codec().takes_connect()) {
      lost_ = Fault::upgrade_unsupported;
      co_return error_now();
    }
    key_ = key_of(headers);
  }
  const bool no_trailers = first.trailers == nullptr || first.trailers->empty();
  const bool last = first.last && first.bytes.empty() && no_trailers && upgrade_.empty();
  request_done_ = last;
  const std::string_view scheme = https_ ? "https" : "http";
  open_ = submitted_ = connection_->open(*this, {request, headers, scheme, last});
  if (!open_) {
    lost_ = Fault::target_reset;
    untouched_ = true;
    co_return error_now();
  }
  if (last || !upgrade_.empty() || (first.bytes.empty() && !first.last)) co_return Result<void>();
  co_return co_await send(first);
}

Task<Result<void>> H2Upstream::send(BodyPiece piece) {
  if (stuck() || !open_ || (response_done_ && !tunnel_)) co_return error_now();
  request_done_ = piece.last;
  const bool copied = outgoing_.give(piece);
  connection_->codec().resume(*this);
  connection_->ask();
  if (copied) co_return Result<void>();
  const Fault why = co_await sender_;
  if (why == Fault::none) co_return Result<void>();
  request_done_ = false;
  outgoing_.drop();
  co_return error_now();
}

Task<Result<void>> H2Upstream::read_head(http::ResponseHead& head) {
  while (interims_read_ == interims_.size() && !responded_) {
    if (stuck()) co_return error_now();
    co_await reader_;
  }
  const bool interim = interims_read_ < interims_.size();
  http::H2HeadBuilder& fields = interim ? *interims_[interims_read_++] : *head_fields_;
  const Fault fault = fields.finish_response(method_, !interim && head_last_, head);
  if (fault != Fault::none) co_return bad_response();
  if (interim) co_return Result<void>();
  bodiless_ = head.framing.kind == http::Framing::Kind::none;
  if (!upgrade_.empty() && head.status / 100 == 2) accept_tunnel(head);
  co_return Result<void>();
}

/// As the exchange, and an HTTP/1.1 client, know it: RFC 8441 §5.
void H2Upstream::accept_tunnel(http::ResponseHead& head) {
  head.status = 101;
  head.upgrade = upgrade_;
  head.framing = {};
  bodiless_ = false;
  accept_ = net::websocket_accept(key_);
  head.headers.push_back({"Sec-WebSocket-Accept", accept_, http::HeaderId::other});
}

void H2Upstream::begin_tunnel() noexcept {
  tunnel_ = true;
  expired_ = false;
  watchdog_.cancel();
}

void H2Upstream::consume_taken() {
  if (open_ && !taken_.empty()) {
    connection_->codec().consume_stream(*this, taken_.size());
    connection_->ask();
  }
  taken_.clear();
}

Result<BodyPiece> H2Upstream::buffered_body() {
  if (bodiless_) return BodyPiece{{}, true};
  consume_taken();
  taken_.swap(arriving_);
  if (response_done_ && trailers_bad_) return bad_response();
  const bool trailed = response_done_ && !trailers_.empty();
  return BodyPiece{taken_.view(), response_done_, trailed ? &trailers_ : nullptr};
}

Task<Result<BodyPiece>> H2Upstream::read_body() {
  consume_taken();
  while (arriving_.empty() && !response_done_) {
    if (stuck()) co_return error_now();
    co_await reader_;
  }
  co_return buffered_body();
}

void H2Upstream::set_deadline(TimePoint due) noexcept {
  expired_ = false;
  watchdog_.set(due);
}

/// The target may be slow, or gone without a word.
void H2Upstream::expire(void* self) {
  auto* side = static_cast<H2Upstream*>(self);
  side->expired_ = true;
  if (side->connection_ != nullptr) side->connection_->doubt();
  side->wake(Fault::cancelled);
}

void H2Upstream::abort() noexcept {
  aborted_ = true;
  if (seat_ != nullptr) {
    worker_.http2.leave(*seat_);
  } else {
    wake(Fault::cancelled);
  }
}

}  // namespace lbd::proxy
