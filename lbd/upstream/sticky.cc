#include "lbd/upstream/sticky.h"

#include <fmt/format.h>

#include <set>

#include "config/scalars.h"
#include "lbd/net/digest.h"

namespace lbd::upstream {
namespace {

constexpr std::size_t kTokenBytes = 16;

std::string attributes_of(const config::StickyCookie& settings) {
  std::string text = "; Path=/";
  if (settings.duration.count() > 0) {
    text += fmt::format("; Max-Age={}", settings.duration.count());
  }
  text += "; HttpOnly";
  switch (settings.same_site) {
    case config::SameSite::unset:
      break;
    case config::SameSite::none:
      text += "; SameSite=None";
      break;
    case config::SameSite::lax:
      text += "; SameSite=Lax";
      break;
    case config::SameSite::strict:
      text += "; SameSite=Strict";
      break;
  }
  return text;
}

/// A name that is no token, as those of rules may be, cannot name a cookie.
std::string cookie_name(std::string name) {
  for (char& c : name) {
    if (!config::is_token({&c, 1})) c = '-';
  }
  return name;
}

std::vector<route::Numbered> numbered(const std::vector<std::string>& tokens) {
  std::vector<route::Numbered> out;
  std::set<std::string_view> seen;
  for (std::uint32_t i = 0; i < tokens.size(); ++i) {
    if (seen.insert(tokens[i]).second) out.emplace_back(tokens[i], i);
  }
  return out;
}

}  // namespace

StickyTokens::StickyTokens(const config::StickyCookie& settings, std::string default_name,
                           std::vector<std::string> tokens)
    : cookie_(settings.cookie.empty() ? cookie_name(std::move(default_name)) : settings.cookie),
      attributes_(attributes_of(settings)),
      renews_(settings.duration.count() > 0),
      tokens_(std::move(tokens)),
      by_token_(numbered(tokens_)) {}

std::string sticky_token(std::string_view key, std::string_view kind, std::string_view name) {
  std::string text(kind);
  text += '\n';
  text += name;
  return net::base64url(std::string_view(net::keyed_digest(key, text)).substr(0, kTokenBytes));
}

}  // namespace lbd::upstream
