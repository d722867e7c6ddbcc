#include "lbd/base/regex.h"

#include <re2/re2.h>

#include <algorithm>
#include <array>

namespace lbd {
namespace {

/// For the program and the states of its automaton; beyond, RE2 goes on with a slower one.
constexpr std::int64_t kMemoryBytesMax = 1 << 20;

re2::StringPiece piece_of(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

Outcome<Regex> Regex::compile(std::string_view pattern) {
  re2::RE2::Options options(re2::RE2::Latin1);
  options.set_log_errors(false);
  options.set_max_mem(kMemoryBytesMax);
  auto compiled = std::make_shared<const re2::RE2>(piece_of(pattern), options);
  if (!compiled->ok()) return failure(compiled->error());
  return Regex(std::move(compiled));
}

bool Regex::search(std::string_view text) const noexcept {
  return compiled_->Match(piece_of(text), 0, text.size(), re2::RE2::UNANCHORED, nullptr, 0);
}

bool Regex::capture(std::string_view text, std::span<std::string_view> groups) const noexcept {
  std::array<re2::StringPiece, kGroupsMax> found;
  const std::size_t count = std::min({groups.size(), kGroupsMax, this->groups() + 1});
  if (!compiled_->Match(piece_of(text), 0, text.size(), re2::RE2::UNANCHORED, found.data(),
                        static_cast<int>(count))) {
    return false;
  }
  std::fill(groups.begin(), groups.end(), std::string_view());
  for (std::size_t i = 0; i < count; ++i) groups[i] = {found[i].data(), found[i].size()};
  return true;
}

std::size_t Regex::groups() const noexcept {
  return static_cast<std::size_t>(std::max(compiled_->NumberOfCapturingGroups(), 0));
}

const std::string& Regex::pattern() const noexcept { return compiled_->pattern(); }

}  // namespace lbd
