// `lbd why`: what became of a request, and why, in sentences.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "lbd/proxy/record.h"

namespace lbd::control {

class Plane;

/// One request: its fields, as the access log has them, and `sentences`.
[[nodiscard]] boost::json::object describe(const proxy::RequestRecord& record);

/// What it is kept for when it has no reason: `cut`, `error` (a 5xx, or what is one in gRPC),
/// `retried` or `slow`.
[[nodiscard]] std::string_view kept_for(const proxy::RequestRecord& record) noexcept;

struct WhyQuestion {
  std::string id;  // empty: the newest of all
  std::size_t most = 20;
};

/// The answer of GET /v1/why, newest first. The workers are asked on their own loops; one that does
/// not answer within half a second is left out and counted (`workers_silent`). Blocks that long.
[[nodiscard]] boost::json::object why(Plane& plane, const WhyQuestion& question);

/// For an id that nobody knows: what is kept, and where else to look.
[[nodiscard]] std::string unknown_request(Plane& plane, const std::string& id);

}  // namespace lbd::control
