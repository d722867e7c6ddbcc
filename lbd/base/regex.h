// Regular expressions that take linear time on any input (RE2, which stays out of this header).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lbd/base/result.h"

namespace re2 {
class RE2;
}

namespace lbd {

/// Immutable; any thread. Copies share what was compiled. Works on bytes. RE2 guards the states it
/// has found so far with a lock that readers share: cheap, but not free of it.
class Regex {
 public:
  static constexpr std::size_t kGroupsMax = 10;  // \0, the whole match, and \1 to \9

  /// Fails with what is wrong with the pattern.
  [[nodiscard]] static Outcome<Regex> compile(std::string_view pattern);
  /// True when it matches anywhere in `text`; `^` and `$` anchor it.
  [[nodiscard]] bool search(std::string_view text) const noexcept;
  /// As `search`; groups[i] becomes what \i matched, empty when it took no part. At most
  /// kGroupsMax.
  [[nodiscard]] bool capture(std::string_view text,
                             std::span<std::string_view> groups) const noexcept;
  /// How many groups it has, \0 not counted.
  [[nodiscard]] std::size_t groups() const noexcept;
  [[nodiscard]] const std::string& pattern() const noexcept;

 private:
  explicit Regex(std::shared_ptr<const re2::RE2> compiled) : compiled_(std::move(compiled)) {}
  std::shared_ptr<const re2::RE2> compiled_;
};

}  // namespace lbd
