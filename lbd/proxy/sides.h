// The two sides of a request as the exchange sees them: heads and bodies, no protocol. HTTP/1.1 and
// HTTP/2 implement both (h1_session, h1_upstream; h2_stream, h2_upstream).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/clock.h"
#include "lbd/base/result.h"
#include "lbd/base/task.h"
#include "lbd/http/message.h"
#include "lbd/net/address.h"
#include "lbd/net/tcp_stream.h"
#include "lbd/net/tls.h"
#include "lbd/upstream/snapshot.h"

namespace lbd::proxy {

struct WorkerContext;

/// Bytes of a body. A view that holds until the next call on the side it came from. `last`: nothing
/// follows but `trailers`, end-to-end fields that hold as long as the bytes; null: none.
struct BodyPiece {
  std::string_view bytes;
  bool last = false;
  const std::vector<http::Header>* trailers = nullptr;
};

/// What a tunnel sees of a side: bytes that come, and bytes that go.
class TunnelEnd {
 public:
  virtual ~TunnelEnd() = default;
  /// Waits for more. In a tunnel `last` is the other's half-close.
  virtual Task<Result<BodyPiece>> read_body() = 0;
  virtual Task<Result<void>> send_body(BodyPiece piece) = 0;
};

/// Who is asking; fixed for a connection.
struct ClientInfo {
  net::SocketAddress peer;
  net::SocketAddress local;
  std::string peer_ip;
  std::string scheme = "http";
  std::shared_ptr<const net::TlsInfo> tls;  // null: plain
  bool trusted = false;                     // a proxy whose forwarding headers are believed
};

/// What goes to a client: end-to-end fields only; framing and connection fields are the side's
/// business.
struct ResponseOut {
  int status = 200;
  std::string_view reason;
  const std::vector<http::Header>* headers = nullptr;
  /// Kind::until_close means "unknown length".
  http::Framing body;
  /// With a body of kind none: the Content-Length the target stated (HEAD, 304), absent when 0 and
  /// not stated.
  bool state_length = false;
};

/// The client's half of one request. Errors: client_gone, client_timeout, client_protocol,
/// body_too_large, cancelled, and drain_deadline when lbd ends the connection.
class ClientSide : public TunnelEnd {
 public:
  [[nodiscard]] virtual const http::RequestHead& head() const noexcept = 0;
  [[nodiscard]] virtual const ClientInfo& client() const noexcept = 0;

  /// What has arrived of the body already; to be called once, first. The view holds until
  /// `read_body`.
  virtual BodyPiece buffered_body() = 0;
  /// Tells a client that waits for it (Expect: 100-continue) to go on.
  virtual Task<Result<void>> send_continue() = 0;
  virtual Task<Result<void>> send_interim(const ResponseOut& head) = 0;
  virtual Task<Result<void>> send_head(const ResponseOut& head, BodyPiece first) = 0;

  /// Sends `head` (status 101) and makes the connection a tunnel: from now on `read_body` brings
  /// and `send_body` takes raw bytes, both without deadlines of their own; `last` is a half-close.
  virtual Task<Result<void>> begin_tunnel(const ResponseOut& head) = 0;

  /// `why`: client_gone, or drain_deadline when lbd itself ends the connection. May be called from
  /// inside `watch`.
  using Gone = void (*)(void* context, Fault why);
  /// From now on until `unwatch`, calls `gone` when the client leaves. While its body is under way
  /// `read_body` notices that, or, when nobody reads, `look_ahead`.
  virtual void watch(Gone gone, void* context) = 0;
  /// Before a wait that is not for the client, with its body not whole: reads on until `read_body`,
  /// as far as there is room. A client that leaves behind more than that is noticed late.
  virtual void look_ahead() = 0;
  virtual void unwatch() noexcept = 0;
  /// Ends what is waited for on this side (`read_body`, a write) with `cancelled`; watching goes
  /// on.
  virtual void abort() noexcept = 0;
};

/// Whom one attempt of a request is for. What it refers to outlives the attempt.
struct UpstreamTo {
  WorkerContext& worker;
  const upstream::SnapshotTarget& target;
  const upstream::SnapshotGroup& group;
  std::string_view greeting;  // that its connection begins with
  TimePoint deadline;         // to connect
};

/// The upstream's half, of one request after the other. Errors: target_reset, bad_response,
/// target_timeout, cancelled (after `abort`).
class UpstreamSide : public TunnelEnd {
 public:
  /// Begins with a connection that is there already. False: there is none, `dial`. Once it is true,
  /// `finish` must end what it began.
  [[nodiscard]] virtual bool take_kept(const UpstreamTo& to) = 0;
  /// Begins with a new connection. True: it was made for this request, and is to be counted.
  /// `abort` ends the wait with a failure that says nothing.
  virtual Task<Result<bool, net::DialFailure>> dial(const UpstreamTo& to) = 0;
  /// The connection is given up: when `well`, it may carry other requests.
  virtual Task<> finish(bool well) = 0;
  /// How the handshake of the connection went; with `dial`.
  [[nodiscard]] virtual net::TlsKind tls_kind() const noexcept = 0;
  /// What the connection's last failure was, in the words of the protocol below HTTP.
  [[nodiscard]] virtual std::string failure_text() const = 0;

  /// `body`: how long the request's body is; `first` goes out with the head.
  virtual Task<Result<void>> send_head(const http::RequestHead& request,
                                       const std::vector<http::Header>& headers,
                                       BodyPiece first) = 0;
  /// The next head, interim (1xx) ones included; 101 only as the answer to `request.upgrade`.
  virtual Task<Result<void>> read_head(http::ResponseHead& head) = 0;
  /// What has arrived of the body already, without waiting.
  virtual Result<BodyPiece> buffered_body() = 0;
  /// After a head with status 101: `read_body` brings and `send_body` takes raw bytes; `last` is a
  /// half-close. No deadline holds until the next `set_deadline`.
  virtual void begin_tunnel() noexcept = 0;
  /// Every wait ends by then.
  virtual void set_deadline(TimePoint due) noexcept = 0;
  virtual void abort() noexcept = 0;
  /// True when it carried requests before: a failure before any response byte may be a close that
  /// crossed our request.
  [[nodiscard]] virtual bool reused() const noexcept = 0;
  /// True once any byte of the response has come.
  [[nodiscard]] virtual bool answered() const noexcept = 0;
};

}  // namespace lbd::proxy
