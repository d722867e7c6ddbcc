// Trailer sections: which of their fields may go on (RFC 9110 §6.5).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "lbd/http/message.h"

namespace lbd::http {

/// What becomes of a field that comes behind a body, by its `name` and `id`.
enum class TrailerVerdict : std::uint8_t {
  pass,
  drop,    // not for a trailer section: routing, hop-by-hop, modifiers, authentication, what
           // describes the content, and everything lbd vouches for
  refuse,  // it frames or routes a message: some readers would merge it into the head
};
[[nodiscard]] TrailerVerdict judge_trailer(const Header& field) noexcept;

/// Reads a trailer section that ChunkFramer found well-formed, its empty line included, into `out`:
/// views into it, those that pass. False: one is to be refused.
[[nodiscard]] bool read_trailers(std::string_view section, std::vector<Header>& out);

}  // namespace lbd::http
