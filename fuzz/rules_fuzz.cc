// Bytes as a listener's rules and some requests. Oracles: the index finds what trying each rule
// finds; both find what a second, plain reader of the conditions finds; `explain` ends at that
// rule.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "fuzz/require.h"
#include "lbd/route/table.h"

namespace {

using namespace lbd;
using config::FieldMatch;
using config::When;
using lbd::fuzz::require;

/// Bytes as choices; zeroes behind their end.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : left_(data, data + size) {}

  std::uint8_t byte() {
    if (left_.empty()) return 0;
    const std::uint8_t next = left_.front();
    left_.pop_front();
    return next;
  }
  std::size_t below(std::size_t end) { return byte() % end; }
  /// Few letters, so that rules and requests meet; now and then any byte but '\0'.
  std::string text(std::string_view letters, std::size_t most) {
    std::string text;
    for (std::size_t size = below(most + 1); text.size() < size;) {
      const std::uint8_t chosen = byte();
      if (chosen == 255) {
        text += static_cast<char>(std::max<std::uint8_t>(byte(), 1));
      } else {
        text += letters[chosen % letters.size()];
      }
    }
    return text;
  }
  [[nodiscard]] bool over() const { return left_.empty(); }

 private:
  std::deque<std::uint8_t> left_;
};

constexpr std::string_view kHostLetters = "ab.*?x";
constexpr std::string_view kPathLetters = "/ab*?.";
constexpr std::string_view kValueLetters = "aAb*?;=& ";

std::string name_of(Choices& choices) { return std::string(1, "abx"[choices.below(3)]); }

std::vector<std::string> texts(Choices& choices, std::string_view letters, std::string start = {}) {
  std::vector<std::string> made(1 + choices.below(3));
  for (std::string& each : made) each = start + choices.text(letters, 9);
  return made;
}

/// As config/ lets through: lower case, never empty.
std::vector<std::string> hosts(Choices& choices) {
  std::vector<std::string> made = texts(choices, kHostLetters);
  for (std::string& each : made) {
    for (char& c : each) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    if (each.empty()) each = "a";
  }
  return made;
}

std::vector<FieldMatch> fields(Choices& choices) {
  std::vector<FieldMatch> made(1 + choices.below(2));
  for (FieldMatch& each : made) {
    each.name = name_of(choices);
    each.values = texts(choices, kValueLetters);
  }
  return made;
}

When when_of(Choices& choices, int depth) {
  When when;
  const std::uint8_t has = choices.byte();
  if ((has & 1) != 0) when.hosts = hosts(choices);
  if ((has & 2) != 0) when.paths = texts(choices, kPathLetters, (has & 128) != 0 ? "" : "/");
  if ((has & 4) != 0) when.methods = {choices.below(2) == 0 ? "GET" : "POST"};
  if ((has & 8) != 0) when.headers = fields(choices);
  if ((has & 16) != 0) when.cookies = fields(choices);
  if ((has & 32) != 0) when.query = fields(choices);
  if ((has & 64) == 0 || depth == 0) return when;
  const std::uint8_t nested = choices.byte();
  const auto parts = [&] {
    std::vector<When> made(1 + choices.below(2));
    for (When& each : made) each = when_of(choices, depth - 1);
    return made;
  };
  if ((nested & 1) != 0) when.any = parts();
  if ((nested & 2) != 0) when.all = parts();
  if ((nested & 4) != 0) when.none = parts();
  if ((nested & 8) != 0) when.scheme = "https";
  return when;
}

// ---- the second reader

/// By a table of what matches what; shares no thought with lbd's.
bool glob(const std::string& pattern, const std::string& text) {
  std::vector<std::vector<bool>> ok(pattern.size() + 1, std::vector<bool>(text.size() + 1));
  ok[0][0] = true;
  for (std::size_t p = 1; p <= pattern.size(); ++p) {
    const char c = pattern[p - 1];
    for (std::size_t t = 0; t <= text.size(); ++t) {
      if (c == '*') ok[p][t] = ok[p - 1][t] || (t > 0 && ok[p][t - 1]);
      if (c != '*' && t > 0) ok[p][t] = ok[p - 1][t - 1] && (c == '?' || c == text[t - 1]);
    }
  }
  return ok[pattern.size()][text.size()];
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

bool any_glob(const std::vector<std::string>& patterns, const std::string& text) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& each) { return glob(each, text); });
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs pairs_of(const std::string& text, char between) {
  Pairs found;
  for (std::size_t at = 0; at <= text.size();) {
    std::size_t end = text.find(between, at);
    if (end == std::string::npos) end = text.size();
    std::string pair = text.substr(at, end - at);
    while (!pair.empty() && pair[0] == ' ') pair.erase(0, 1);
    const std::size_t equals = pair.find('=');
    const std::string value = equals == std::string::npos ? "" : pair.substr(equals + 1);
    if (!pair.empty()) found.emplace_back(pair.substr(0, equals), value);
    at = end + 1;
  }
  return found;
}

