// How a session writes: heads, bodies in the framing its client knows, trailers.
#include <array>
#include <utility>

#include "lbd/http/h1_write.h"
#include "lbd/proxy/h1_session.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {
namespace {

using http::Framing;

/// Longer than any connection lasts: a tunnel's limits are the exchange's business.
constexpr std::chrono::hours kNoLimit{24 * 365};

iovec piece_of(std::string_view bytes) noexcept {
  return {const_cast<char*>(bytes.data()), bytes.size()};
}

}  // namespace

/// Most writes are taken by the socket at once and need no frame.
Task<Result<void>> H1Session::write(std::string_view head, const BodyPiece& piece) {
  if (begin_write(head, piece)) return written();
  return finish_write();
}

/// True: it is over, and `written` says how. What is written must hold until then.
bool H1Session::begin_write(std::string_view head, const BodyPiece& piece) {
  std::array<iovec, 4> pieces{};
  std::size_t count = 0;
  if (!head.empty()) pieces[count++] = piece_of(head);
  if (response_chunked_ && !piece.bytes.empty()) {
    pieces[count++] = piece_of(http::chunk_size_line(piece.bytes.size(), size_line_));
  }
  if (!piece.bytes.empty()) pieces[count++] = piece_of(piece.bytes);
  if (response_chunked_ && (piece.last || !piece.bytes.empty())) {
    pieces[count++] =
        piece_of(http::chunk_end(!piece.bytes.empty(), piece.last, piece.trailers, out_));
  }
  if (piece.last) response_done_ = true;
  write_ = {};
  return count == 0 || stream_->begin_write(std::span<const iovec>(pieces.data(), count), write_);
}

Task<Result<void>> H1Session::finish_write() {
  write_watchdog_.set(worker_.clock.now() + timeouts_.write_idle);
  writing_ = true;
  co_await net::Finished(write_);
  writing_ = false;
  write_watchdog_.cancel();
  co_return written();
}

Result<void> H1Session::written() noexcept {
  if (write_.result.ok()) return {};
  response_done_ = false;
  aborted_ = true;
  return client_error(write_.result);
}

Task<Result<void>> H1Session::send_continue() {
  if (!continue_owed_) return Result<void>();
  continue_owed_ = false;
  response_chunked_ = false;
  return write("HTTP/1.1 100 Continue\r\n\r\n", {});
}

Task<Result<void>> H1Session::send_interim(const ResponseOut& head) {
  if (head_.version == http::Version::http_1_0) co_return Result<void>();
  response_chunked_ = false;
  out_.clear();
  http::write_status_line({head.status, head.reason}, out_);
  http::write_headers(*head.headers, out_);
  http::end_head(out_);
  const Result<void> sent = co_await write(out_.view(), {});
  out_.clear();
  co_return sent;
}

/// Into out_. `whole`: the response has no more body than what goes out with it.
void H1Session::compose_head(const ResponseOut& head, bool whole) {
  response_chunked_ = response_until_close_ = false;
  out_.clear();
  http::write_status_line({head.status, head.reason}, out_);
  http::write_headers(*head.headers, out_);
  switch (head.body.kind) {
    case Framing::Kind::none:
      if (head.state_length) http::write_content_length(head.body.length, out_);
      break;
    case Framing::Kind::length:
      http::write_content_length(head.body.length, out_);
      break;
    case Framing::Kind::chunked:
    case Framing::Kind::until_close:
      if (head_.version == http::Version::http_1_1) {
        response_chunked_ = true;
        http::write_header("Transfer-Encoding", "chunked", out_);
      } else {
        // HTTP/1.0 knows no other way to end a body of unknown length; one that is cut is ended by
        // a reset.
        keep_alive_ = false;
        response_until_close_ = true;
      }
      break;
  }
  if (draining_ || worker_.draining || (whole && !body_.done())) keep_alive_ = false;
  if (!keep_alive_) {
    http::write_header("Connection", "close", out_);
  } else if (head_.version == http::Version::http_1_0) {
    http::write_header("Connection", "keep-alive", out_);
  }
  http::end_head(out_);
}

Task<Result<void>> H1Session::send_head(const ResponseOut& head, BodyPiece first) {
  compose_head(head, first.last);
  if (!response_chunked_ && first.bytes.size() <= out_.space().size()) {
    out_.append(std::exchange(first.bytes, {}));  // cheaper than a second piece
  }
  const std::vector<http::Header>* trailers = std::exchange(first.trailers, nullptr);
  if (trailers != nullptr) first.last = false;
  const bool over = begin_write(out_.view(), first);
  first = {{}, trailers != nullptr, trailers};
  if (!over || trailers != nullptr) return finish_head(first);
  out_.release();
  return written();
}

/// `left`: trailers, which are made in out_, too.
Task<Result<void>> H1Session::finish_head(BodyPiece left) {
  Result<void> sent;
  if (write_.done) {
    sent = written();
  } else {
    sent = co_await finish_write();
  }
  out_.clear();
  if (sent && left.trailers != nullptr) sent = co_await write({}, left);
  out_.release();
  co_return sent;
}

Task<Result<void>> H1Session::send_body(BodyPiece piece) {
  return tunnel_ && piece.last ? end_tunnel(piece) : write({}, piece);
}

Task<Result<void>> H1Session::begin_tunnel(const ResponseOut& head) {
  unwatch();
  tunnel_ = true;
  keep_alive_ = false;
  response_chunked_ = client_ended_ = false;
  response_until_close_ = true;  // should it be cut
  timeouts_.body_idle = timeouts_.write_idle = kNoLimit;
  body_.start({Framing::Kind::until_close, 0});
  out_.clear();
  http::write_status_line({head.status, head.reason}, out_);
  http::write_headers(*head.headers, out_);
  http::write_upgrade(head_.upgrade, out_);
  http::end_head(out_);
  const Result<void> sent = co_await write(out_.view(), {});
  out_.release();
  co_return sent;
}

Task<Result<void>> H1Session::end_tunnel(BodyPiece last) {
  const Result<void> sent = co_await write({}, last);
  if (sent) stream_->shutdown_write();
  co_return sent;
}

}  // namespace lbd::proxy
