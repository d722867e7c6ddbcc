// HTTP/1.1 heads and chunk frames, written into a buffer.
#pragma once

#include <span>

#include "lbd/base/buffer.h"
#include "lbd/http/message.h"

namespace lbd::http {

/// Request line and fields, what concerns this hop alone (TE, Upgrade), then the framing field,
/// then the empty line. `target` in origin-form (or *).
void write_request_head(const RequestHead& request, const std::vector<Header>& headers,
                        Buffer& out);

struct StatusLine {
  int status = 200;
  std::string_view reason;  // empty: the standard phrase
};
/// Status line and fields; the caller goes on with framing fields and end_head.
void write_status_line(const StatusLine& line, Buffer& out);
void write_headers(const std::vector<Header>& headers, Buffer& out);
void write_header(std::string_view name, std::string_view value, Buffer& out);
/// Connection and Upgrade (RFC 9110 §7.8).
void write_upgrade(std::string_view protocol, Buffer& out);
void write_content_length(std::uint64_t length, Buffer& out);
void end_head(Buffer& out);

/// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7) in the caller's storage. Years 0 to 9999.
[[nodiscard]] std::string_view http_date(std::int64_t unix_seconds,
                                         std::span<char, 29> storage) noexcept;

/// What follows the data of a chunk, or, when `last`, ends the body: a literal, or text in
/// `storage` when there are `trailers` (may be null).
[[nodiscard]] std::string_view chunk_end(bool has_data, bool last,
                                         const std::vector<Header>* trailers, Buffer& storage);

/// "1f40\r\n" in the caller's storage.
[[nodiscard]] std::string_view chunk_size_line(std::size_t bytes,
                                               std::span<char, 20> storage) noexcept;

}  // namespace lbd::http
