// Any bytes as a configuration: load() ends, render() ends, every problem lies inside its file, a
// refused configuration has a reason, and what an environment variable holds is never shown.
#include <algorithm>
#include <cstdint>
#include <string>

#include "config/parse.h"
#include "fuzz/require.h"
#include "tests/support/memory_reader.h"

namespace {

using namespace lbd::config;
using lbd::fuzz::require;

bool inside(const Problem& problem, const Sources& sources) {
  if (problem.line == 0) return true;  // about the file as a whole
  const auto source = sources.find(problem.file);
  if (source == sources.end() || problem.column < 1 || problem.width < 1) return false;
  const auto lines = std::count(source->second.begin(), source->second.end(), '\n') + 1;
  return problem.line >= 1 && problem.line <= lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  MemoryReader reader({{"lbd.yaml", text},
                       {"conf.d/a.yaml",
                        "target_groups: { a: { targets: [{ address: '1.1.1.1:1' "
                        "}] } }\ninclude: ../lbd.yaml\n"},
                       {"secret", "q7Zx-secret\n"}});
  reader.variables["X"] = "q7Zx-secret";
  const auto result = load("lbd.yaml", reader);
  const auto rendered = render(result) + render_json(result);
  for (const auto& problem : result.problems) {
    require(inside(problem, result.sources), "a problem outside its file");
    require(!problem.message.empty() && !problem.code.empty(), "a problem without a message");
  }
  require(result.config.has_value() || has_errors(result.problems), "refused without a reason");
  const bool said_so = text.find("q7Zx") != std::string::npos;
  require(said_so || rendered.find("q7Zx-secret") == std::string::npos, "a secret is shown");
  return 0;
}
