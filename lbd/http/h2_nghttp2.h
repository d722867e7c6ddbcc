// nghttp2 as the codecs use it. For lbd/http/h2_*.cc only.
#pragma once

#include <nghttp2/nghttp2.h>

#include <string>
#include <string_view>
#include <vector>

#include "lbd/http/h2_codec.h"

namespace lbd::http {

/// Reads a stream's body, for a message that is submitted.
[[nodiscard]] nghttp2_data_provider body_of_streams() noexcept;

struct H2Codec::Scratch {
  std::vector<nghttp2_nv> fields;
  std::string path;
};

inline nghttp2_nv name_value(std::string_view name, std::string_view value) noexcept {
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

/// What is another value in each message stays out of HPACK's table: it would only push out what
/// comes again, and each look-up would walk past it.
inline nghttp2_nv name_value(const Header& header) noexcept {
  nghttp2_nv made = name_value(header.name, header.value);
  switch (header.id) {
    case HeaderId::set_cookie:
    case HeaderId::traceparent:
    case HeaderId::x_amzn_trace_id:
    case HeaderId::x_request_id:
      made.flags = NGHTTP2_NV_FLAG_NO_INDEX;
      break;
    default:
      break;
  }
  return made;
}

}  // namespace lbd::http
