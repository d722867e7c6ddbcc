// From files to a checked Config, or to every reason why not. load() is the one entry point of the
// daemon, `lbd check` and the fuzzer alike.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/files.h"
#include "config/problem.h"

namespace lbd::config {

struct LoadResult {
  std::optional<Config> config;   // absent when there is any error; warnings do not matter
  std::vector<Problem> problems;  // ordered by file and position, kProblemsMax at most
  Unkept unkept;                  // how many more there were
  std::map<std::string, std::string> sources;  // every file read, as read (no secret put in)
};

/// Reads, includes, decodes and validates. Never throws for input, never prints, keeps no state:
/// any thread. Blocks on the reader.
[[nodiscard]] LoadResult load(const std::string& path, const FileReader& reader);

/// Problems as text: `file:line:col: error[E2003]: …`, source line, carets, and the count at the
/// end. Empty when there are none.
[[nodiscard]] std::string render(const LoadResult& result);
[[nodiscard]] std::string render_json(const LoadResult& result);
/// The first error on one line, and how many more there are.
[[nodiscard]] std::string summarize(const LoadResult& result);

}  // namespace lbd::config
