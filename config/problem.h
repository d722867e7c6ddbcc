// What is wrong with a configuration, where, and how it reads on a terminal or as JSON.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lbd::config {

enum class Severity : std::uint8_t { error, warning };

/// A stretch of one line of one file. Lines and columns count from 1, columns and width in
/// characters (not bytes); line 0 means that the position is unknown.
struct Place {
  std::string file;
  int line = 0;
  int column = 0;
  int width = 1;
  bool secret = false;  // its value must not be shown
};

/// One finding. `code` is stable and documented (E2003): E1 files and YAML, E2 keys and values,
/// E3 cross checks, W warnings. `message` and `hint` are one line of printable text whatever the
/// configuration holds (shown_text()); they never hold a value that came from ${env:} or ${file:}.
struct Problem {
  std::string file;
  int line = 0;
  int column = 0;
  int width = 1;
  std::string code;
  std::string message;
  std::string hint;
  Severity severity = Severity::error;
};

/// Text of every file that was read, by path: what the source lines are quoted from.
using Sources = std::map<std::string, std::string>;

[[nodiscard]] Problem problem_at(const Place& place, std::string_view code, std::string message,
                                 std::string hint = {});
[[nodiscard]] Problem warning_at(const Place& place, std::string_view code, std::string message,
                                 std::string hint = {});

/// Orders by file (in the order of first appearance in `files`), line and column, and drops
/// repetitions: one wrong anchored value that is used ten times is one problem.
void sort_problems(std::vector<Problem>& problems, const std::vector<std::string>& files);

/// Problems that were found but are not kept.
struct Unkept {
  std::size_t errors = 0;
  std::size_t warnings = 0;
};

/// So many problems of one configuration are kept.
inline constexpr std::size_t kProblemsMax = 1000;
/// So many of them are shown as text; JSON has all that are kept.
inline constexpr std::size_t kProblemsShownMax = 100;

/// Keeps the first kProblemsMax of what sort_problems() ordered, errors before warnings, and counts
/// the others.
void limit_problems(std::vector<Problem>& problems, Unkept& unkept);

/// The first kProblemsShownMax problems with their source lines and carets, then the counts. Empty
/// text when there is none. Time is that of what is shown, and one pass over its sources.
[[nodiscard]] std::string render_problems(const std::vector<Problem>& problems,
                                          const Sources& sources, const Unkept& unkept = {});

/// {"valid":bool,"errors":n,"warnings":n,"problems":[{file,line,column,width,severity,code,…}]};
/// the counts include what is not kept.
[[nodiscard]] std::string render_problems_json(const std::vector<Problem>& problems,
                                               const Unkept& unkept = {});

/// "file:line:col: error[E2003]: …" of the first error, and how many more there are; for a log.
[[nodiscard]] std::string summarize_problems(const std::vector<Problem>& problems,
                                             const Unkept& unkept = {});

[[nodiscard]] bool has_errors(const std::vector<Problem>& problems);

}  // namespace lbd::config
