// Rules and their conditions.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "config/scalars.h"
#include "config/tables.h"
#include "lbd/base/regex.h"

namespace lbd::config {
namespace {

namespace json = boost::json;

void check_hosts(Decoder& decoder, const Cursor& at, std::vector<std::string>& hosts) {
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    auto& host = hosts[i];
    const auto& items = at.value.items;
    const auto& place = items.size() == hosts.size() ? items[i]->place : at.value.place;
    for (auto& c : host) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (host.find_first_of("/ \t") != std::string::npos) {
      decoder.error(place, "E2005", fmt::format("{}: '{}' is not a host name", at.path, host),
                    "neither scheme nor path: write it as 'shop.example.com'");
      continue;
    }
    const auto literal = host.starts_with('[') ? host.find(']') : 0;
    const auto port = host.find(':', literal == std::string::npos ? 0 : literal);
    if (port == std::string::npos) continue;
    decoder.error(place, "E2005",
                  fmt::format("{}: '{}' can match nothing: names are compared without their port",
                              at.path, host),
                  port == 0 ? "" : fmt::format("write it as '{}'", host.substr(0, port)));
  }
}

void check_paths(Decoder& decoder, const Cursor& at, const std::vector<std::string>& paths) {
  for (const auto& path : paths) {
    if (path.starts_with('/') || path.starts_with('*')) {
      if (path.find('?') == std::string::npos || path.find('=') == std::string::npos) continue;
      decoder.warning(at.value.place, "W2001",
                      fmt::format("{}: '?' matches any one character of the path; the query is not "
                                  "part of it",
                                  at.path));
      continue;
    }
    decoder.error(
        at.value.place, "E2005",
        fmt::format("{}: path '{}' can match nothing: paths start with '/'", at.path, path),
        fmt::format("did you mean '/{}'?", path));
  }
}

using NameCheck = std::function<void(Decoder&, const Cursor&, const FieldMatch&)>;

void check_regexes(Decoder& decoder, const Cursor& at, const std::vector<std::string>& texts) {
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto& text = texts[i];
    const auto compiled = Regex::compile(text);
    if (compiled) continue;
    const auto& items = at.value.items;
    const auto& place = items.size() == texts.size() ? items[i]->place : at.value.place;
    decoder.error(place, "E2005",
                  fmt::format("{}: '{}' is not a regular expression: {}", at.path, text,
                              compiled.error().message));
  }
}

Kind regexes(std::vector<std::string>& out, std::string_view what) {
  return checked(texts(out, what),
                 [&out](Decoder& decoder, const Cursor& at) { check_regexes(decoder, at, out); });
}

/// Names with one text or a list of them. Any name but an empty one, or what `check` refuses.
Kind fields(std::vector<FieldMatch>& out, const NameCheck& check) {
  return {.read =
              [&out, check](Decoder& decoder, const Cursor& at) {
                out.clear();
                if (at.value.broken) return;
                if (at.value.kind != ValueKind::mapping || at.value.members.empty()) {
                  const bool empty = at.value.kind == ValueKind::mapping;
                  return decoder.expected(at, "a mapping of names to values",
                                          empty ? "it is empty" : "");
                }
                for (const auto& member : at.value.members) {
                  const Cursor item{*member.value, member.place,
                                    fmt::format("{}.{}", at.path, member.key)};
                  decoder.remember(item);
                  FieldMatch field{member.key, {}};
                  if (check) check(decoder, item, field);
                  texts(field.values, "a value, or a list of them").read(decoder, item);
                  out.push_back(std::move(field));
                }
              },
          .schema =
              [] {
                std::vector<std::string> sample;
                return json::object{{"type", "object"},
                                    {"minProperties", 1},
                                    {"additionalProperties", texts(sample, "").schema()}};
              },
          .fallback = ""};
}

Kind fields_regex(std::vector<FieldMatch>& out, const NameCheck& check) {
  return checked(fields(out, check), [&out](Decoder& decoder, const Cursor& at) {
    for (const FieldMatch& field : out) {
      const auto item = member_of(at, field.name);
      if (item && !item->value.secret) check_regexes(decoder, *item, field.values);
    }
  });
}

void check_header_name(Decoder& decoder, const Cursor& at, const FieldMatch& field) {
  if (is_token(field.name)) return;
  decoder.error(at.label, "E2009",
                fmt::format("{}: '{}' is not a header name", at.path, field.name));
}

/// RFC 6265: what a cookie's name may be is a token.
void check_cookie_name(Decoder& decoder, const Cursor& at, const FieldMatch& field) {
  if (is_token(field.name)) return;
  decoder.error(at.label, "E2009",
                fmt::format("{}: '{}' is not a cookie's name", at.path, field.name));
}

