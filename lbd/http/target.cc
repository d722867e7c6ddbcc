#include "lbd/http/target.h"

#include <algorithm>

namespace lbd::http {
namespace {

constexpr std::string_view kNoAuthority = "/?#@\\,\"<>";

}  // namespace

bool is_authority(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7f && kNoAuthority.find(c) == std::string_view::npos;
  });
}

PathAndQuery split_origin_form(std::string_view target) noexcept {
  const std::size_t question = target.find('?');
  if (question == std::string_view::npos) return {target, {}};
  return {target.substr(0, question), target.substr(question + 1)};
}

bool is_request_target(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](char c) { return c > ' ' && c < 0x7f && c != '#'; });
}

}  // namespace lbd::http
