// How TcpDial makes TLS streams. For lbd/net only.
#pragma once

#include <memory>

#include "lbd/net/socket_stream.h"
#include "lbd/net/tls.h"

namespace lbd::net {

/// A stream to `peer` that shakes hands when it has connected.
[[nodiscard]] std::unique_ptr<SocketStream> make_tls_dial(LoopCore& core,
                                                          std::shared_ptr<const TlsClient> client,
                                                          const Endpoint& peer);

}  // namespace lbd::net
