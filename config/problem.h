// What is wrong with a configuration, where, and how it reads on a terminal or as JSON.
#pragma once

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
/// E3 cross checks, W warnings. `message` never holds a value that came from ${env:} or ${file:}.
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

/// Every problem with its source line and carets, then the count. Empty text when there is none.
[[nodiscard]] std::string render_problems(const std::vector<Problem>& problems,
                                          const Sources& sources);

/// {"valid":bool,"errors":n,"warnings":n,"problems":[{file,line,column,width,severity,code,…}]}
[[nodiscard]] std::string render_problems_json(const std::vector<Problem>& problems);

[[nodiscard]] bool has_errors(const std::vector<Problem>& problems);

}  // namespace lbd::config