struct Asked {
  std::string host;
  std::string path;
  std::string query;
  std::string method;
  std::string scheme;
  Pairs headers;  // of one request; names in lower case
};

bool has(const std::vector<FieldMatch>& wanted, const Pairs& there, bool any_case) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const FieldMatch& field) {
    return std::any_of(there.begin(), there.end(), [&](const auto& pair) {
      if (pair.first != field.name) return false;
      return std::any_of(field.values.begin(), field.values.end(), [&](const std::string& value) {
        return any_case ? glob(lower(value), lower(pair.second)) : glob(value, pair.second);
      });
    });
  });
}

Pairs cookies_of(const Asked& asked) {
  Pairs all;
  for (const auto& [name, value] : asked.headers) {
    if (name != "cookie") continue;
    for (auto& each : pairs_of(value, ';')) all.push_back(std::move(each));
  }
  return all;
}

bool read_plainly(const When& when, const Asked& asked) {
  const auto part = [&](const When& each) { return read_plainly(each, asked); };
  if (!when.hosts.empty() && !any_glob(when.hosts, asked.host)) return false;
  if (!when.paths.empty() && !any_glob(when.paths, asked.path)) return false;
  if (!when.methods.empty() && when.methods[0] != asked.method) return false;
  if (!when.scheme.empty() && when.scheme != asked.scheme) return false;
  if (!has(when.headers, asked.headers, true)) return false;
  if (!has(when.cookies, cookies_of(asked), false)) return false;
  if (!has(when.query, pairs_of(asked.query, '&'), true)) return false;
  if (!when.any.empty() && std::none_of(when.any.begin(), when.any.end(), part)) return false;
  if (!std::all_of(when.all.begin(), when.all.end(), part)) return false;
  return std::none_of(when.none.begin(), when.none.end(), part);
}

Asked asked_of(Choices& choices) {
  Asked asked{.host = choices.text("ab.x", 9),
              .path = "/" + choices.text("/ab.x", 9),
              .query = choices.text("abx=& ", 12),
              .method = choices.below(2) == 0 ? "GET" : "POST",
              .scheme = choices.below(2) == 0 ? "http" : "https",
              .headers = {}};
  // A port and a dot at the end are the host's spelling, and tested elsewhere.
  std::erase_if(asked.host, [](char c) { return c == ':' || c == '[' || c == ']'; });
  while (asked.host.ends_with('.')) asked.host.pop_back();
  asked.host = lower(asked.host);
  for (std::size_t count = choices.below(3); asked.headers.size() < count;) {
    const std::string name = choices.below(2) == 0 ? "cookie" : name_of(choices);
    asked.headers.emplace_back(name, choices.text("abAx=; ", 12));
  }
  return asked;
}

void check(const route::Table& table, const std::vector<config::Rule>& rules, const Asked& asked) {
  std::vector<http::Header> headers;
  for (const auto& [name, value] : asked.headers) {
    headers.push_back({name, value, http::HeaderId::other});
  }
  const route::Request request{.authority = asked.host,
                               .path = asked.path,
                               .query = asked.query,
                               .method = asked.method,
                               .scheme = asked.scheme,
                               .headers = &headers};
  const std::size_t found = table.find(request);
  require(found == table.find_one_by_one(request), "the index finds another rule");
  const auto plain = std::find_if(rules.begin(), rules.end(), [&](const config::Rule& rule) {
    return read_plainly(rule.when, asked);
  });
  const auto wanted = static_cast<std::size_t>(plain - rules.begin());
  require(plain == rules.end() ? found == route::Table::kNone : found == wanted,
          "read plainly, another rule matches");
  const auto verdicts = table.explain(request);
  const bool matched = !verdicts.empty() && verdicts.back().fate == route::Table::Fate::matched;
  require(matched == (found != route::Table::kNone), "explain disagrees");
  require(!matched || verdicts.size() == found + 1, "explain names another rule");
  for (std::size_t i = 0; i + matched < verdicts.size(); ++i) {
    require(!verdicts[i].reason.empty(), "explain has no reason");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices(data, size);
  // Now and then so many that each bucket has an index of its own.
  std::vector<config::Rule> rules(1 + choices.below(choices.below(4) == 0 ? 60 : 6));
  for (config::Rule& rule : rules) rule.when = when_of(choices, 2);
  const route::Table table(rules);
  for (int i = 0; i < 8 && (i == 0 || !choices.over()); ++i) {
    check(table, rules, asked_of(choices));
  }
  return 0;
}
