// HTTP messages as values, whatever the protocol version: heads are views into the buffer they were
// read from.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "lbd/http/desync.h"

namespace lbd::http {

enum class Method : std::uint8_t {
  get,
  head,
  post,
  put,
  delete_,
  options,
  patch,
  trace,
  connect,
  query,
  other,
};
enum class Version : std::uint8_t { http_1_0, http_1_1, http_2 };

/// Header fields that lbd itself acts on; every other one is passed through as `other`.
enum class HeaderId : std::uint8_t {
  other,
  client_certificate,  // X-Amzn-Mtls-Clientcert, -Leaf and so on: what a proxy says of it
  connection,
  content_length,
  content_type,
  date,
  endpoint_load_metrics,  // ORCA (Open Request Cost Aggregation) load report of a target
  expect,
  forwarded,
  host,
  keep_alive,
  mirror,  // X-Lbd-Mirror: a copy that nobody waits for
  proxy_authenticate,
  proxy_authorization,
  proxy_connection,
  referer,
  set_cookie,
  te,
  traceparent,
  tracestate,
  trailer,
  transfer_encoding,
  upgrade,
  user_agent,
  via,
  x_amzn_trace_id,
  x_forwarded_for,
  x_forwarded_host,
  x_forwarded_port,
  x_forwarded_proto,
  x_request_id,
};

/// A field line. Name and value are views; the value has no white space around it.
struct Header {
  std::string_view name;
  std::string_view value;
  HeaderId id = HeaderId::other;
};

/// How a message's body is delimited on the wire it was read from (RFC 9112 §6.3).
struct Framing {
  enum class Kind : std::uint8_t { none, length, chunked, until_close };
  Kind kind = Kind::none;
  std::uint64_t length = 0;  // bytes; with Kind::length
};

struct RequestHead {
  Method method = Method::get;
  Version version = Version::http_1_1;
  std::string_view method_text;
  std::string_view target;     // as sent: origin-form, absolute-form or *
  std::string_view path;       // without the query; begins with '/', or is "*"
  std::string_view query;      // without '?'
  std::string_view authority;  // Host, or that of an absolute-form target; may be empty in HTTP/1.0
  Framing framing;
  bool keep_alive = true;  // what the client asked for
  bool expect_continue = false;
  std::string_view upgrade;     // the protocol, when it is asked of this hop, alone and well
  bool wants_upgrade = false;   // to anything but h2c
  bool takes_trailers = false;  // TE: trailers, said to this hop
  /// Neither connection that carries it may carry another message after it.
  bool alone = false;
  bool lookalikes = false;  // some fields are is_lookalike: they are not sent on
  DesyncReason desync = DesyncReason::none;
  std::vector<Header> headers;

  /// Everything as it was made, but for the room that `headers` has.
  void clear() {
    std::vector<Header> room = std::move(headers);
    room.clear();
    *this = {};
    headers = std::move(room);
  }
};

struct ResponseHead {
  int status = 0;
  Version version = Version::http_1_1;
  std::string_view reason;
  Framing framing;
  bool keep_alive = true;
  std::string_view upgrade;  // as in RequestHead; with status 101
  std::vector<Header> headers;

  void clear() {
    headers.clear();
    framing = {};
    reason = upgrade = {};
  }
};

/// Limits on one head. All in bytes but the count.
struct HeadLimits {
  std::uint32_t first_line_bytes_max = 16 * 1024;
  std::uint32_t line_bytes_max = 16 * 1024;
  std::uint32_t head_bytes_max = 64 * 1024;
  std::uint32_t headers_max = 128;
};

/// Case-insensitive look-up by a perfect match on length and letters.
[[nodiscard]] HeaderId header_id(std::string_view name) noexcept;
/// The value of the first field of that name; empty when there is none.
[[nodiscard]] std::string_view first_value(const std::vector<Header>& headers,
                                           HeaderId id) noexcept;
[[nodiscard]] Method method_of(std::string_view text) noexcept;
/// RFC 9110 §9.2.2, and QUERY (RFC 10008).
[[nodiscard]] bool is_idempotent(Method method) noexcept;
/// ASCII, case-insensitive.
[[nodiscard]] bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept;
/// True when a comma-separated list (Connection, TE) holds the token.
[[nodiscard]] bool list_has(std::string_view list, std::string_view token) noexcept;
/// Without spaces and tabs round it.
[[nodiscard]] std::string_view trimmed(std::string_view text) noexcept;
/// RFC 9110 token characters.
[[nodiscard]] bool is_token(std::string_view text) noexcept;
/// The standard reason phrase, or "" for a code without one.
[[nodiscard]] std::string_view reason_phrase(int status) noexcept;
[[nodiscard]] std::string_view method_name(Method method) noexcept;
/// "HTTP/1.1".
[[nodiscard]] std::string_view version_name(Version version) noexcept;
/// `cpu_utilization` of an ORCA text report ("TEXT cpu_utilization=0.83, …"), the value of an
/// endpoint-load-metrics field; negative when it has none.
[[nodiscard]] double orca_cpu(std::string_view report) noexcept;

}  // namespace lbd::http
