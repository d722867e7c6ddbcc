// HTTP/2 of listeners.
#include "config/tables.h"

namespace lbd::config {

Table listener_http2_table(ListenerHttp2& http2) {
  constexpr std::uint32_t kWindowMin = 65'535;  // RFC 9113 §6.9.2: what a connection begins with
  constexpr std::uint32_t kWindowMax = 64 * 1024 * 1024;
  return {
      .doc = "HTTP/2 of a listener.",
      .fields =
          {
              {"enabled", flag(http2.enabled), "Whether TLS clients are offered HTTP/2 (ALPN)."},
              {"cleartext", flag(http2.cleartext),
               "Whether a plain listener takes HTTP/2 from clients that begin with it."},
              {"streams_max", whole(http2.streams_max, {1, 10'000}),
               "Requests at once on a connection."},
              {"stream_window", size(http2.stream_window, {1024, kWindowMax}),
               "Bytes of a request body that may wait to be read."},
              {"connection_window", size(http2.connection_window, {kWindowMin, kWindowMax}),
               "The same of all requests of a connection."},
          },
      .later = {},
      .after = {}};
}

}  // namespace lbd::config
