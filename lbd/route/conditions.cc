#include "lbd/route/conditions.h"

#include <algorithm>

namespace lbd::route {
namespace {

using config::FieldMatch;
using config::When;

Values patterns(const std::vector<std::string>& texts, Letters letters = Letters::exact) {
  return {PatternSet(texts, letters), {}};
}

Values expressions(const std::vector<std::string>& texts) {
  Values values{PatternSet({}), {}};
  for (const std::string& text : texts) {
    if (auto compiled = Regex::compile(text)) values.expressions.push_back(std::move(*compiled));
  }
  return values;
}

void add_text(Conjunction& tests, TextTest::Of of, const std::vector<std::string>& texts) {
  if (!texts.empty()) tests.push_back({TextTest{of, patterns(texts)}});
}
void add_text_regex(Conjunction& tests, TextTest::Of of, const std::vector<std::string>& texts) {
  if (!texts.empty()) tests.push_back({TextTest{of, expressions(texts)}});
}
void add_fields(Conjunction& tests, FieldTest::In in, const std::vector<FieldMatch>& fields) {
  // As with ALB, but for cookies, whose values are made by programs.
  const Letters letters = in == FieldTest::In::cookies ? Letters::exact : Letters::any_case;
  for (const FieldMatch& field : fields) {
    tests.push_back({FieldTest{in, field.name, patterns(field.values, letters)}});
  }
}
void add_fields_regex(Conjunction& tests, FieldTest::In in, const std::vector<FieldMatch>& fields) {
  for (const FieldMatch& field : fields) {
    tests.push_back({FieldTest{in, field.name, expressions(field.values)}});
  }
}

void add_source(Conjunction& tests, const std::vector<config::Cidr>& networks, Needs& needs) {
  if (networks.empty()) return;
  needs.source = true;
  SourceTest test{NetworkSet(networks), ""};
  for (const config::Cidr& each : networks) {
    test.words +=
        (test.words.empty() ? "" : ", ") + each.ip + "/" + std::to_string(each.prefix_bits);
  }
  tests.push_back({std::move(test)});
}

void add_nested(Conjunction& tests, NestedTest nested, const std::vector<When>& parts,
                Needs& needs) {
  if (parts.empty()) return;
  for (const When& part : parts) nested.parts.push_back(compile(part, needs));
  tests.push_back({std::move(nested)});
}

/// Calls `visit(value)` for each field of that name until it returns true; whether it did.
template <class Visit>
bool each_value(const FieldTest& test, const Request& request, Visit visit) noexcept {
  const auto pair = [&](std::string_view name, std::string_view value) {
    return (name == test.name || (test.in == FieldTest::In::query && test.name == "*")) &&
           visit(value);
  };
  if (test.in == FieldTest::In::query) return each_pair(request.query, '&', pair);
  if (request.headers == nullptr) return false;
  const bool cookies = test.in == FieldTest::In::cookies;
  const std::string_view wanted = cookies ? std::string_view("cookie") : test.name;
  for (const http::Header& header : *request.headers) {
    if (!http::equals_ignoring_case(header.name, wanted)) continue;
    if (cookies ? each_pair(header.value, ';', pair) : visit(header.value)) return true;
  }
  return false;
}

bool draw_holds(const ShareTest& test, const Request& request) noexcept {
  if (request.draws != Draws::by_lot) return request.draws == Draws::all_hold;
  std::uint64_t mixed = request.draw + test.salt * 0x9e3779b97f4a7c15ULL;  // splitmix64
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
  mixed ^= mixed >> 31;
  return static_cast<double>(mixed >> 11) * 0x1.0p-53 < test.share;
}

struct Holds {
  const Facts& facts;

  bool operator()(const TextTest& test) const noexcept {
    return test.values.matches(text_of(test.of));
  }
  bool operator()(const FieldTest& test) const noexcept {
    return each_value(test, facts.request,
                      [&test](std::string_view value) { return test.values.matches(value); });
  }
  bool operator()(const SourceTest& test) const noexcept {
    return facts.request.source && test.networks.has(*facts.request.source);
  }
  bool operator()(const ShareTest& test) const noexcept { return draw_holds(test, facts.request); }
  bool operator()(const NestedTest& test) const noexcept {
    const auto part_holds = [this](const Conjunction& part) { return holds(part, facts); };
    if (test.of == NestedTest::Of::any) {
      return std::any_of(test.parts.begin(), test.parts.end(), part_holds);
    }
    if (test.of == NestedTest::Of::all) {
      return std::all_of(test.parts.begin(), test.parts.end(), part_holds);
    }
    return std::none_of(test.parts.begin(), test.parts.end(), part_holds);
  }

