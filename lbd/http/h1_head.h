// HTTP/1.x heads: bytes → RequestHead / ResponseHead. Sans-I/O, no allocation beyond the head's
// header vector.
//
// A head is parsed only when all of it is there: HeadScanner finds its end (and refuses bad line
// ends and sizes on the way, each byte looked at once), then llhttp tokenises it in one call and
// our own checks close what llhttp 8.1 lets pass, so that 8.1 and 9.2 give the same verdict.
#pragma once

#include <cstddef>
#include <span>

#include "lbd/base/result.h"
#include "lbd/http/message.h"

namespace lbd::http {

/// Finds the end of a head in a growing buffer.
class HeadScanner {
 public:
  explicit HeadScanner(const HeadLimits& limits) noexcept : limits_(limits) {}
  /// `bytes` is everything buffered from the start of the message. Returns the head's length
  /// (through CRLF CRLF), 0 when more is needed, or client_protocol / header_too_large.
  [[nodiscard]] Result<std::size_t, Fault> scan(std::string_view bytes) noexcept;
  void reset() noexcept {
    seen_ = line_start_ = 0;
    lines_ = 0;
  }

 private:
  const HeadLimits& limits_;
  std::size_t seen_ = 0;        // bytes looked at
  std::size_t line_start_ = 0;  // of the line being read
  std::uint32_t lines_ = 0;     // complete ones
};

/// Parses exactly one head (as found by HeadScanner). Fails with client_protocol, unsupported or
/// bad_expectation.
[[nodiscard]] Fault parse_request_head(std::string_view head, RequestHead& out);

/// `request_method`: of the request it answers (HEAD has no body). Fails with bad_response.
[[nodiscard]] Fault parse_response_head(std::string_view head, Method request_method,
                                        ResponseHead& out);

}  // namespace lbd::http
