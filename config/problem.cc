#include "config/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "config/utf8.h"

namespace lbd::config {
namespace {

/// Longest piece of a source line that is shown; beyond it the line is cut on both sides.
constexpr std::size_t kShownCharactersMax = 160;

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

/// The lines of one file; found once, however many problems it has.
class LineIndex {
 public:
  explicit LineIndex(std::string_view text) : text_(text) {
    for (auto at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
      starts_.push_back(at + 1);
    }
  }

  /// Lines count from 1; empty when there is no such line.
  [[nodiscard]] std::string_view line(int number) const {
    const auto index = static_cast<std::size_t>(number) - 1;
    if (number < 1 || index >= starts_.size()) return {};
    const auto next = index + 1 < starts_.size() ? starts_[index + 1] - 1 : text_.size();
    auto found = text_.substr(starts_[index], next - starts_[index]);
    if (found.ends_with('\r')) found.remove_suffix(1);
    if (number == 1 && found.starts_with("\xEF\xBB\xBF")) found.remove_prefix(3);
    return found;
  }

 private:
  std::string_view text_;
  std::vector<std::size_t> starts_{0};
};

/// Characters of a line as they are shown.
std::vector<std::string> characters_of(std::string_view line) {
  std::vector<std::string> characters;
  for (std::size_t i = 0; i < line.size();) {
    std::size_t end = i + 1;
    while (end < line.size() && is_continuation(line[end])) ++end;
    std::string character(line.substr(i, end - i));
    const bool bad = find_bad_utf8(character).has_value();  // one '?' for all of its bytes
    characters.push_back(bad ? "?" : shown_text(std::move(character)));
    i = end;
  }
  return characters;
}

std::string join(const std::vector<std::string>& characters, std::size_t from, std::size_t to) {
  std::string text;
  for (std::size_t i = from; i < to; ++i) text += characters[i];
  return text;
}

std::string quote(const Problem& problem, const LineIndex& lines) {
  const auto characters = characters_of(lines.line(problem.line));
  const std::size_t column = static_cast<std::size_t>(std::max(problem.column, 1)) - 1;
  std::size_t from = 0;
  std::size_t to = characters.size();
  if (to > kShownCharactersMax) {
    from = column > kShownCharactersMax / 2 ? column - kShownCharactersMax / 2 : 0;
    from = std::min(from, to - kShownCharactersMax);
    to = from + kShownCharactersMax;
  }
  const std::size_t start = std::clamp(column, from, to) - from;
  const std::size_t room = std::max<std::size_t>(to - from - start, 1);
  const auto width = std::clamp<std::size_t>(static_cast<std::size_t>(problem.width), 1, room);
  const std::string number = fmt::format("{:>3}", problem.line);
  const std::string margin(number.size(), ' ');
  std::string carets = fmt::format("{}{}", std::string(start, ' '), std::string(width, '^'));
  if (!problem.hint.empty()) carets += " " + problem.hint;
  return fmt::format("{} | {}\n{} | {}\n", number, join(characters, from, to), margin, carets);
}

std::string heading(const Problem& problem) {
  const std::string file = shown_text(problem.file);
  const std::string place =
      problem.line == 0 ? file : fmt::format("{}:{}:{}", file, problem.line, problem.column);
  return fmt::format("{}: {}[{}]: {}", place,
                     problem.severity == Severity::error ? "error" : "warning", problem.code,
                     problem.message);
}

std::string counted(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

Unkept count(const std::vector<Problem>& problems, Unkept counts = {}) {
  for (const auto& problem : problems) {
    ++(problem.severity == Severity::error ? counts.errors : counts.warnings);
  }
  return counts;
}

std::string counted(const Unkept& counts) {
  std::string text;
  if (counts.errors > 0) text += counted(counts.errors, "error");
  if (counts.warnings > 0) {
    text += (counts.errors > 0 ? ", " : "") + counted(counts.warnings, "warning");
  }
  return text;
}

/// Which of many problems are taken when there is room for `most`: the first errors, and warnings
/// only when every error has its place.
class Choice {
 public:
  Choice(const std::vector<Problem>& problems, std::size_t most) {
    const auto all = count(problems);
    errors_ = std::min(all.errors, most);
    warnings_ = std::min(all.warnings, most - errors_);
  }

  /// Called once for each in their order.
  bool takes(const Problem& problem) {
    auto& left = problem.severity == Severity::error ? errors_ : warnings_;
    if (left == 0) return false;
    --left;
    ++taken_;
    return true;
  }
  [[nodiscard]] std::size_t taken() const { return taken_; }

 private:
  std::size_t errors_ = 0;
  std::size_t warnings_ = 0;
  std::size_t taken_ = 0;
};

}  // namespace

Problem problem_at(const Place& place, std::string_view code, std::string message,
                   std::string hint) {
  return Problem{.file = place.file,
                 .line = place.line,
                 .column = place.column,
                 .width = std::max(place.width, 1),
                 .code = std::string(code),
                 .message = shown_text(std::move(message)),
                 .hint = shown_text(std::move(hint))};
}

Problem warning_at(const Place& place, std::string_view code, std::string message,
                   std::string hint) {
  auto problem = problem_at(place, code, std::move(message), std::move(hint));
  problem.severity = Severity::warning;
  return problem;
}

void sort_problems(std::vector<Problem>& problems, const std::vector<std::string>& files) {
  std::unordered_map<std::string_view, std::size_t> ranks;
  for (const auto& file : files) ranks.emplace(file, ranks.size());
  const auto rank = [&ranks](const std::string& file) {
    const auto found = ranks.find(file);
    return found == ranks.end() ? ranks.size() : found->second;
  };
  std::stable_sort(problems.begin(), problems.end(), [&](const Problem& a, const Problem& b) {
    return std::tuple(rank(a.file), a.line, a.column) < std::tuple(rank(b.file), b.line, b.column);
  });
  // The same anchored value is called differently wherever it is used: compare what follows that.
  const auto finding = [](const Problem& problem) {
    const auto colon = problem.message.find(": ");
    return std::string_view(problem.message).substr(colon == std::string::npos ? 0 : colon);
  };
  const auto same = [&finding](const Problem& a, const Problem& b) {
    return a.file == b.file && a.line == b.line && a.column == b.column && a.code == b.code &&
           finding(a) == finding(b);
  };
  problems.erase(std::unique(problems.begin(), problems.end(), same), problems.end());
}

void limit_problems(std::vector<Problem>& problems, Unkept& unkept) {
  if (problems.size() <= kProblemsMax) return;
  std::vector<Problem> kept;
  for (Choice choice(problems, kProblemsMax); auto& problem : problems) {
    if (choice.takes(problem)) {
      kept.push_back(std::move(problem));
    } else {
      ++(problem.severity == Severity::error ? unkept.errors : unkept.warnings);
    }
  }
  problems = std::move(kept);
}

std::string render_problems(const std::vector<Problem>& problems, const Sources& sources,
                            const Unkept& unkept) {
  if (problems.empty()) return {};
  const auto all = count(problems, unkept);
  std::unordered_map<std::string_view, LineIndex> indices;
  std::string text;
  Choice choice(problems, kProblemsShownMax);
  for (const auto& problem : problems) {
    if (!choice.takes(problem)) continue;
    text += heading(problem) + "\n";
    const auto source = sources.find(problem.file);
    if (problem.line > 0 && source != sources.end()) {
      text += quote(problem, indices.try_emplace(source->first, source->second).first->second);
    } else if (!problem.hint.empty()) {
      text += "    " + problem.hint + "\n";
    }
  }
  const auto left = all.errors + all.warnings - choice.taken();
  if (left > 0) text += fmt::format("… and {} more.\n", left);
  return text + counted(all) + ".\n";
}

std::string render_problems_json(const std::vector<Problem>& problems, const Unkept& unkept) {
  boost::json::array list;
  for (const auto& problem : problems) {
    list.push_back({{"file", problem.file},
                    {"line", problem.line},
                    {"column", problem.column},
                    {"width", problem.width},
                    {"severity", problem.severity == Severity::error ? "error" : "warning"},
                    {"code", problem.code},
                    {"message", problem.message},
                    {"hint", problem.hint}});
  }
  const auto all = count(problems, unkept);
  return boost::json::serialize(boost::json::object{{"valid", all.errors == 0},
                                                    {"errors", all.errors},
                                                    {"warnings", all.warnings},
                                                    {"problems", std::move(list)}});
}

std::string summarize_problems(const std::vector<Problem>& problems, const Unkept& unkept) {
  const auto first = std::find_if(problems.begin(), problems.end(), [](const Problem& each) {
    return each.severity == Severity::error;
  });
  if (first == problems.end()) return counted(count(problems, unkept));
  const auto errors = count(problems, unkept).errors;
  if (errors == 1) return heading(*first);
  return fmt::format("{} (and {})", heading(*first), counted(errors - 1, "more error"));
}

bool has_errors(const std::vector<Problem>& problems) { return count(problems).errors > 0; }

}  // namespace lbd::config
