#include "lbd/proxy/h1_upstream.h"

#include "lbd/http/h1_write.h"
#include "lbd/net/goodbye.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {
namespace {

/// Bulk bodies are read in pieces of this size; heads may need more, up to their own limit.
constexpr std::size_t kReadCapacityMax = 64 * 1024;

iovec piece_of(std::string_view bytes) noexcept {
  return {const_cast<char*>(bytes.data()), bytes.size()};
}

Task<> retire(std::unique_ptr<upstream::Connection> connection) { co_await connection->retire(); }

}  // namespace

void H1Upstream::start(std::unique_ptr<upstream::Connection> connection,
                       const config::UpstreamLimits& limits) {
  connection_ = std::move(connection);
  limits_.first_line_bytes_max = limits_.line_bytes_max = limits_.head_bytes_max =
      limits.response_headers_bytes_max;
  limits_.headers_max = limits.response_headers_max;
  scanner_.reset();
  request_done_ = response_done_ = keep_alive_ = answered_ = tunnel_ = false;
}

bool H1Upstream::take_kept(const UpstreamTo& to) {
  worker_ = &to.worker;
  settings_ = &to.group.settings;
  const upstream::ConnectionUse use{to.group.tls.get(), to.greeting};
  std::unique_ptr<upstream::Connection> kept = to.worker.idle.take(*to.target.live, use);
  if (kept == nullptr) return false;
  start(std::move(kept), settings_->limits);
  return true;
}

Task<Result<bool, net::DialFailure>> H1Upstream::dial(const UpstreamTo& to) {
  worker_ = &to.worker;
  settings_ = &to.group.settings;
  const boost::local_shared_ptr<upstream::Dial> dial = upstream::Dial::start(
      to.worker.tasks,
      {to.worker.loop, {to.target.address, to.group.tls, std::string(to.greeting)}, to.deadline});
  dial_ = dial.get();
  co_await dial->wait();
  dial_ = nullptr;
  net::Dialled dialled = dial->take();
  if (!dialled) co_return dialled.error();
  auto connection = std::make_unique<upstream::Connection>(std::move(*dialled), to.target.live,
                                                           to.worker.buffers, to.worker.clock);
  connection->set_owner(std::string(to.greeting));
  start(std::move(connection), settings_->limits);
  co_return true;
}

void H1Upstream::abort() noexcept {
  if (dial_ != nullptr) {
    dial_->leave();
  } else {
    connection_->abort();
  }
}

std::unique_ptr<upstream::Connection> H1Upstream::release(bool& reusable) noexcept {
  reusable = request_done_ && response_done_ && keep_alive_ && !alone_ && connection_->in().empty();
  out_.release();
  tail_.release();
  return std::move(connection_);
}

Task<> H1Upstream::finish(bool well) {
  bool reusable = false;
  std::unique_ptr<upstream::Connection> connection = release(reusable);
  if (!well || !reusable) return retire(std::move(connection));
  worker_->idle.give_back(std::move(connection), settings_->timeouts.idle,
                          settings_->limits.idle_connections_max);
  return {};
}

Error H1Upstream::error_now(const net::IoResult& result) const noexcept {
  if (connection_->expired()) return {Fault::target_timeout, Side::upstream, false};
  if (connection_->aborted()) return {Fault::cancelled, Side::self, false};
  if (result.fault == Fault::tls_failed) return {Fault::tls_failed, Side::upstream, true};
  return {Fault::target_reset, Side::upstream, false};
}

Task<Result<void>> H1Upstream::send_head(const http::RequestHead& request,
                                         const std::vector<http::Header>& headers,
                                         BodyPiece first) {
  method_ = request.method;
  alone_ = request.alone || !request.upgrade.empty();
  upgrade_ = request.upgrade;
  // An HTTP/2 client would take a plain 200 for the open tunnel.
  upgrade_only_ = !upgrade_.empty() && request.version == http::Version::http_2;
  request_chunked_ = request.framing.kind == http::Framing::Kind::chunked;
  request_done_ = first.last;
  out_.clear();
  http::write_request_head(request, headers, out_);
  if (!request_chunked_ && first.bytes.size() <= out_.space().size()) {
    out_.append(std::exchange(first.bytes, {}));  // cheaper than a second piece
  }
  std::array<iovec, 4> pieces{piece_of(out_.view())};
  std::size_t count = 1;
  if (!first.bytes.empty()) {
    if (request_chunked_)
      pieces[count++] = piece_of(http::chunk_size_line(first.bytes.size(), size_line_));
    pieces[count++] = piece_of(first.bytes);
  }
  if (request_chunked_ && (first.last || !first.bytes.empty())) {
    pieces[count++] =
        piece_of(http::chunk_end(!first.bytes.empty(), first.last, first.trailers, tail_));
  }
  return write({pieces.data(), count});
}

