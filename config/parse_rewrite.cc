// What rules change on the way: URLs and header fields; and error pages.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "config/scalars.h"
#include "config/tables.h"
#include "config/variables.h"
#include "lbd/base/regex.h"

namespace lbd::config {
namespace {

namespace json = boost::json;

constexpr Variable kOfPages[] = {Variable::status, Variable::reason, Variable::request_id};
/// Those of one hop and those that frame a message are not a rule's to write (RFC 9110 §7.6.1).
constexpr std::array<std::string_view, 11> kNotOurs{
    "connection", "content-length",    "expect",
    "host",       "keep-alive",        "proxy-connection",
    "te",         "transfer-encoding", "trailer",
    "upgrade",    "proxy-authenticate"};

std::string lower(std::string text) {
  for (auto& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool is_page_variable(Variable variable) {
  return std::find(std::begin(kOfPages), std::end(kOfPages), variable) != std::end(kOfPages);
}

/// Every `#{` must begin a variable that is known here: those of pages, or all others.
void check_variables(Decoder& decoder, const Cursor& at, bool page) {
  if (at.value.secret) return;
  const auto known_here = [page](Variable variable) {
    return page ? is_page_variable(variable)
                : variable != Variable::status && variable != Variable::reason;
  };
  std::string_view rest = at.value.text;
  while (!rest.empty()) {
    const TemplatePiece piece = next_piece(rest);
    if (piece.variable ? known_here(*piece.variable) : !piece.text.starts_with("#{")) continue;
    std::string names;
    for (std::size_t i = 0; i < kVariables; ++i) {
      if (!known_here(static_cast<Variable>(i))) continue;
      names += fmt::format("{}#{{{}}}", names.empty() ? "" : ", ", kVariableNames[i]);
    }
    decoder.error(at.value.place, "E2013",
                  fmt::format("{}: '{}' is not known here", at.path,
                              piece.text.substr(
                                  0, std::min(piece.text.find('}'), piece.text.size() - 1) + 1)),
                  "known: " + names);
    return;
  }
}

bool has_controls(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

using PairCheck = std::function<void(Decoder&, const Cursor&, const std::string& name)>;

/// Names with a text each, in the order of the file.
Kind named_texts(std::vector<NamedText>& out, PairCheck check) {
  return {.read =
              [&out, check = std::move(check)](Decoder& decoder, const Cursor& at) {
                if (at.value.broken) return;
                if (at.value.kind != ValueKind::mapping) {
                  return decoder.expected(at, "a mapping of names to texts");
                }
                for (const auto& member : at.value.members) {
                  const Cursor item{*member.value, member.place,
                                    fmt::format("{}.{}", at.path, member.key)};
                  decoder.remember(item);
                  const auto* found = scalar_of(decoder, item, "a text");
                  if (found == nullptr) continue;
                  check(decoder, item, member.key);
                  out.push_back({member.key, *found});
                }
              },
          .schema = &text_map_schema,
          .fallback = ""};
}

void check_header_name(Decoder& decoder, const Place& place, const std::string& name) {
  if (!is_token(name)) {
    decoder.error(place, "E2009", fmt::format("'{}' is not a header name", name));
  } else if (std::find(kNotOurs.begin(), kNotOurs.end(), lower(name)) != kNotOurs.end()) {
    decoder.error(
        place, "E2014",
        fmt::format("'{}' is of one connection or frames the message: it cannot be changed", name),
        lower(name) == "host" ? "use 'rewrite: { host: … }'" : "");
  }
}

void check_header(Decoder& decoder, const Cursor& at, const std::string& name) {
  check_header_name(decoder, at.label, name);
  if (has_controls(at.value.text)) {
    decoder.error(
        at.value.place, "E2005",
        fmt::format("{}: a header's value is one line without control characters", at.path));
  }
  check_variables(decoder, at, false);
}

void check_query_pair(Decoder& decoder, const Cursor& at, const std::string& name) {
  if (name.find_first_of("&=#") != std::string::npos) {
    decoder.error(at.label, "E2009",
                  fmt::format("{}: '{}' is not a parameter's name", at.path, name));
  }
  check_variables(decoder, at, false);
}

Table query_table(Rewrite& rewrite) {
  return {.doc = "Query parameters: removed, then set, then added.",
          .fields =
              {
                  {"remove", texts(rewrite.query_remove, "a parameter, or a list of them"),
                   "Parameters that are taken out."},
                  {"set", named_texts(rewrite.query_set, &check_query_pair),
                   "Parameters with the one value that they get; encoded as a URL needs it."},
                  {"add", named_texts(rewrite.query_add, &check_query_pair),
                   "Parameters that are added, whether they are there or not."},
              },
          .later = {},
          .after = {}};
}

/// What a path may hold as it stands (RFC 3986 §3.3).
bool is_path_text(std::string_view text) {
  static constexpr std::string_view kPunctuation = "/-._~!$&'()*+,;=:@%";
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           kPunctuation.find(c) != std::string_view::npos;
  });
}

Kind path_text(std::string& out, bool groups) {
  return {.read =
              [&out, groups](Decoder& decoder, const Cursor& at) {
                constexpr std::string_view kWhat =
                    "a path, encoded as in a URL and without a query";
                const auto* found = scalar_of(decoder, at, kWhat);
                if (found == nullptr) return;
                std::string plain = *found;
                if (groups) std::erase(plain, '\\');
                const bool start = found->starts_with('/') || (groups && found->starts_with('\\'));
                if (!start || !is_path_text(plain)) {
                  return decoder.expected(at, kWhat, start ? "" : "it starts with '/'");
                }
                out = *found;
              },
          .schema =
              [] {
                return json::object{{"type", "string"}, {"minLength", 1}};
              },
          .fallback = ""};
}

Table path_prefix_table(Rewrite& rewrite) {
  return {
      .doc = "The beginning of the path.",
      .fields =
          {
              {"from", path_text(rewrite.path_prefix_from, false),
               "What the path begins with; another path stays as it is.", true},
              {"to", path_text(rewrite.path_prefix_to, false), "What stands there instead.", true},
          },
      .later = {},
      .after = {}};
}

void check_groups(Decoder& decoder, const Cursor& at, const Rewrite& rewrite) {
  const auto compiled = Regex::compile(rewrite.path_regex);
  const auto match = member_of(at, "match");
  if (!compiled) {
    return decoder.error(match ? match->value.place : at.label, "E2005",
                         fmt::format("{}.match: '{}' is not a regular expression: {}", at.path,
                                     rewrite.path_regex, compiled.error().message));
  }
  for (std::size_t i = rewrite.path_to.find('\\'); i != std::string::npos;
       i = rewrite.path_to.find('\\', i + 2)) {
    const char digit = i + 1 < rewrite.path_to.size() ? rewrite.path_to[i + 1] : ' ';
    if (digit >= '0' && digit <= '9' &&
        static_cast<std::size_t>(digit - '0') <= compiled->groups()) {
      continue;
    }
    const auto to = member_of(at, "to");
    return decoder.error(to ? to->value.place : at.label, "E2005",
                         fmt::format("{}.to: \\0 to \\{} stand for what the expression matched",
                                     at.path, std::min<std::size_t>(compiled->groups(), 9)));
  }
}

Table path_regex_table(Rewrite& rewrite) {
  return {.doc = "The path by a regular expression.",
          .fields =
              {
                  {"match", required_text(rewrite.path_regex, "a regular expression"),
                   "Expression (RE2) that the path must match somewhere; another path stays as it "
                   "is.",
                   true},
                  {"to", path_text(rewrite.path_to, true),
                   "The whole new path; `\\1` to `\\9` are the groups, `\\0` the match.", true},
              },
          .later = {},
          .after = [&rewrite](Decoder& decoder, const Cursor& at) {
            if (!rewrite.path_regex.empty() && !rewrite.path_to.empty()) {
              check_groups(decoder, at, rewrite);
            }
          }};
}

Kind new_host(std::string& out) {
  return checked(required_text(out, "a host"), [&out](Decoder& decoder, const Cursor& at) {
    constexpr std::string_view kBad = " \t/?#@\\,";
    std::string_view rest = out;
    while (!rest.empty()) {
      const TemplatePiece piece = next_piece(rest);
      if (piece.variable || piece.text.find_first_of(kBad) == piece.text.npos) continue;
      if (piece.text.starts_with("#{")) break;
      return decoder.expected(at, "a host, with or without a port");
    }
    check_variables(decoder, at, false);
  });
}

Table page_table(ErrorPage& page) {
  return {.doc = "One error page.",
          .fields =
              {
                  {"content_type", required_text(page.content_type, "a media type"),
                   "Content-Type of the page."},
                  {"body",
                   checked(required_text(page.body, "a text, such as '${file:/path}'"),
                           [](Decoder& decoder, const Cursor& at) {
                             check_variables(decoder, at, true);
                           }),
                   "The page; knows `#{status}`, `#{reason}` and `#{request_id}`.", true},
              },
          .later = {},
          .after = {}};
}

bool is_error_status(std::string_view key) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return key.size() == 3 && (key[0] == '4' || key[0] == '5') &&
         (key.substr(1) == "xx" || (digit(key[1]) && digit(key[2])));
}

}  // namespace

Table rewrite_table(Rewrite& rewrite) {
  return {.doc = "What the target gets instead of the URL.",
          .fields =
              {
                  {"host", new_host(rewrite.host), "Host that the target sees; knows `#{host}`."},
                  {"path_prefix", object([&rewrite] { return path_prefix_table(rewrite); }),
                   "The beginning of the path."},
                  {"path_regex", object([&rewrite] { return path_regex_table(rewrite); }),
                   "The path by a regular expression."},
                  {"query", object([&rewrite] { return query_table(rewrite); }),
                   "Query parameters: removed, then set, then added."},
              },
          .later = {},
          .after = [](Decoder& decoder, const Cursor& at) {
            if (member_of(at, "path_prefix") && member_of(at, "path_regex")) {
              decoder.error(at.label, "E2010",
                            fmt::format("{}: either path_prefix or path_regex, not both", at.path));
            }
          }};
}

Table header_edits_table(HeaderEdits& edits) {
  return {
      .doc = "Header fields: removed, then set, then added.",
      .fields =
          {
              {"remove",
               checked(texts(edits.remove, "a header, or a list of them"),
                       [&edits](Decoder& decoder, const Cursor& at) {
                         for (const auto& name : edits.remove) {
                           check_header_name(decoder, at.value.place, name);
                         }
                       }),
               "Fields that are taken out."},
              {"set", named_texts(edits.set, &check_header),
               "Fields with the one value that they get; knows `#{client_ip}`, `#{request_id}`, "
               "`#{host}`, `#{protocol}`, `#{port}`, `#{method}`, `#{path}`, `#{query}`, "
               "`#{sni}`, `#{tls_version}`, `#{tls_cipher}`."},
              {"add", named_texts(edits.add, &check_header),
               "Fields that are added, whether they are there or not."},
          },
      .later = {},
      .after = {}};
}

Kind error_pages(std::map<std::string, ErrorPage>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                if (at.value.broken) return;
                if (at.value.kind != ValueKind::mapping) {
                  return decoder.expected(at, "a mapping of statuses to pages");
                }
                for (const auto& member : at.value.members) {
                  if (!is_error_status(member.key)) {
                    decoder.error(
                        member.place, "E2009",
                        fmt::format("{}: '{}' is not the status of an error", at.path, member.key),
                        "400 to 599, or 4xx or 5xx");
                    continue;
                  }
                  const Cursor item{*member.value, member.place,
                                    fmt::format("{}.{}", at.path, member.key)};
                  decoder.remember(item);
                  ErrorPage page;
                  decode(decoder, item, page_table(page));
                  out.insert_or_assign(member.key, std::move(page));
                }
              },
          .schema =
              [] {
                ErrorPage sample;
                return json::object{
                    {"type", "object"},
                    {"propertyNames", json::object{{"pattern", "^[45](xx|[0-9][0-9])$"}}},
                    {"additionalProperties", schema_of(page_table(sample))}};
              },
          .fallback = ""};
}

}  // namespace lbd::config
