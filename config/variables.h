// The names that templates know: `#{host}` in a redirect, a header value or an error page.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lbd::config {

enum class Variable : std::uint8_t {
  protocol,  // http, https
  host,      // as the client sent it, without the port
  port,      // of the listener
  path,      // without its leading slash
  query,     // without '?'
  method,
  client_ip,
  request_id,
  sni,          // server name of the TLS handshake; empty without
  tls_version,  // "TLSv1.3"; empty without TLS
  tls_cipher,
  status,  // of an error page
  reason,
  kCount,
};
inline constexpr std::size_t kVariables = static_cast<std::size_t>(Variable::kCount);
inline constexpr std::array<std::string_view, kVariables> kVariableNames{
    "protocol",   "host", "port",        "path",       "query",  "method", "client_ip",
    "request_id", "sni",  "tls_version", "tls_cipher", "status", "reason"};

/// One piece of a template: a text as it stands, or a variable.
struct TemplatePiece {
  std::string_view text;
  std::optional<Variable> variable;
};

/// Takes the next piece off `rest`. `#{` without an end, or with an unknown name, is a text.
[[nodiscard]] TemplatePiece next_piece(std::string_view& rest) noexcept;

}  // namespace lbd::config
