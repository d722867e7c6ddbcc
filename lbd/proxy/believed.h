// Who a client is and how it came, as far as lbd believes it: itself, or what trusted proxies say.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "lbd/proxy/sides.h"

namespace lbd::proxy {

/// Networks of trusted proxies, with their prefix lengths.
using TrustedProxies = std::vector<std::pair<net::SocketAddress, int>>;

/// Whether the peer is a proxy whose forwarding headers are believed.
[[nodiscard]] bool is_trusted(const net::SocketAddress& peer,
                              const TrustedProxies& trusted) noexcept;

/// The client's address: the peer's, or, when that is trusted, the last of X-Forwarded-For that is
/// not itself a trusted proxy (of all trusted ones, the first). What no trusted proxy has written
/// is never looked at, so that nobody can claim an address. A view into `client` or `request`.
[[nodiscard]] std::string_view believed_address(const ClientInfo& client,
                                                const http::RequestHead& request,
                                                const TrustedProxies& trusted) noexcept;

/// "http" or "https": the connection's, or X-Forwarded-Proto of a trusted peer.
[[nodiscard]] std::string_view believed_scheme(const ClientInfo& client,
                                               const http::RequestHead& request) noexcept;

}  // namespace lbd::proxy
