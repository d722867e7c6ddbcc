// Clients that stay where they are (docs/adr/0011).
#include <algorithm>

#include "lbd/proxy/believed.h"
#include "lbd/proxy/exchange.h"

namespace lbd::proxy {
namespace {

using upstream::StickyTokens;

constexpr std::size_t kRestBytesMax = 64;  // "=", a token, "; Secure"

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
  const std::uint32_t wanted = wanted_target_ = find_wanted_target();
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
std::uint32_t Exchange::find_wanted_target() const noexcept {
  const std::vector<http::Header>& headers = client_.head().headers;
  const config::Stickiness& settings = *group_settings().stickiness;
  const bool by_app = settings.by == config::StickyBy::app_cookie;
  if (by_app && !has_app_session(settings)) return StickyTokens::kNone;
  return group_->sticky->find(route::first_cookie(headers, group_->sticky->cookie()));
}

/// Adds Set-Cookie for where the request went, where one is due.
void Exchange::set_sticky_cookies(const Choice& choice) {
  const StickyTokens* share = route_->sticky.get();
  const StickyTokens* tokens = group_->sticky.get();
  if (tokens == nullptr && share == nullptr) return;
  reserve_cookies();
  if (share != nullptr && (share->renews() || !sticky_share_known_)) {
    add_cookie(*share, sticky_share_);
  }
  if (tokens == nullptr || keep_cookie_) return;
  const auto target = static_cast<std::uint32_t>(choice.target - group_->targets.data());
  const bool moved = wanted_target_ != target;
  const config::Stickiness& settings = *group_settings().stickiness;
  if (settings.by == config::StickyBy::lb_cookie) {
    if (tokens->renews() || moved) add_cookie(*tokens, target);
  } else if (!follow_app_cookie(settings, target) && moved && has_app_session(settings)) {
    add_cookie(*tokens, target);
  }
}

/// Room for all that may be written, so that no view moves.
void Exchange::reserve_cookies() {
  const std::size_t name = group_->sticky != nullptr ? group_->sticky->cookie().size() : 0;
  std::size_t room = 0;
  for (const StickyTokens* each : {group_->sticky.get(), route_->sticky.get()}) {
    if (each != nullptr) room += each->cookie().size() + each->attributes().size() + kRestBytesMax;
  }
  for (const http::Header& each : state_->client_headers) {
    if (each.id == http::HeaderId::set_cookie) room += name + kRestBytesMax + each.value.size();
  }
  state_->cookies.clear();
  state_->cookies.reserve(room);
}

/// `attributes`: of the cookie that it goes with; none: its own.
void Exchange::add_cookie(const StickyTokens& tokens, std::uint32_t index,
                          std::optional<std::string_view> attributes) {
  Buffer& text = state_->cookies;
  const std::size_t at = text.size();
  text.append(tokens.cookie());
  text.append('=');
  text.append(tokens.token(index));
  text.append(attributes.value_or(tokens.attributes()));
  const bool secure = believed_scheme(client_.client(), client_.head()) == "https";
  if (!attributes && secure) text.append("; Secure");
  state_->client_headers.push_back(
      {"Set-Cookie", text.view().substr(at), http::HeaderId::set_cookie});
}

/// Beside each cookie of the application's session that this response sets, one with the same
/// attributes. False: it sets none.
bool Exchange::follow_app_cookie(const config::Stickiness& settings, std::uint32_t target) {
  bool any = false;
  const std::size_t came = state_->client_headers.size();
  for (std::size_t i = 0; i < came; ++i) {
    const http::Header& each = state_->client_headers[i];
    if (each.id != http::HeaderId::set_cookie) continue;
    const SetCookie its = read_set_cookie(each.value);
    if (its.name != settings.app_cookie) continue;
    add_cookie(*group_->sticky, target, its.attributes);
    any = true;
  }
  return any;
}

bool Exchange::has_app_session(const config::Stickiness& settings) const noexcept {
  return !route::first_cookie(client_.head().headers, settings.app_cookie).empty();
}

}  // namespace lbd::proxy
