// Who may come in, and how often.
#include <fmt/format.h>

#include "config/scalars.h"
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;

/// Buckets count in whole microseconds.
constexpr std::uint32_t kPerSecondMax = 100'000;
/// From empty to full. Buckets know times of up to eight years.
constexpr std::chrono::hours kFillMax = 365 * 24h;

template <class Limit>
void check_key(Decoder& decoder, const Cursor& at, const Limit& limit) {
  const bool named = limit.by == RateKey::header || limit.by == RateKey::cookie;
  const auto name = member_of(at, "name");
  if (named && !is_token(limit.name)) {
    decoder.error(name ? name->value.place : at.label, name ? "E2009" : "E2004",
                  fmt::format("{}: the name of the {} is {}", at.path,
                              limit.by == RateKey::header ? "header" : "cookie",
                              name ? "no name" : "missing"));
  } else if (!named && name) {
    decoder.error(name->label, "E2010",
                  fmt::format("{}: only keys by header or cookie have a name", at.path));
  }
}

void check_rate(Decoder& decoder, const Cursor& at, const RateLimit& limit) {
  check_key(decoder, at, limit);
  if (limit.requests == 0) return;  // reported as missing or wrong
  const std::uint32_t burst = limit.burst > 0 ? limit.burst : limit.requests;
  if (limit.per / limit.requests * burst > kFillMax) {
    decoder.error(at.label, "E2005",
                  fmt::format("{}: a bucket would take more than a year to fill", at.path));
  }
  if (limit.requests / 1000.0 > static_cast<double>(limit.per.count()) * kPerSecondMax / 1e6) {
    decoder.error(
        at.label, "E2005",
        fmt::format("{}: at most {} requests a second can be counted", at.path, kPerSecondMax));
  }
}

}  // namespace

/// Nobody at all is hardly what an empty list is meant to say.
Kind some_networks(std::vector<Cidr>& out) {
  Kind kind = checked(networks(out), [](Decoder& decoder, const Cursor& at) {
    const bool empty = at.value.kind == ValueKind::sequence && at.value.items.empty();
    if (empty) decoder.expected(at, "a network such as 10.0.0.0/8, or a list of them");
  });
  kind.fallback.clear();
  return kind;
}

Table access_table(AccessList& access) {
  return {.doc = "Who may come in, by address.",
          .fields =
              {
                  {"allow", some_networks(access.allow),
                   "Networks of which a client must be; behind a trusted proxy, whom that names."},
                  {"deny", some_networks(access.deny),
                   "Networks of which a client must not be, even if they are allowed."},
              },
          .later = {},
          .after = {}};
}

Kind key_word(RateKey& by) {
  return word(by, {.words = {"source_ip", "header", "cookie", "all"}, .later = {}});
}
constexpr const char* kByDoc =
    "What tells keys apart: the client's address (of IPv6 the first 64 bits), a header's or "
    "cookie's value, or nothing.";

Table rate_limit_table(RateLimit& limit) {
  return {
      .doc = "One token bucket for each key.",
      .fields =
          {
              {"by", key_word(limit.by), kByDoc},
              {"name", required_text(limit.name, "a name"),
               "Name of the header or cookie; requests without it share a bucket."},
              {"requests", whole(limit.requests, {1, 1'000'000'000}),
               "Requests that a key may make in `per`.", true},
              {"per", duration(limit.per, {.least = 1ms, .most = 24h}),
               "Time in which `requests` tokens come back, one after the other."},
              {"burst", whole_or(limit.burst, "auto", {1, 1'000'000}),
               "Tokens that a key can save up; `auto` is as many as `requests`."},
              {"keys_max", whole(limit.keys_max, {8, 16'777'216}),
               "Keys that are known at once (8 bytes each); beyond, the one that has saved up "
               "most begins anew."},
          },
      .later = {},
      .after = [&limit](Decoder& decoder, const Cursor& at) { check_rate(decoder, at, limit); }};
}

Table in_flight_limit_table(InFlightLimit& limit) {
  return {.doc = "How many requests of each key may be under way at once, over all workers.",
          .fields =
              {
                  {"by", key_word(limit.by), kByDoc},
                  {"name", required_text(limit.name, "a name"),
                   "Name of the header or cookie; requests without it are counted together."},
                  {"requests", whole(limit.requests, {1, 1'000'000}),
                   "Requests of a key that may be under way, tunnels included.", true},
                  {"keys_max", whole(limit.keys_max, {8, 4'194'304}),
                   "Keys with requests under way that are known at once (32 bytes each); beyond, "
                   "requests of new keys are let in uncounted."},
              },
          .later = {},
          .after = [&limit](Decoder& decoder, const Cursor& at) { check_key(decoder, at, limit); }};
}

}  // namespace lbd::config
