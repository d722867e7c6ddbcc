// The rules of one listener, compiled: first match wins.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace lbd::route {

/// Shell-like pattern: '*' any run, '?' any one character. Linear time (no backtracking beyond the
/// last star).
[[nodiscard]] bool matches_glob(std::string_view pattern, std::string_view text) noexcept;

/// One host or path pattern, classified at compile time so that the common kinds are one
/// comparison.
class Pattern {
 public:
  explicit Pattern(std::string text);
  [[nodiscard]] bool matches(std::string_view text) const noexcept;

 private:
  enum class Kind : std::uint8_t { any, exact, prefix, suffix, glob };
  Kind kind_;
  std::string text_;
};

/// Immutable after construction; any thread.
class Table {
 public:
  static constexpr std::size_t kNone = SIZE_MAX;

  explicit Table(const std::vector<config::Rule>& rules);

  /// `authority` as in the request (any case, port allowed); `path` without the query. Returns the
  /// rule's index, kNone when no rule matches.
  [[nodiscard]] std::size_t find(std::string_view authority, std::string_view path) const noexcept;

  struct Verdict {
    bool matched = false;
    std::string reason;  // "host 'a.test' matches none of shop.test"
  };
  /// What `find` does, rule by rule up to the winner, in words. For `lbd explain`.
  [[nodiscard]] std::vector<Verdict> explain(std::string_view authority,
                                             std::string_view path) const;

 private:
  struct CompiledRule {
    std::vector<Pattern> hosts;
    std::vector<Pattern> paths;
    std::string hosts_text;
    std::string paths_text;
  };
  std::vector<CompiledRule> rules_;
};

}  // namespace lbd::route
