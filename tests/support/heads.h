// Reading a head as the data plane does: scan, then parse; whole or in pieces, one verdict.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lbd/http/h1_head.h"

namespace lbd::http {

/// What became of some bytes: a head of `length` bytes, or a fault; `more` when it has no end yet.
struct ScanVerdict {
  Fault fault = Fault::none;
  std::size_t length = 0;
  bool more = false;
  friend bool operator==(const ScanVerdict&, const ScanVerdict&) = default;
};

/// Feeds `bytes` in pieces of `step` bytes.
inline ScanVerdict scan_in_steps(std::string_view bytes, std::size_t step,
                                 const HeadLimits& limits) {
  HeadScanner scanner(limits);
  for (std::size_t size = std::min(step, bytes.size());;) {
    const Result<std::size_t, Fault> found = scanner.scan(bytes.substr(0, size));
    if (!found) return {found.error(), 0, false};
    if (*found > 0) return {Fault::none, *found, false};
    if (size == bytes.size()) return {Fault::none, 0, true};
    size = std::min(size + step, bytes.size());
  }
}

/// A parsed request with the exact-sized copy its views point into, so that AddressSanitizer sees a
/// read beyond it.
struct ParsedRequest {
  std::unique_ptr<char[]> bytes;
  RequestHead head;
  Fault fault = Fault::none;
};

inline ParsedRequest parse_request(std::string_view text, const HeadLimits& limits = {}) {
  ParsedRequest out;
  const ScanVerdict scanned = scan_in_steps(text, std::max<std::size_t>(text.size(), 1), limits);
  if (scanned.fault != Fault::none || scanned.more) {
    out.fault = scanned.more ? Fault::closed : scanned.fault;
    return out;
  }
  out.bytes = std::make_unique<char[]>(scanned.length);
  text.copy(out.bytes.get(), scanned.length);
  out.fault = parse_request_head({out.bytes.get(), scanned.length}, out.head);
  return out;
}

struct ParsedResponse {
  std::unique_ptr<char[]> bytes;
  ResponseHead head;
  Fault fault = Fault::none;
};

inline ParsedResponse parse_response(std::string_view text, Method method = Method::get) {
  ParsedResponse out;
  const HeadLimits limits;
  const ScanVerdict scanned = scan_in_steps(text, std::max<std::size_t>(text.size(), 1), limits);
  if (scanned.fault != Fault::none || scanned.more) {
    out.fault = scanned.more ? Fault::closed : Fault::bad_response;
    return out;
  }
  out.bytes = std::make_unique<char[]>(scanned.length);
  text.copy(out.bytes.get(), scanned.length);
  out.fault = parse_response_head({out.bytes.get(), scanned.length}, method, out.head);
  return out;
}

}  // namespace lbd::http
