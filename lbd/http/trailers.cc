#include "lbd/http/trailers.h"

#include <algorithm>
#include <array>

#include "lbd/http/target.h"

namespace lbd::http {
namespace {

/// Beside those that HeaderId knows, none of which may be a trailer.
constexpr std::array<std::string_view, 30> kNoTrailers{
    "age",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "cookie",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authentication-info",
    "range",
    "referer",
    "retry-after",
    "sec-websocket-accept",
    "sec-websocket-key",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "warning",
    "www-authenticate",
    "x-lbd-reason",
};

bool may_be_trailer(const Header& field) noexcept {
  if (field.id != HeaderId::other || is_lookalike(field.name)) return false;
  return std::none_of(kNoTrailers.begin(), kNoTrailers.end(), [&field](std::string_view name) {
    return equals_ignoring_case(name, field.name);
  });
}

bool frames_or_routes(const Header& field) noexcept {
  return field.id == HeaderId::content_length || field.id == HeaderId::transfer_encoding ||
         field.id == HeaderId::host || looks_like_framing(field.name);
}

}  // namespace

TrailerVerdict judge_trailer(const Header& field) noexcept {
  if (frames_or_routes(field)) return TrailerVerdict::refuse;
  return may_be_trailer(field) ? TrailerVerdict::pass : TrailerVerdict::drop;
}

bool read_trailers(std::string_view section, std::vector<Header>& out) {
  out.clear();
  for (std::size_t end = 0; (end = section.find("\r\n")) != 0; section.remove_prefix(end + 2)) {
    if (end == std::string_view::npos) return false;
    const std::string_view line = section.substr(0, end);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return false;
    Header field{line.substr(0, colon), trimmed(line.substr(colon + 1)), HeaderId::other};
    field.id = header_id(field.name);
    const TrailerVerdict verdict = judge_trailer(field);
    if (verdict == TrailerVerdict::refuse) return false;
    if (verdict == TrailerVerdict::pass) out.push_back(field);
  }
  return true;
}

}  // namespace lbd::http
