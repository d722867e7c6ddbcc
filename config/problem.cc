#include "config/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <tuple>
#include <utility>

namespace lbd::config {
namespace {

/// Longest piece of a source line that is shown; beyond it the line is cut on both sides.
constexpr std::size_t kShownCharactersMax = 160;

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

std::string_view line_of(const std::string& text, int line) {
  std::size_t start = 0;
  for (int i = 1; i < line; ++i) {
    const auto end = text.find('\n', start);
    if (end == std::string::npos) return {};
    start = end + 1;
  }
  const auto end = std::min(text.find('\n', start), text.size());
  auto found = std::string_view(text).substr(start, end - start);
  if (found.ends_with('\r')) found.remove_suffix(1);
  if (line == 1 && found.starts_with("\xEF\xBB\xBF")) found.remove_prefix(3);
  return found;
}

/// Characters of a line; bytes that cannot be shown (controls, bad UTF-8) become '?'.
std::vector<std::string> characters_of(std::string_view line) {
  std::vector<std::string> characters;
  for (std::size_t i = 0; i < line.size();) {
    std::size_t end = i + 1;
    while (end < line.size() && is_continuation(line[end])) ++end;
    const auto first = static_cast<unsigned char>(line[i]);
    const std::size_t expected = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    const bool control = first < 0x20 && first != '\t';
    const bool shown = !control && first != 0x7F && end - i == expected;
    characters.emplace_back(first == '\t' ? " " : shown ? line.substr(i, end - i) : "?");
    i = end;
  }
  return characters;
}

std::string join(const std::vector<std::string>& characters, std::size_t from, std::size_t to) {
  std::string text;
  for (std::size_t i = from; i < to; ++i) text += characters[i];
  return text;
}

std::string quote(const Problem& problem, const std::string& text) {
  const auto characters = characters_of(line_of(text, problem.line));
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
  const std::string place =
      problem.line == 0 ? problem.file
                        : fmt::format("{}:{}:{}", problem.file, problem.line, problem.column);
  return fmt::format("{}: {}[{}]: {}\n", place,
                     problem.severity == Severity::error ? "error" : "warning", problem.code,
                     problem.message);
}

std::string counted(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::size_t count_errors(const std::vector<Problem>& problems) {
  return static_cast<std::size_t>(
      std::count_if(problems.begin(), problems.end(),
                    [](const Problem& p) { return p.severity == Severity::error; }));
}

}  // namespace

Problem problem_at(const Place& place, std::string_view code, std::string message,
                   std::string hint) {
  return Problem{.file = place.file,
                 .line = place.line,
                 .column = place.column,
                 .width = std::max(place.width, 1),
                 .code = std::string(code),
                 .message = std::move(message),
                 .hint = std::move(hint)};
}

Problem warning_at(const Place& place, std::string_view code, std::string message,
                   std::string hint) {
  auto problem = problem_at(place, code, std::move(message), std::move(hint));
  problem.severity = Severity::warning;
  return problem;
}

void sort_problems(std::vector<Problem>& problems, const std::vector<std::string>& files) {
  const auto rank = [&files](const std::string& file) {
    return std::find(files.begin(), files.end(), file) - files.begin();
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

std::string render_problems(const std::vector<Problem>& problems, const Sources& sources) {
  if (problems.empty()) return {};
  std::string text;
  for (const auto& problem : problems) {
    text += heading(problem);
    const auto source = sources.find(problem.file);
    if (problem.line > 0 && source != sources.end()) {
      text += quote(problem, source->second);
    } else if (!problem.hint.empty()) {
      text += "    " + problem.hint + "\n";
    }
  }
  const auto errors = count_errors(problems);
  const auto warnings = problems.size() - errors;
  if (errors > 0) text += counted(errors, "error");
  if (warnings > 0) text += (errors > 0 ? ", " : "") + counted(warnings, "warning");
  return text + ".\n";
}

std::string render_problems_json(const std::vector<Problem>& problems) {
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
  const auto errors = count_errors(problems);
  return boost::json::serialize(boost::json::object{{"valid", errors == 0},
                                                    {"errors", errors},
                                                    {"warnings", problems.size() - errors},
                                                    {"problems", std::move(list)}});
}

bool has_errors(const std::vector<Problem>& problems) { return count_errors(problems) > 0; }

}  // namespace lbd::config
