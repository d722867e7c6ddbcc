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

}  // namespace lbd::http
