// Kinds that are one of a few words.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "config/fields.h"
#include "config/suggest.h"

namespace lbd::config {
namespace {

namespace json = boost::json;

json::object schema_of_words(const std::vector<std::string>& known) {
  const auto has = [&known](std::string_view word) {
    return std::find(known.begin(), known.end(), word) != known.end();
  };
  json::array list;
  for (const auto& word : known) list.emplace_back(word);
  if (has("off")) list.emplace_back(false);
  if (has("1.1")) {  // as editors read them without quotes
    list.emplace_back(1.1);
    list.emplace_back(2);
  }
  return json::object{{"enum", std::move(list)}};
}

}  // namespace

Kind choice(Words words, std::size_t now, std::function<void(std::size_t)> set) {
  std::vector<std::string> known(words.words.begin(), words.words.end());
  auto current = now < known.size() ? "`" + known[now] + "`" : "";
  return {
      .read =
          [words, known, set = std::move(set)](Decoder& decoder, const Cursor& at) {
            const auto what = known.size() == 1 ? fmt::format("'{}'", known.front())
                                                : fmt::format("one of {}", fmt::join(known, ", "));
            const auto* found = scalar_of(decoder, at, what);
            if (found == nullptr) return;
            // `off` is a word of YAML 1.1 too, whose editors may write false.
            const std::string word = is_off(at.value) ? "off" : *found;
            const auto it = std::find(known.begin(), known.end(), word);
            if (it != known.end()) return set(static_cast<std::size_t>(it - known.begin()));
            if (std::find(words.later.begin(), words.later.end(), word) != words.later.end()) {
              return decoder.error(at.value.place, "E2008",
                                   fmt::format("{}: {} is not supported in this version", at.path,
                                               describe(at.value)),
                                   fmt::format("{} {}", known.size() == 1 ? "use" : "one of:",
                                               fmt::join(known, ", ")));
            }
            const auto near = at.value.secret ? std::string() : nearest(*found, known);
            std::string hint = near.empty() ? "" : fmt::format("did you mean '{}'?", near);
            for (const auto& [other, instead] : words.others) {
              if (other == word) hint = instead;
            }
            decoder.error(
                at.value.place, "E2007",
                fmt::format("{}: expected {}, found {}", at.path, what, describe(at.value)), hint);
          },
      .schema = [known] { return schema_of_words(known); },
      .fallback = std::move(current)};
}

Kind word(std::string& out, std::vector<std::string_view> words) {
  const auto now = std::find(words.begin(), words.end(), out) - words.begin();
  return choice({.words = words, .later = {}}, static_cast<std::size_t>(now),
                [&out, words](std::size_t index) { out = words[index]; });
}

}  // namespace lbd::config
