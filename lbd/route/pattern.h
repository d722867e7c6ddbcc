// Patterns with '*' and '?', and sets of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/route/literals.h"

namespace lbd::route {

enum class Letters : std::uint8_t { exact, any_case };  // ASCII

/// Shell-like pattern: '*' any run, '?' any one character. Never exponential (no backtracking
/// beyond the last star). With any_case, `pattern` is in lower case.
[[nodiscard]] bool matches_glob(std::string_view pattern, std::string_view text,
                                Letters letters = Letters::exact) noexcept;

/// One pattern, classified beforehand so that the common kinds are one comparison.
class Pattern {
 public:
  enum class Kind : std::uint8_t { any, exact, prefix, suffix, glob };

  explicit Pattern(std::string text, Letters letters = Letters::exact);
  [[nodiscard]] bool matches(std::string_view text) const noexcept;
  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  /// Without the star of a prefix or suffix.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  Kind kind_;
  Letters letters_;
  std::string text_;
};

/// Any of several patterns; long lists of exact texts and prefixes cost what one costs.
class PatternSet {
 public:
  explicit PatternSet(const std::vector<std::string>& patterns, Letters letters = Letters::exact);
  [[nodiscard]] bool matches(std::string_view text) const noexcept {
    return first_ && (first_->matches(text) || (more_ && matches_rest(text)));
  }
  [[nodiscard]] bool empty() const noexcept { return !first_; }
  /// "a, b", as they were written.
  [[nodiscard]] const std::string& words() const noexcept;

 private:
  /// Apart, so that what is looked at for each request is small.
  struct Rest;
  [[nodiscard]] bool matches_rest(std::string_view text) const noexcept;
  std::optional<Pattern> first_;
  bool more_ = false;
  std::shared_ptr<const Rest> rest_;
};

}  // namespace lbd::route
