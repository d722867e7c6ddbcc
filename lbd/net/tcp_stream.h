// TCP and Unix sockets, and TLS over them: dialling and wrapping accepted sockets as Streams.
#pragma once

#include <memory>
#include <string>

#include "lbd/base/clock.h"
#include "lbd/base/event.h"
#include "lbd/base/task.h"
#include "lbd/net/address.h"
#include "lbd/net/loop.h"
#include "lbd/net/stream.h"
#include "lbd/net/tls.h"

namespace lbd::net {

/// Takes over a connected, non-blocking descriptor.
[[nodiscard]] std::unique_ptr<Stream> adopt_tcp(Loop& loop, int fd);

struct DialFailure {
  /// Or connect_timeout, tls_failed, cancelled, and overload_shed when it never got as far as the
  /// network (is_own_shortage).
  Fault fault = Fault::connect_failed;
  int error = 0;   // errno
  TlsFailure tls;  // of tls_failed
};

/// Errors of this machine (no descriptor, buffer, memory or local port left), which say nothing
/// about the peer.
[[nodiscard]] bool is_own_shortage(int error) noexcept;

using Dialled = Result<std::unique_ptr<Stream>, DialFailure>;

class SocketStream;

/// One connection attempt that can be called off. Thread: the loop's. Lifetime: outlives its `run`.
class TcpDial {
 public:
  explicit TcpDial(Loop& loop);
  ~TcpDial();
  TcpDial(const TcpDial&) = delete;
  TcpDial& operator=(const TcpDial&) = delete;

  struct To {
    Endpoint address;
    std::shared_ptr<const TlsClient> tls = nullptr;  // null: plain
    std::string greeting = {};                       // sent first, before TLS
  };
  /// Connects, greets, and with `tls` shakes hands, waiting for all at most until `deadline`; once.
  /// A Unix socket whose queue is full is asked again until then, as the network does for TCP. No
  /// request has been sent when it fails, so another try is always safe.
  [[nodiscard]] Task<Dialled> run(To to, TimePoint deadline);
  /// `run` ends with `cancelled` soon, not inside this call; nothing once it is over.
  void cancel() noexcept;

 private:
  Task<Dialled> try_once(const To& to, TimePoint deadline);

  Loop& loop_;
  std::unique_ptr<SocketStream> stream_;
  Event cancelled_;  // for the pauses between tries
};

/// TcpDial::run for whoever never calls it off.
[[nodiscard]] Task<Dialled> dial_tcp(Loop& loop, TcpDial::To to, TimePoint deadline);

}  // namespace lbd::net
