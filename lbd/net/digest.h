// Keyed digests.
#pragma once

#include <string>
#include <string_view>

namespace lbd::net {

/// HMAC-SHA256 (RFC 2104): 32 bytes.
[[nodiscard]] std::string keyed_digest(std::string_view key, std::string_view text);

/// What a server answers to a Sec-WebSocket-Key (RFC 6455 §4.2.2).
[[nodiscard]] std::string websocket_accept(std::string_view key);

/// base64url without padding (RFC 4648 §5).
[[nodiscard]] std::string base64url(std::string_view bytes);

}  // namespace lbd::net
