// Clients that stay where they are (docs/adr/0011).
#include <algorithm>

#include "lbd/proxy/believed.h"
#include "lbd/proxy/exchange.h"

namespace lbd::proxy {
namespace {

using upstream::StickyTokens;

constexpr std::string_view kSecure = "; Secure";
constexpr std::size_t kTokenBytesMax = 32;

/// The name of what a Set-Cookie field sets, and what follows its value ("; Path=/…").
struct SetCookie {
  std::string_view name;
  std::string_view attributes;
};

SetCookie read_set_cookie(std::string_view value) noexcept {
  const std::size_t end = std::min(value.find(';'), value.size());
  const std::size_t equals = value.find('=');
  if (equals >= end) return {};
  std::string_view name = value.substr(0, equals);
  while (!name.empty() && (name.back() == ' ' || name.back() == '\t')) name.remove_suffix(1);
  return {name, value.substr(end)};
}

}  // namespace

/// The group of a forward: the client's, when it has one of several.
std::size_t Exchange::choose_group(const upstream::SnapshotRoute& route) {
  if (route.shares.empty()) return route.group;
  std::uint32_t share = StickyTokens::kNone;
  if (route.sticky != nullptr) {
    share = route.sticky->find(route::first_cookie(client_.head().headers, route.sticky->cookie()));
    sticky_share_known_ = share != StickyTokens::kNone;
  }
  if (share == StickyTokens::kNone) share = route.draw_share(worker_.rng);
  sticky_share_ = share;
  return route.shares[share].group;
}

/// The client's target while it can serve, else whoever the group's algorithm picks.
Choice Exchange::choose_target() {
  if (group_->sticky == nullptr) return pick_target(worker_, *group_, *turns_, tried_);
  const bool first = record_.attempt_count == 0;
  const std::uint32_t wanted = wanted_target();
  keep_cookie_ = false;
  if (wanted == StickyTokens::kNone) {
    if (first) group_load_->sticky_new.add(1);
    return pick_target(worker_, *group_, *turns_, tried_);
  }
  const Kept kept = look_at_kept(*group_, wanted, tried_);
  if (kept == Kept::serves) {
    if (first) group_load_->sticky_kept.add(1);
    const upstream::SnapshotTarget& target = group_->targets[wanted];
    const bool cross = group_->own_zone < group_->zones.size() && target.zone != group_->own_zone;
    return {&target, Fault::none, cross};
  }
  if (first) group_load_->sticky_moved.add(1);
  keep_cookie_ = kept == Kept::full;
  return pick_target(worker_, *group_, *turns_, tried_);
}

/// By its cookie. One that goes with the application's counts only beside it.
std::uint32_t Exchange::wanted_target() const {
  const std::vector<http::Header>& headers = client_.head().headers;
  const config::Stickiness& settings = *group_settings().stickiness;
  const bool by_app = settings.by == config::StickyBy::app_cookie;
  if (by_app && route::first_cookie(headers, settings.app_cookie).empty()) {
    return StickyTokens::kNone;
  }
  return group_->sticky->find(route::first_cookie(headers, group_->sticky->cookie()));
}

/// Adds Set-Cookie for where the request went, where one is due.
void Exchange::set_sticky_cookies(const Choice& choice) {
  const StickyTokens* share = route_->shares.empty() ? nullptr : route_->sticky.get();
  if (group_->sticky == nullptr && share == nullptr) return;
  std::vector<http::Header>& headers = state_->client_headers;
  Buffer& text = state_->cookies;
  text.clear();
  std::size_t room = 0;
  for (const StickyTokens* each : {group_->sticky.get(), share}) {
    if (each != nullptr) room += each->cookie().size() + each->attributes().size() + 64;
  }
  const std::size_t came = headers.size();
  for (const http::Header& each : headers) {
    const bool sets = group_->sticky != nullptr && each.id == http::HeaderId::set_cookie;
    if (sets) room += group_->sticky->cookie().size() + kTokenBytesMax + each.value.size();
  }
  text.reserve(room);
  const bool secure = believed_scheme(client_.client(), client_.head()) == "https";
  const auto add = [&](const StickyTokens& tokens, std::uint32_t index,
                       std::string_view attributes) {
    const std::size_t at = text.size();
    text.append(tokens.cookie());
    text.append('=');
    text.append(tokens.token(index));
    text.append(attributes);
    if (secure && attributes.data() == tokens.attributes().data()) text.append(kSecure);
    headers.push_back({"Set-Cookie", text.view().substr(at), http::HeaderId::set_cookie});
  };
  if (share != nullptr && (share->renews() || !sticky_share_known_)) {
    add(*share, sticky_share_, share->attributes());
  }
  if (group_->sticky == nullptr || keep_cookie_) return;
  const StickyTokens& tokens = *group_->sticky;
  const auto target = static_cast<std::uint32_t>(choice.target - group_->targets.data());
  const config::Stickiness& settings = *group_settings().stickiness;
  const bool moved = wanted_target() != target;
  if (settings.by == config::StickyBy::lb_cookie) {
    if (tokens.renews() || moved) add(tokens, target, tokens.attributes());
    return;
  }
  bool set_by_app = false;
  for (std::size_t i = 0; i < came; ++i) {
    if (headers[i].id != http::HeaderId::set_cookie) continue;
    const SetCookie its = read_set_cookie(headers[i].value);
    if (its.name != settings.app_cookie) continue;
    add(tokens, target, its.attributes);
    set_by_app = true;
  }
  const bool has_session =
      !route::first_cookie(client_.head().headers, settings.app_cookie).empty();
  if (!set_by_app && has_session && moved) add(tokens, target, tokens.attributes());
}

}  // namespace lbd::proxy
