#include "config/parse.h"

#include <utility>

#include "config/include.h"
#include "config/tables.h"
#include "config/validate.h"

namespace lbd::config {

LoadResult load(const std::string& path, const FileReader& reader) {
  LoadResult result;
  auto assembled = assemble(path, reader, result.problems);
  result.sources = std::move(assembled.sources);
  if (assembled.root) {
    Config config;
    Decoder decoder(result.problems);
    Place label = assembled.root->place;
    decode(decoder, Cursor{*assembled.root, std::move(label), ""}, config_table(config));
    config.files = assembled.files;
    auto found = validate(config, decoder.places());
    result.problems.insert(result.problems.end(), found.begin(), found.end());
    if (has_errors(result.problems)) {
      // "Nothing uses it" may only be so because what uses it is wrong.
      std::erase_if(result.problems, [](const Problem& problem) {
        return problem.code == "W3002" || problem.code == "W3006" || problem.code == "W3008" ||
               problem.code == "W3009";
      });
    }
    if (!has_errors(result.problems)) result.config = std::move(config);
  }
  sort_problems(result.problems, assembled.files);
  return result;
}

std::string render(const LoadResult& result) {
  return render_problems(result.problems, result.sources);
}

std::string render_json(const LoadResult& result) { return render_problems_json(result.problems); }

}  // namespace lbd::config
