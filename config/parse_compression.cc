// Compression of responses.
#include <fmt/format.h>

#include <algorithm>

#include "config/tables.h"

namespace lbd::config {
namespace {

namespace json = boost::json;

constexpr std::string_view kAlgorithms[] = {"gzip", "br", "zstd"};
constexpr std::string_view kWhat = "one of gzip, br, zstd, or a list of them";

/// A list of the three, each at most once.
Kind algorithms(std::vector<Coding>& out) {
  return {
      .read =
          [&out](Decoder& decoder, const Cursor& at) {
            out.clear();
            std::vector<std::string> names;
            texts(names, kWhat).read(decoder, at);
            for (const std::string& name : names) {
              const auto* found = std::find(std::begin(kAlgorithms), std::end(kAlgorithms), name);
              const auto coding = static_cast<Coding>(found - std::begin(kAlgorithms));
              if (found == std::end(kAlgorithms)) {
                decoder.error(at.value.place, "E2007",
                              fmt::format("{}: '{}' is not {}", at.path, name, kWhat));
              } else if (std::find(out.begin(), out.end(), coding) != out.end()) {
                decoder.error(at.value.place, "E2010",
                              fmt::format("{}: '{}' is there twice", at.path, name));
              } else {
                out.push_back(coding);
              }
            }
          },
      .schema =
          [] {
            const json::object one{{"enum", json::array{"gzip", "br", "zstd"}}};
            return json::object{{"anyOf", json::array{one, json::object{{"type", "array"},
                                                                        {"items", one},
                                                                        {"minItems", 1},
                                                                        {"uniqueItems", true}}}}};
          },
      .fallback = "`[zstd, br, gzip]`"};
}

Kind media_types(std::vector<std::string>& out) {
  return checked(
      texts(out, "a media type such as text/*"), [&out](Decoder& decoder, const Cursor& at) {
        for (std::string& each : out) {
          for (char& c : each) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
          const std::size_t slash = each.find('/');
          const bool good = slash != std::string::npos && slash > 0 && slash + 1 < each.size() &&
                            each.find_first_of(" ;,\t") == std::string::npos;
          if (good) continue;
          decoder.error(at.value.place, "E2005",
                        fmt::format("{}: '{}' is not a media type such as text/html or text/*",
                                    at.path, each));
        }
      });
}

}  // namespace

Table compression_table(Compression& compression) {
  return {
      .doc = "Bodies of responses in a coding that the client accepts.",
      .fields =
          {
              {"algorithms", algorithms(compression.algorithms),
               "Codings, the best liked first; a client's weights come before."},
              {"types", media_types(compression.types),
               "Media types of responses that are compressed; `*` is any run of characters."},
              {"bytes_min", size_or_off(compression.bytes_min), "Shorter bodies stay as they are."},
              {"effort",
               word(compression.effort, {.words = {"low", "medium", "high"}, .later = {}}),
               "CPU against bytes."},
          },
      .later = {},
      .after = {}};
}

}  // namespace lbd::config
