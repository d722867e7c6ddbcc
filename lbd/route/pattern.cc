#include "lbd/route/pattern.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace lbd::route {
namespace {

/// Up to here comparing one after the other is as fast as looking up.
constexpr std::size_t kFew = 8;

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

bool same(std::string_view pattern, std::string_view text, Letters letters) noexcept {
  if (letters == Letters::exact) return pattern == text;
  return pattern.size() == text.size() && std::equal(pattern.begin(), pattern.end(), text.begin(),
                                                     [](char a, char b) { return a == lower(b); });
}

std::optional<Prefixes> prefixes_of(const std::map<std::string, std::uint32_t>& texts) {
  if (texts.empty()) return std::nullopt;
  return Prefixes({texts.begin(), texts.end()});
}

}  // namespace

bool matches_glob(std::string_view pattern, std::string_view text, Letters letters) noexcept {
  const auto equal = [letters](char p, char t) {
    return p == (letters == Letters::exact ? t : lower(t));
  };
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() &&
        (pattern[p] == '?' || (pattern[p] != '*' && equal(pattern[p], text[t])))) {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Pattern::Pattern(std::string text, Letters letters)
    : kind_(Kind::glob), letters_(letters), text_(std::move(text)) {
  if (letters == Letters::any_case)
    std::transform(text_.begin(), text_.end(), text_.begin(), lower);
  const auto wild =
      std::count_if(text_.begin(), text_.end(), [](char c) { return c == '*' || c == '?'; });
  if (text_ == "*") {
    kind_ = Kind::any;
  } else if (wild == 0) {
    kind_ = Kind::exact;
  } else if (wild == 1 && text_.ends_with('*')) {
    kind_ = Kind::prefix;
    text_.pop_back();
  } else if (wild == 1 && text_.starts_with('*')) {
    kind_ = Kind::suffix;
    text_.erase(0, 1);
  }
}

bool Pattern::matches(std::string_view text) const noexcept {
  const std::size_t size = text_.size();
  switch (kind_) {
    case Kind::any:
      return true;
    case Kind::exact:
      return same(text_, text, letters_);
    case Kind::prefix:
      return text.size() >= size && same(text_, text.substr(0, size), letters_);
    case Kind::suffix:
      return text.size() >= size && same(text_, text.substr(text.size() - size), letters_);
    case Kind::glob:
      return matches_glob(text_, text, letters_);
  }
  return false;
}

struct PatternSet::Rest {
  std::vector<Pattern> one_by_one;
  std::optional<Literals> exact;
  std::optional<Prefixes> prefixes;
  std::string words;
};

PatternSet::PatternSet(const std::vector<std::string>& patterns, Letters letters)
    : more_(patterns.size() > 1) {
  auto rest = std::make_shared<Rest>();
  rest->words = fmt::format("{}", fmt::join(patterns, ", "));
  if (!patterns.empty()) first_.emplace(patterns.front(), letters);
  std::map<std::string, std::uint32_t> exact;
  std::map<std::string, std::uint32_t> prefixes;
  const bool many = patterns.size() > kFew && letters == Letters::exact;
  for (std::size_t i = 1; i < patterns.size(); ++i) {
    Pattern pattern(patterns[i], letters);
    if (many && pattern.kind() == Pattern::Kind::exact) {
      exact.emplace(pattern.text(), 0);
    } else if (many && pattern.kind() == Pattern::Kind::prefix) {
      prefixes.emplace(pattern.text(), 0);
    } else {
      rest->one_by_one.push_back(std::move(pattern));
    }
  }
  if (!exact.empty()) rest->exact.emplace(std::vector<Numbered>(exact.begin(), exact.end()));
  rest->prefixes = prefixes_of(prefixes);
  rest_ = std::move(rest);
}

const std::string& PatternSet::words() const noexcept { return rest_->words; }

bool PatternSet::matches_rest(std::string_view text) const noexcept {
  if (rest_->exact && rest_->exact->find(text) != HashSlots::kNone) return true;
  if (rest_->prefixes) {
    bool found = false;
    rest_->prefixes->each_of(text, [&found](std::uint32_t) { found = true; });
    if (found) return true;
  }
  return std::any_of(rest_->one_by_one.begin(), rest_->one_by_one.end(),
                     [text](const Pattern& pattern) { return pattern.matches(text); });
}

}  // namespace lbd::route