void check_methods(Decoder& decoder, const Cursor& at, const std::vector<std::string>& methods) {
  for (const auto& method : methods) {
    auto upper = method;
    for (auto& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (!is_token(method)) {
      decoder.error(at.value.place, "E2005",
                    fmt::format("{}: '{}' is not a method", at.path, method));
    } else if (upper != method) {
      decoder.warning(at.value.place, "W2002",
                      fmt::format("{}: methods are case-sensitive, and '{}' is not a usual one",
                                  at.path, method),
                      fmt::format("did you mean '{}'?", upper));
    }
  }
}

Kind share(std::optional<double>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                double value = -1;
                ratio(value, {0, 1}).read(decoder, at);
                if (value >= 0) out = value;
              },
          .schema =
              [] {
                double sample = 0;
                return ratio(sample, {0, 1}).schema();
              },
          .fallback = ""};
}

Kind attempts(std::optional<std::uint32_t>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                std::uint32_t value = 0;
                whole(value, {1, 10}).read(decoder, at);
                if (value > 0) out = value;
              },
          .schema =
              [] {
                std::uint32_t sample = 1;
                return whole(sample, {1, 10}).schema();
              },
          .fallback = ""};
}

Kind body_limit(std::optional<std::uint64_t>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                std::uint64_t value = UINT64_MAX;
                size_or_off(value).read(decoder, at);
                if (value == UINT64_MAX) return;
                if (value == 0) return decoder.expected(at, "a size such as 1MiB, more than 0");
                out = value;
              },
          .schema =
              [] {
                return json::object{{"type", "string"},
                                    {"pattern", R"(^[0-9]+(\.[0-9]+)?([KMGT]i?)?B$)"}};
              },
          .fallback = ""};
}

Table when_table(When& when, int depth);

json::object nested_schema() {
  return {{"$ref",
           "#/properties/listeners/additionalProperties/properties/rules/items/properties/when"}};
}

void read_nested(Decoder& decoder, const Cursor& at, std::vector<When>& out, int depth) {
  if (depth >= kWhenDepthMax) {
    decoder.error(
        at.label, "E2012",
        fmt::format("{}: conditions are nested more than {} deep", at.path, kWhenDepthMax));
    return;
  }
  When part;
  decode(decoder, at, when_table(part, depth + 1));
  if (at.value.kind == ValueKind::mapping && at.value.members.empty()) {
    decoder.expected(at, "conditions", "it is empty");
  }
  out.push_back(std::move(part));
}

/// `any` and `all`: a list of conditions.
Kind parts(std::vector<When>& out, int depth) {
  Kind kind =
      list({.read = [&out, depth](Decoder& decoder,
                                  const Cursor& at) { read_nested(decoder, at, out, depth); },
            .sample = &nested_schema});
  kind.schema = [] {
    return json::object{{"type", "array"}, {"items", nested_schema()}, {"minItems", 1}};
  };
  return checked(std::move(kind), [](Decoder& decoder, const Cursor& at) {
    const bool empty = at.value.kind == ValueKind::sequence && at.value.items.empty();
    if (empty) decoder.expected(at, "a list of conditions");
  });
}

Kind excluded(std::vector<When>& out, int depth) {
  return {.read = [&out, depth](Decoder& decoder,
                                const Cursor& at) { read_nested(decoder, at, out, depth); },
          .schema = &nested_schema,
          .fallback = ""};
}

Kind hosts(std::vector<std::string>& out) {
  return checked(texts(out, "a host name, or a list of them"),
                 [&out](Decoder& decoder, const Cursor& at) { check_hosts(decoder, at, out); });
}

Kind sources(std::vector<Cidr>& out) {
  Kind kind = checked(networks(out), [](Decoder& decoder, const Cursor& at) {
    const bool empty = at.value.kind == ValueKind::sequence && at.value.items.empty();
    if (empty) decoder.expected(at, "a network such as 10.0.0.0/8, or a list of them");
  });
  kind.fallback.clear();
  return kind;
}

void add_regex_fields(std::vector<Field>& fields, When& when) {
  constexpr std::string_view kWhat = "a regular expression, or a list of them";
  fields.push_back({"host_regex", regexes(when.hosts_regex, kWhat),
                    "As `host`, by regular expressions (RE2); they match anywhere in the text."});
  fields.push_back({"path_regex", regexes(when.paths_regex, kWhat),
                    "As `path`, by regular "
                    "expressions."});
  fields.push_back({"header_regex", fields_regex(when.headers_regex, &check_header_name),
                    "As `header`, by regular expressions."});
  fields.push_back({"query_regex", fields_regex(when.query_regex, nullptr),
                    "As `query`, by regular expressions."});
  fields.push_back({"cookie_regex", fields_regex(when.cookies_regex, &check_cookie_name),
                    "As `cookie`, by regular expressions."});
  fields.push_back(
      {"sni_regex", regexes(when.server_names_regex, kWhat), "As `sni`, by regular expressions."});
}

void add_nesting_fields(std::vector<Field>& fields, When& when, int depth) {
  fields.push_back({"any", parts(when.any, depth),
                    "Conditions of which one must hold; may be "
                    "nested."});
  fields.push_back({"all", parts(when.all, depth), "Conditions that must all hold."});
  fields.push_back({"not", excluded(when.none, depth),
                    "Conditions that must not hold, taken "
                    "together."});
}

