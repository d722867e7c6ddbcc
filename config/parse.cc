#include "config/parse.h"

#include <set>
#include <string_view>
#include <utility>

#include "config/include.h"
#include "config/tables.h"
#include "config/tree.h"
#include "config/validate.h"

namespace lbd::config {
namespace {

/// Shorter ones would blot out line numbers and common words, and keep no secret.
constexpr std::size_t kSecretBytesMin = 4;
constexpr std::string_view kRedacted = "<redacted>";

void collect_secrets(const Value& value, std::set<std::string>& secrets) {
  if (value.secret && value.text.size() >= kSecretBytesMin) secrets.insert(value.text);
  for (const auto& item : value.items) collect_secrets(*item, secrets);
  for (const auto& member : value.members) collect_secrets(*member.value, secrets);
}

/// Cross checks speak of values by name: whatever came out of ${env:} or ${file:} is cut from them.
void redact(std::string& text, const std::set<std::string>& secrets) {
  for (const auto& secret : secrets) {
    for (auto at = text.find(secret); at != std::string::npos;
         at = text.find(secret, at + kRedacted.size())) {
      text.replace(at, secret.size(), kRedacted);
    }
  }
}

void redact_all(std::vector<Problem>& problems, const Value& root) {
  if (problems.empty()) return;
  std::set<std::string> secrets;
  collect_secrets(root, secrets);
  for (auto& problem : problems) {
    redact(problem.message, secrets);
    redact(problem.hint, secrets);
  }
}

}  // namespace

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
    sort_problems(found, assembled.files);
    limit_problems(found, result.unkept);
    redact_all(found, *assembled.root);
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
  limit_problems(result.problems, result.unkept);
  return result;
}

std::string render(const LoadResult& result) {
  return render_problems(result.problems, result.sources, result.unkept);
}

std::string render_json(const LoadResult& result) {
  return render_problems_json(result.problems, result.unkept);
}

std::string summarize(const LoadResult& result) {
  return summarize_problems(result.problems, result.unkept);
}

}  // namespace lbd::config
