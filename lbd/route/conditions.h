// The conditions of a rule, compiled: a list of tests that must all hold, the cheap ones first.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "config/config.h"
#include "lbd/base/regex.h"
#include "lbd/route/networks.h"
#include "lbd/route/pattern.h"
#include "lbd/route/request.h"

namespace lbd::route {

/// A request, and its host as rules compare it: lower case, no port, no dot at the end.
struct Facts {
  const Request& request;
  std::string_view host;
};

/// Patterns, or regular expressions; any of them.
struct Values {
  PatternSet patterns;
  std::vector<Regex> expressions;
  [[nodiscard]] bool matches(std::string_view text) const noexcept;
  [[nodiscard]] std::string words() const;
};

struct TextTest {
  enum class Of : std::uint8_t { host, path, method, scheme, server_name };
  Of of;
  Values values;
};
struct FieldTest {
  enum class In : std::uint8_t { headers, query, cookies };
  In in;
  std::string name;
  Values values;
};
struct SourceTest {
  NetworkSet networks;
  std::string words;
};
struct ShareTest {
  double share;
  std::uint64_t salt;  // so that the lots of two conditions are not the same
};
struct Test;
using Conjunction = std::vector<Test>;
struct NestedTest {
  enum class Of : std::uint8_t { any, all, none };
  Of of;
  std::vector<Conjunction> parts;
};
struct Test {
  std::variant<TextTest, FieldTest, SourceTest, ShareTest, NestedTest> what;
};

/// What compiled conditions need of a request beyond its head.
struct Needs {
  bool source = false;
  bool draw = false;
  std::uint64_t shares = 0;  // how many there are
};

/// Regular expressions that config/ has not checked are left out.
[[nodiscard]] Conjunction compile(const config::When& when, Needs& needs);
/// No allocation but what RE2 does to learn a state.
[[nodiscard]] bool holds(const Conjunction& tests, const Facts& facts) noexcept;
/// The first test that does not hold, in words: "host 'a.test' matches none of: b.test". Empty when
/// all do.
[[nodiscard]] std::string why_not(const Conjunction& tests, const Facts& facts);

}  // namespace lbd::route