Table when_table(When& when, int depth) {
  Table table{
      .doc = "Conditions: all that are given must hold; within one, any value may match.",
      .fields =
          {
              {"host", hosts(when.hosts), "Host names; `*` and `?` are wildcards."},
              {"path",
               checked(texts(when.paths, "a path, or a list of them"),
                       [&when](Decoder& decoder, const Cursor& at) {
                         check_paths(decoder, at, when.paths);
                       }),
               "Paths: exact `/a`, prefix `/a/*`; `*` and `?` are wildcards."},
              {"method",
               checked(texts(when.methods, "a method, or a list of them"),
                       [&when](Decoder& decoder, const Cursor& at) {
                         check_methods(decoder, at, when.methods);
                       }),
               "Methods, such as `GET`."},
              {"header", fields(when.headers, &check_header_name),
               "Header fields by name, each with a value or several; `*` and `?` are "
               "wildcards, letters match in either case."},
              {"query", fields(when.query, nullptr),
               "Query parameters by name, as they are in the URL (not decoded); the name "
               "`*` is any. Values as in `header`."},
              {"cookie", fields(when.cookies, &check_cookie_name),
               "Cookies by name. Values as in `header`, but letters match exactly."},
              {"source_ip", sources(when.source_ips),
               "Networks of the client; behind a trusted proxy, of whom that names."},
              {"scheme", word(when.scheme, {"http", "https"}),
               "How the client came; behind a trusted proxy, how it came to that."},
              {"sni", hosts(when.server_names),
               "Server names of the TLS handshake; `*` and `?` are wildcards."},
              {"percentage", share(when.share), "Share of the requests, each drawn by lot."},
          },
      .later = {},
      .after = {}};
  add_regex_fields(table.fields, when);
  add_nesting_fields(table.fields, when, depth);
  return table;
}

Table rule_timeouts_table(Rule& rule) {
  using namespace std::chrono_literals;
  return {.doc = "Deadlines of requests that match.",
          .fields =
              {
                  {"total", optional_duration(rule.total_timeout, {.least = 1ms, .off = true}),
                   "A whole request, instead of the listener's; `off` is no limit."},
                  {"response_head", optional_duration(rule.response_head_timeout, {.least = 1ms}),
                   "Until the response's head, instead of the target group's."},
              },
          .later = {},
          .after = {}};
}

Table rule_retries_table(Rule& rule) {
  return {.doc = "Second attempts of requests that match.",
          .fields =
              {
                  {"attempts", attempts(rule.attempts),
                   "Attempts in all, instead of the target group's; 1 is no retry."},
              },
          .later = {},
          .after = {}};
}

Table rule_limits_table(Rule& rule) {
  return {.doc = "Limits of requests that match.",
          .fields =
              {
                  {"body_bytes_max", body_limit(rule.body_bytes_max),
                   "Bytes of a request body; at most the listener's."},
              },
          .later = {},
          .after = {}};
}

}  // namespace

Table rule_table(Rule& rule) {
  return {.doc = "One rule.",
          .fields =
              {
                  {"name", required_text(rule.name, "a name"),
                   "Name in logs and in `lbd explain`. Default: `rule-1`, `rule-2`, …"},
                  {"when", object([&rule] { return when_table(rule.when, 0); }),
                   "Conditions; without any the rule matches every request."},
                  {"then", action([&rule](Action found) { rule.then = std::move(found); }),
                   "What to do with a request that matches.", true},
                  {"rewrite", object([&rule] { return rewrite_table(rule.rewrite); }),
                   "What the target gets instead of the URL; rules are not looked at again."},
                  {"request_headers",
                   object([&rule] { return header_edits_table(rule.request_headers); }),
                   "Header fields that the target gets: removed, then set, then added."},
                  {"response_headers",
                   object([&rule] { return header_edits_table(rule.response_headers); }),
                   "Header fields that the client gets, of lbd's own answers too."},
                  {"timeouts", object([&rule] { return rule_timeouts_table(rule); }),
                   "Deadlines of requests that match."},
                  {"retries", object([&rule] { return rule_retries_table(rule); }),
                   "Second attempts of requests that match."},
                  {"access", object([&rule] { return access_table(rule.access); }),
                   "Who may send requests that match, by address; others get 403."},
                  {"in_flight_limits", objects(rule.in_flight_limits, &in_flight_limit_table),
                   "How many requests of a key may be under way at once; further ones get 429."},
                  {"rate_limits", objects(rule.rate_limits, &rate_limit_table),
                   "Token buckets that each request takes a token of; without one it gets 429."},
                  {"limits", object([&rule] { return rule_limits_table(rule); }),
                   "Limits of requests that match."},
              },
          .later = {},
          .after = {}};
}

}  // namespace lbd::config
