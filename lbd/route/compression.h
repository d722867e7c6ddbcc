// Which responses of a listener are compressed, and how.
#pragma once

#include <cstdint>
#include <vector>

#include "config/config.h"
#include "lbd/http/encoder.h"
#include "lbd/route/pattern.h"

namespace lbd::route {

/// Immutable; any thread.
struct Compression {
  explicit Compression(const config::Compression& settings);

  std::vector<http::Coding> codings;  // the best liked first
  PatternSet types;                   // of media types, without parameters
  std::uint64_t bytes_min;
  http::Effort effort;
};

}  // namespace lbd::route