  [[nodiscard]] std::string_view text_of(TextTest::Of of) const noexcept {
    switch (of) {
      case TextTest::Of::host:
        return facts.host;
      case TextTest::Of::path:
        return facts.request.path;
      case TextTest::Of::method:
        return facts.request.method;
      case TextTest::Of::scheme:
        return facts.request.scheme;
      case TextTest::Of::server_name:
        return facts.request.server_name;
    }
    return {};
  }
};

constexpr std::string_view kTexts[] = {"host", "path", "method", "scheme", "server name (SNI)"};
constexpr std::string_view kFields[] = {"header", "query parameter", "cookie"};

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

std::string none_of(std::string_view what, const Values& values) {
  std::string words(what);
  return words + " matches none of: " + values.words();
}

struct WhyNot {
  const Facts& facts;

  std::string operator()(const TextTest& test) const {
    const std::string_view text = Holds{facts}.text_of(test.of);
    const std::string what(kTexts[static_cast<std::size_t>(test.of)]);
    if (test.of == TextTest::Of::server_name && text.empty()) {
      return "the client named no server (SNI); wanted: " + test.values.words();
    }
    return none_of(what + " " + quoted(text), test.values);
  }
  std::string operator()(const FieldTest& test) const {
    const std::string what =
        std::string(kFields[static_cast<std::size_t>(test.in)]) + " " + quoted(test.name);
    std::string found;
    each_value(test, facts.request, [&found](std::string_view value) {
      found += (found.empty() ? "" : ", ") + quoted(value);
      return false;
    });
    if (found.empty()) return "there is no " + what;
    return none_of(what + " (" + found + ")", test.values);
  }
  std::string operator()(const SourceTest& test) const {
    return (facts.request.source ? "the client's address is in none of: "
                                 : "the client's address is not known; wanted: ") +
           test.words;
  }
  std::string operator()(const ShareTest&) const { return "the lot fell on other requests"; }
  std::string operator()(const NestedTest& test) const {
    if (test.of == NestedTest::Of::none) return "what `not` excludes holds";
    std::string words = test.of == NestedTest::Of::any ? "nothing of `any` holds: " : "";
    for (const Conjunction& part : test.parts) {
      std::string why = why_not(part, facts);
      if (why.empty()) continue;
      if (test.of == NestedTest::Of::all) return why;
      words += (words.ends_with(": ") ? "" : "; ") + why;
    }
    return words;
  }
};

}  // namespace

bool Values::matches(std::string_view text) const noexcept {
  return (!patterns.empty() && patterns.matches(text)) ||
         std::any_of(expressions.begin(), expressions.end(),
                     [text](const Regex& expression) { return expression.search(text); });
}

std::string Values::words() const {
  std::string words = patterns.words();
  for (const Regex& each : expressions) {
    words += (words.empty() ? "/" : ", /") + each.pattern() + "/";
  }
  return words;
}

Conjunction compile(const When& when, Needs& needs) {
  using Of = TextTest::Of;
  using In = FieldTest::In;
  Conjunction tests;
  add_text(tests, Of::host, when.hosts);
  add_text(tests, Of::path, when.paths);
  add_text(tests, Of::method, when.methods);
  if (!when.scheme.empty()) add_text(tests, Of::scheme, {when.scheme});
  add_text(tests, Of::server_name, when.server_names);
  add_source(tests, when.source_ips, needs);
  add_fields(tests, In::headers, when.headers);
  add_fields(tests, In::cookies, when.cookies);
  add_fields(tests, In::query, when.query);
  add_text_regex(tests, Of::host, when.hosts_regex);
  add_text_regex(tests, Of::path, when.paths_regex);
  add_text_regex(tests, Of::server_name, when.server_names_regex);
  add_fields_regex(tests, In::headers, when.headers_regex);
  add_fields_regex(tests, In::cookies, when.cookies_regex);
  add_fields_regex(tests, In::query, when.query_regex);
  add_nested(tests, {NestedTest::Of::all, {}}, when.all, needs);
  add_nested(tests, {NestedTest::Of::any, {}}, when.any, needs);
  add_nested(tests, {NestedTest::Of::none, {}}, when.none, needs);
  if (when.share) {
    needs.draw = true;
    tests.push_back({ShareTest{*when.share, ++needs.shares}});
  }
  return tests;
}

bool holds(const Conjunction& tests, const Facts& facts) noexcept {
  return std::all_of(tests.begin(), tests.end(),
                     [&facts](const Test& test) { return std::visit(Holds{facts}, test.what); });
}

std::string why_not(const Conjunction& tests, const Facts& facts) {
  for (const Test& test : tests) {
    if (!std::visit(Holds{facts}, test.what)) return std::visit(WhyNot{facts}, test.what);
  }
  return {};
}

}  // namespace lbd::route
