#include "lbd/route/table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace lbd::route {
namespace {

constexpr std::size_t kHostBytesMax = 255;

/// The host in lower case without port and without a trailing dot, in the caller's storage; empty
/// when too long.
std::string_view plain_host(std::string_view authority,
                            std::array<char, kHostBytesMax>& storage) noexcept {
  if (authority.starts_with('[')) {  // IPv6 literal: up to the bracket
    authority = authority.substr(0, authority.find(']') + 1);
  } else {
    authority = authority.substr(0, authority.rfind(':'));
  }
  if (authority.ends_with('.')) authority.remove_suffix(1);
  if (authority.size() > storage.size()) return {};
  for (std::size_t i = 0; i < authority.size(); ++i) {
    const char c = authority[i];
    storage[i] = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }
  return {storage.data(), authority.size()};
}

bool any_matches(const std::vector<Pattern>& patterns, std::string_view text) noexcept {
  if (patterns.empty()) return true;
  return std::any_of(patterns.begin(), patterns.end(),
                     [text](const Pattern& pattern) { return pattern.matches(text); });
}

}  // namespace

bool matches_glob(std::string_view pattern, std::string_view text) noexcept {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] != '*' && pattern[p] == text[t]))) {
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

Pattern::Pattern(std::string text) : kind_(Kind::glob), text_(std::move(text)) {
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
  switch (kind_) {
    case Kind::any:
      return true;
    case Kind::exact:
      return text == text_;
    case Kind::prefix:
      return text.starts_with(text_);
    case Kind::suffix:
      return text.ends_with(text_);
    case Kind::glob:
      return matches_glob(text_, text);
  }
  return false;
}

Table::Table(const std::vector<config::Rule>& rules) {
  for (const config::Rule& rule : rules) {
    CompiledRule compiled;
    for (const std::string& host : rule.when.hosts) compiled.hosts.emplace_back(host);
    for (const std::string& path : rule.when.paths) compiled.paths.emplace_back(path);
    compiled.hosts_text = fmt::format("{}", fmt::join(rule.when.hosts, ", "));
    compiled.paths_text = fmt::format("{}", fmt::join(rule.when.paths, ", "));
    rules_.push_back(std::move(compiled));
  }
}

std::size_t Table::find(std::string_view authority, std::string_view path) const noexcept {
  std::array<char, kHostBytesMax> storage;
  const std::string_view host = plain_host(authority, storage);
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    if (any_matches(rules_[i].hosts, host) && any_matches(rules_[i].paths, path)) return i;
  }
  return kNone;
}

std::vector<Table::Verdict> Table::explain(std::string_view authority,
                                           std::string_view path) const {
  std::array<char, kHostBytesMax> storage;
  const std::string_view host = plain_host(authority, storage);
  std::vector<Verdict> verdicts;
  for (const CompiledRule& rule : rules_) {
    if (!any_matches(rule.hosts, host)) {
      verdicts.push_back(
          {false, fmt::format("host '{}' matches none of: {}", host, rule.hosts_text)});
    } else if (!any_matches(rule.paths, path)) {
      verdicts.push_back(
          {false, fmt::format("path '{}' matches none of: {}", path, rule.paths_text)});
    } else {
      verdicts.push_back({true, "every condition holds"});
      break;
    }
  }
  return verdicts;
}

}  // namespace lbd::route
