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

Task<Result<void>> H1Session::write(std::string_view head, BodyPiece piece) {
  std::array<char, 20> size{};
  std::array<iovec, 4> pieces{};
  std::size_t count = 0;
  if (!head.empty()) pieces[count++] = piece_of(head);
  if (response_chunked_ && !piece.bytes.empty()) {
    pieces[count++] = piece_of(http::chunk_size_line(piece.bytes.size(), size));
  }
  if (!piece.bytes.empty()) pieces[count++] = piece_of(piece.bytes);
  if (response_chunked_ && (piece.last || !piece.bytes.empty())) {
    pieces[count++] =
        piece_of(http::chunk_end(!piece.bytes.empty(), piece.last, piece.trailers, out_));
  }
  if (piece.last) response_done_ = true;
  if (count == 0) co_return Result<void>();
  net::IoWait wait;
  if (!stream_->begin_write(std::span<const iovec>(pieces.data(), count), wait)) {
    write_watchdog_.set(worker_.clock.now() + timeouts_.write_idle);
    writing_ = true;
    co_await net::Finished(wait);
    writing_ = false;
    write_watchdog_.cancel();
  }
  const net::IoResult sent = wait.result;
  if (sent.ok()) co_return Result<void>();
  response_done_ = false;
  aborted_ = true;
  co_return client_error(sent);
}

Task<Result<void>> H1Session::send_continue() {
  if (!continue_owed_) co_return Result<void>();
  continue_owed_ = false;
  response_chunked_ = false;
  co_return co_await write("HTTP/1.1 100 Continue\r\n\r\n", {});
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
  const std::vector<http::Header>* trailers = std::exchange(first.trailers, nullptr);
  if (trailers != nullptr) first.last = false;
  Result<void> sent = co_await write(out_.view(), first);
  out_.clear();  // trailers are made in it, too
  first = {{}, true, trailers};
  if (sent && trailers != nullptr) sent = co_await write({}, first);
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
