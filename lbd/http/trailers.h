// Trailer sections: which of their fields may go on (RFC 9110 §6.5).
#pragma once

#include <string_view>
#include <vector>

#include "lbd/http/message.h"

namespace lbd::http {

/// Reads a trailer section that ChunkFramer found well-formed, its empty line included, into `out`:
/// views into it, without what a trailer may not hold (routing, framing and hop-by-hop fields,
/// modifiers, authentication, what describes the content, and everything lbd vouches for). False:
/// it holds a field that frames or routes a message, which some readers would merge into the head.
[[nodiscard]] bool read_trailers(std::string_view section, std::vector<Header>& out);

}  // namespace lbd::http