/// Most writes are taken by the socket at once and need no frame. The pieces must hold until the
/// end, the array of them need not.
Task<Result<void>> H1Upstream::write(std::span<const iovec> pieces) {
  write_ = {};
  if (connection_->stream().begin_write(pieces, write_)) return written();
  return finish_write();
}

Task<Result<void>> H1Upstream::finish_write() {
  co_await net::Finished(write_);
  co_return written();
}

Result<void> H1Upstream::written() noexcept {
  if (write_.result.ok()) return {};
  return error_now(write_.result);
}

Task<Result<void>> H1Upstream::send_body(BodyPiece piece) {
  std::array<iovec, 3> pieces{};
  std::size_t count = 0;
  if (request_chunked_ && !piece.bytes.empty()) {
    pieces[count++] = piece_of(http::chunk_size_line(piece.bytes.size(), size_line_));
  }
  if (!piece.bytes.empty()) pieces[count++] = piece_of(piece.bytes);
  if (request_chunked_) {
    if (piece.last || !piece.bytes.empty()) {
      pieces[count++] =
          piece_of(http::chunk_end(!piece.bytes.empty(), piece.last, piece.trailers, tail_));
    }
  }
  if (count > 0) {
    const Result<void> sent = co_await write({pieces.data(), count});
    if (!sent) co_return sent;
  }
  request_done_ = piece.last;
  if (tunnel_ && piece.last) connection_->stream().shutdown_write();
  co_return Result<void>();
}

Task<Result<void>> H1Upstream::read_head(http::ResponseHead& head) {
  Buffer& in = connection_->in();
  for (;;) {
    const Result<std::size_t, Fault> end = scanner_.scan(in.view());
    if (!end) co_return Error{Fault::bad_response, Side::upstream, false};
    if (*end > 0) {
      const Fault fault = http::parse_response_head(in.view().substr(0, *end), method_, head);
      if (fault != Fault::none) co_return Error{fault, Side::upstream, false};
      in.consume(*end);
      break;
    }
    const net::IoResult result = co_await connection_->fill(limits_.head_bytes_max + 4096);
    if (!result.ok()) co_return error_now(result);
    if (result.bytes == 0) co_return Error{Fault::bad_response, Side::upstream, false};
    answered_ = true;
  }
  scanner_.reset();
  const bool asked = !upgrade_.empty() && http::equals_ignoring_case(head.upgrade, upgrade_);
  if (upgrade_only_ && head.status / 100 == 2) {
    // Nor is the target to blame: clients could have it ejected by asking.
    co_return Error{Fault::bad_response, Side::self, false};
  }
  if (head.status == 101 && !asked) co_return Error{Fault::bad_response, Side::upstream, false};
  if (head.status >= 200) {
    body_.start(head.framing);
    keep_alive_ = head.keep_alive;
    response_done_ = body_.done();
  }
  co_return Result<void>();
}

void H1Upstream::begin_tunnel() noexcept {
  tunnel_ = true;
  request_chunked_ = request_done_ = response_done_ = keep_alive_ = false;
  body_.start({http::Framing::Kind::until_close, 0});
  connection_->clear_deadline();
}

Result<BodyPiece> H1Upstream::buffered_body() {
  if (response_done_) return BodyPiece{{}, true};
  Buffer& in = connection_->in();
  const http::BodyReader::Step step = body_.step(in.view());
  in.consume(step.consumed);
  if (step.bad || step.bad_trailer) return Error{Fault::bad_response, Side::upstream, false};
  response_done_ = body_.done();
  return BodyPiece{step.data, response_done_, body_.trailers()};
}

Task<Result<BodyPiece>> H1Upstream::read_body() {
  for (;;) {
    const Result<BodyPiece> here = buffered_body();
    if (!here || here->last || !here->bytes.empty()) co_return here;
    const net::IoResult result = co_await connection_->fill(kReadCapacityMax);
    // What goes through a tunnel says itself where it ends.
    const bool ended =
        result.fault == Fault::closed || (tunnel_ && result.error == net::kNoGoodbye);
    if (ended && body_.ends_with_connection()) {
      response_done_ = true;
      co_return BodyPiece{{}, true};
    }
    if (!result.ok()) co_return error_now(result);
    if (result.bytes == 0) co_return Error{Fault::bad_response, Side::upstream, false};
  }
}

}  // namespace lbd::proxy
