// TCP: dialling and wrapping accepted sockets as Streams.
#pragma once

#include <memory>

#include "lbd/base/clock.h"
#include "lbd/base/task.h"
#include "lbd/net/address.h"
#include "lbd/net/loop.h"
#include "lbd/net/stream.h"

namespace lbd::net {

/// Takes over a connected, non-blocking descriptor.
[[nodiscard]] std::unique_ptr<Stream> adopt_tcp(Loop& loop, int fd);

struct DialFailure {
  Fault fault = Fault::connect_failed;  // or connect_timeout, cancelled
  int error = 0;                        // errno
};
using Dialled = Result<std::unique_ptr<Stream>, DialFailure>;

/// Connects, waiting at most until `deadline`. Nothing has been sent when it fails, so another try
/// is always safe.
[[nodiscard]] Task<Dialled> dial_tcp(Loop& loop, SocketAddress address, TimePoint deadline);

}  // namespace lbd::net
