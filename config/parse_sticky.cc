// Stickiness: of targets, and of the shares of a weighted forward.
#include <fmt/format.h>

#include "config/scalars.h"
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;

constexpr DurationRange kDuration{.least = 1s, .most = 24h * 400, .off = true};

Kind cookie_name(std::string& out) {
  return checked(text(out), [&out](Decoder& decoder, const Cursor& at) {
    if (!is_token(out)) decoder.expected(at, "a cookie's name: letters, digits, '-', '_', '.'");
  });
}

Kind same_site(SameSite& out) {
  return word(out, {.words = {"unset", "none", "lax", "strict"}, .later = {}});
}

void check_app_cookie(Decoder& decoder, const Cursor& at, const Stickiness& stickiness) {
  const auto name = member_of(at, "app_cookie");
  const bool by_app = stickiness.by == StickyBy::app_cookie;
  if (by_app && !name) {
    decoder.error(at.label, "E2004",
                  fmt::format("{}: type app_cookie needs 'app_cookie', the name of the "
                              "application's cookie",
                              at.path));
  } else if (!by_app && name) {
    decoder.error(name->label, "E2010",
                  fmt::format("{}: 'app_cookie' has no meaning with type lb_cookie", at.path));
  }
  if (by_app && member_of(at, "duration")) {
    decoder.error(member_of(at, "duration")->label, "E2010",
                  fmt::format("{}: with type app_cookie it lasts as long as the application's "
                              "cookie: 'duration' has no meaning",
                              at.path));
  }
  if (!stickiness.app_cookie.empty() && stickiness.app_cookie == stickiness.cookie.cookie) {
    decoder.error(name->label, "E2010",
                  fmt::format("{}: 'cookie' is lbd's own and needs another name than the "
                              "application's",
                              at.path));
  }
}

}  // namespace

Table sticky_cookie_table(StickyCookie& sticky) {
  return {.doc = "A client that has been drawn a target group stays with it.",
          .fields =
              {
                  {"cookie", cookie_name(sticky.cookie),
                   "Name of lbd's cookie. Default: `lbd-group-` and the rule's name."},
                  {"duration", duration(sticky.duration, kDuration),
                   "How long it lasts from the last response on; `off`: while the browser runs."},
                  {"same_site", same_site(sticky.same_site),
                   "SameSite of the cookie; `none` needs https."},
              },
          .later = {},
          .after = {}};
}

Table stickiness_table(Stickiness& stickiness) {
  StickyCookie& cookie = stickiness.cookie;
  return {.doc = "Requests of one session go to one target.",
          .fields =
              {
                  {"type", word(stickiness.by, {.words = {"lb_cookie", "app_cookie"}, .later = {}}),
                   "By a cookie of lbd's own, or one that lives with the application's."},
                  {"cookie", cookie_name(cookie.cookie),
                   "Name of lbd's cookie. Default: `lbd-` and the group's name."},
                  {"app_cookie", cookie_name(stickiness.app_cookie),
                   "Name of the application's cookie, with type app_cookie."},
                  {"duration", duration(cookie.duration, kDuration),
                   "How long it lasts from the last response on; `off`: while the browser runs."},
                  {"same_site", same_site(cookie.same_site),
                   "SameSite of the cookie; `none` needs https."},
              },
          .later = {},
          .after = [&stickiness](Decoder& decoder, const Cursor& at) {
            check_app_cookie(decoder, at, stickiness);
          }};
}

}  // namespace lbd::config
