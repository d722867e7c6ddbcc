#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "config/fields.h"
#include "config/scalars.h"

namespace lbd::config {
namespace {

namespace json = boost::json;

constexpr std::string_view kDurationPattern = R"(^([0-9]+(\.[0-9]+)?(ms|s|m|h|d)|0)$)";
constexpr std::string_view kSizePattern = R"(^([0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB|KB|MB|GB)|0)$)";

json::object type(std::string_view name) { return {{"type", name}}; }

json::object any_of(json::array schemas) { return {{"anyOf", std::move(schemas)}}; }

json::object pattern(std::string_view expression) {
  return {{"type", "string"}, {"pattern", expression}};
}

json::object whole_schema(std::uint64_t least, std::uint64_t most) {
  return {{"type", "integer"}, {"minimum", least}, {"maximum", most}};
}

json::object duration_schema(bool off) {
  json::array schemas{pattern(kDurationPattern), json::object{{"const", 0}}};
  if (off) schemas.push_back(json::object{{"enum", json::array{"off", false}}});
  return any_of(std::move(schemas));
}

/// Reads a plain (unquoted) scalar with one of the functions of scalars.h.
template <class T, class Parse>
std::optional<T> read_plain(Decoder& decoder, const Cursor& at, Parse parse,
                            std::string_view what) {
  const auto* text = scalar_of(decoder, at, what);
  if (text == nullptr) return std::nullopt;
  if (!at.value.plain) {
    decoder.error(at.value.place, "E2002",
                  fmt::format("{}: expected {}, found a text in quotes", at.path, what),
                  "remove the quotes");
    return std::nullopt;
  }
  const auto value = parse(*text);
  if (value) return *value;
  const bool other_base = text->size() > 1 && text->front() == '0' && !at.value.secret;
  decoder.expected(at, value.error().message,
                   other_base ? "numbers are decimal, without leading zeros" : "");
  return std::nullopt;
}

void out_of_range(Decoder& decoder, const Cursor& at, std::string_view what,
                  std::string_view range) {
  decoder.error(
      at.value.place, "E2005",
      fmt::format("{}: {} is out of range: {} {}", at.path, describe(at.value), what, range));
}

template <class T>
std::optional<T> read_whole(Decoder& decoder, const Cursor& at, Range<T> range) {
  const auto value = read_plain<std::uint64_t>(decoder, at, parse_whole, "a whole number");
  if (!value) return std::nullopt;
  if (*value >= range.least && *value <= range.most) return static_cast<T>(*value);
  const bool open = sizeof(T) > 2 && range.most == std::numeric_limits<T>::max();
  out_of_range(decoder, at, "it must be",
               open ? fmt::format("{} or more", range.least)
                    : fmt::format("from {} to {}", range.least, range.most));
  return std::nullopt;
}

/// Durations may stand in quotes: the unit leaves no doubt.
std::optional<milliseconds> read_duration(Decoder& decoder, const Cursor& at, DurationRange range) {
  if (range.off && is_off(at.value)) return milliseconds(0);
  const auto* text = scalar_of(decoder, at, "a duration such as 30s");
  if (text == nullptr) return std::nullopt;
  const auto value = parse_duration(*text);
  if (!value) {
    const bool bare = parse_number(*text).has_value();
    decoder.expected(at, value.error().message,
                     bare && !at.value.secret ? fmt::format("did you mean '{}s'?", *text) : "");
    return std::nullopt;
  }
  if (*value >= range.least && *value <= range.most) return *value;
  if (range.off && value->count() == 0) return *value;
  out_of_range(decoder, at, "it must be",
               fmt::format("from {} to {}", duration_text(range.least), duration_text(range.most)));
  return std::nullopt;
}

std::optional<std::uint64_t> read_size(Decoder& decoder, const Cursor& at) {
  const auto* text = scalar_of(decoder, at, "a size such as 16KiB");
  if (text == nullptr) return std::nullopt;
  const auto value = parse_size(*text);
  if (value) return *value;
  const bool bare = parse_number(*text).has_value();
  decoder.expected(at, value.error().message,
                   bare && !at.value.secret ? fmt::format("did you mean '{}B'?", *text) : "");
  return std::nullopt;
}

/// Calls `read` for the one value or for each of a list.
void for_each_item(Decoder& decoder, const Cursor& at,
                   const std::function<void(Decoder&, const Cursor&)>& read) {
  if (at.value.kind != ValueKind::sequence) return read(decoder, at);
  for (std::size_t i = 0; i < at.value.items.size(); ++i) {
    const auto item = item_of(at, i);
    decoder.remember(item);
    read(decoder, item);
  }
}

json::object one_or_list(const json::object& item) {
  return any_of({item, json::object{{"type", "array"}, {"items", item}, {"minItems", 1}}});
}

std::string shown(const std::string& text) { return text.empty() ? "" : "`" + text + "`"; }

}  // namespace

Kind text(std::string& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                if (const auto* found = scalar_of(decoder, at, "a text")) out = *found;
              },
          .schema = [] { return type("string"); },
          .fallback = shown(out)};
}

Kind required_text(std::string& out, std::string_view what) {
  return {.read =
              [&out, what](Decoder& decoder, const Cursor& at) {
                const auto* found = scalar_of(decoder, at, what);
                if (found == nullptr) return;
                if (found->empty()) return decoder.expected(at, what);
                out = *found;
              },
          .schema =
              [] {
                return json::object{{"type", "string"}, {"minLength", 1}};
              },
          .fallback = shown(out)};
}

Kind texts(std::vector<std::string>& out, std::string_view what) {
  return {.read =
              [&out, what](Decoder& decoder, const Cursor& at) {
                out.clear();
                if (at.value.kind == ValueKind::sequence && at.value.items.empty()) {
                  return decoder.expected(at, what);
                }
                for_each_item(decoder, at, [&](Decoder& d, const Cursor& item) {
                  const auto* found = scalar_of(d, item, what);
                  if (found == nullptr) return;
                  if (found->empty()) return d.expected(item, what);
                  out.push_back(*found);
                });
              },
          .schema =
              [] {
                return one_or_list({{"type", "string"}, {"minLength", 1}});
              },
          .fallback = out.empty() ? "" : shown(fmt::format("[{}]", fmt::join(out, ", ")))};
}

json::object text_map_schema() {
  return {
      {"type", "object"},
      {"additionalProperties", json::object{{"type", json::array{"string", "number", "boolean"}}}}};
}

Kind text_map(std::map<std::string, std::string>& out, std::string_view what) {
  return {.read =
              [&out, what](Decoder& decoder, const Cursor& at) {
                if (at.value.broken) return;
                if (at.value.kind != ValueKind::mapping) return decoder.expected(at, "a mapping");
                for (const auto& member : at.value.members) {
                  const Cursor item{*member.value, member.place,
                                    fmt::format("{}.{}", at.path, member.key)};
                  decoder.remember(item);
                  const auto* found = scalar_of(decoder, item, what);
                  if (found != nullptr) out[member.key] = *found;
                }
              },
          .schema = &text_map_schema,
          .fallback = ""};
}

Kind flag(bool& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                constexpr std::string_view kWhat = "true or false";
                const auto* found = scalar_of(decoder, at, kWhat);
                if (found == nullptr) return;
                if (at.value.plain && (*found == "true" || *found == "false")) {
                  out = *found == "true";
                  return;
                }
                const bool yes = *found == "yes" || *found == "on" || *found == "True";
                const bool no = *found == "no" || *found == "off" || *found == "False";
                decoder.expected(at, kWhat,
                                 !at.value.plain ? "remove the quotes"
                                 : yes           ? "did you mean 'true'?"
                                 : no            ? "did you mean 'false'?"
                                                 : "");
              },
          .schema = [] { return type("boolean"); },
          .fallback = out ? "`true`" : "`false`"};
}

Kind whole(std::uint32_t& out, Range<std::uint32_t> range) {
  return {.read =
              [&out, range](Decoder& decoder, const Cursor& at) {
                if (const auto value = read_whole(decoder, at, range)) out = *value;
              },
          .schema = [range] { return whole_schema(range.least, range.most); },
          .fallback = fmt::format("`{}`", out)};
}

Kind whole_or(std::uint32_t& out, std::string_view word_for_zero, Range<std::uint32_t> range) {
  return {.read =
              [=, &out](Decoder& decoder, const Cursor& at) {
                const bool zero =
                    (at.value.kind == ValueKind::scalar && at.value.text == word_for_zero) ||
                    (word_for_zero == "off" && is_off(at.value));
                if (zero) {
                  out = 0;
                } else if (const auto value = read_whole(decoder, at, range)) {
                  out = *value;
                }
              },
          .schema =
              [=] {
                json::array words{word_for_zero};
                if (word_for_zero == "off") words.emplace_back(false);
                return any_of({json::object{{"enum", std::move(words)}},
                               whole_schema(range.least, range.most)});
              },
          .fallback = out == 0 ? fmt::format("`{}`", word_for_zero) : fmt::format("`{}`", out)};
}

Kind optional_whole(std::optional<std::uint32_t>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                if (const auto value = read_whole(decoder, at, Range<std::uint32_t>{})) {
                  out = *value;
                }
              },
          .schema = [] { return whole_schema(0, std::numeric_limits<std::uint32_t>::max()); },
          .fallback = ""};
}

Kind port(std::uint16_t& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                const auto value = read_whole<std::uint16_t>(decoder, at, {1, 65535});
                if (value) out = *value;
              },
          .schema = [] { return whole_schema(1, 65535); },
          .fallback = out == 0 ? "" : fmt::format("`{}`", out)};
}

Kind optional_port(std::optional<std::uint16_t>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                const auto value = read_whole<std::uint16_t>(decoder, at, {1, 65535});
                if (value) out = *value;
              },
          .schema = [] { return whole_schema(1, 65535); },
          .fallback = ""};
}

Kind duration(milliseconds& out, DurationRange range) {
  return {.read =
              [&out, range](Decoder& decoder, const Cursor& at) {
                if (const auto value = read_duration(decoder, at, range)) out = *value;
              },
          .schema = [range] { return duration_schema(range.off); },
          .fallback = range.off && out.count() == 0 ? "`off`" : "`" + duration_text(out) + "`"};
}

Kind duration(seconds& out, DurationRange range) {
  return {.read =
              [&out, range](Decoder& decoder, const Cursor& at) {
                const auto value = read_duration(decoder, at, range);
                if (!value) return;
                if (value->count() % 1000 != 0) {
                  return decoder.expected(at, "a duration of whole seconds");
                }
                out = std::chrono::duration_cast<seconds>(*value);
              },
          .schema = [range] { return duration_schema(range.off); },
          .fallback = "`" + duration_text(out) + "`"};
}

Kind optional_duration(std::optional<milliseconds>& out, DurationRange range) {
  return {.read =
              [&out, range](Decoder& decoder, const Cursor& at) {
                if (const auto value = read_duration(decoder, at, range)) out = *value;
              },
          .schema = [range] { return duration_schema(range.off); },
          .fallback = ""};
}

Kind size(std::uint32_t& out, Range<std::uint32_t> range) {
  return {.read =
              [&out, range](Decoder& decoder, const Cursor& at) {
                const auto value = read_size(decoder, at);
                if (!value) return;
                if (*value >= range.least && *value <= range.most) {
                  out = static_cast<std::uint32_t>(*value);
                  return;
                }
                out_of_range(
                    decoder, at, "it must be",
                    fmt::format("from {} to {}", size_text(range.least), size_text(range.most)));
              },
          .schema =
              [] {
                return any_of({pattern(kSizePattern), json::object{{"const", 0}}});
              },
          .fallback = "`" + size_text(out) + "`"};
}

Kind size_or_off(std::uint64_t& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                if (is_off(at.value)) {
                  out = 0;
                } else if (const auto value = read_size(decoder, at)) {
                  out = *value;
                }
              },
          .schema =
              [] {
                return any_of(
                    {pattern(kSizePattern), json::object{{"enum", json::array{"off", false, 0}}}});
              },
          .fallback = out == 0 ? "`off`" : "`" + size_text(out) + "`"};
}

Kind ratio(double& out, Range<double> range) {
  return {
      .read =
          [&out, range](Decoder& decoder, const Cursor& at) {
            const auto* found = scalar_of(decoder, at, "a percentage such as 50%");
            if (found == nullptr) return;
            const auto value = parse_ratio(*found);
            if (!value) return decoder.expected(at, value.error().message);
            if (*value >= range.least && *value <= range.most) {
              out = *value;
              return;
            }
            const bool forgotten =
                found->find('%') == std::string::npos && *value > 1 && *value <= 100 * range.most;
            decoder.error(
                at.value.place, "E2005",
                fmt::format("{}: {} is out of range: it must be from {} to {}", at.path,
                            describe(at.value), ratio_text(range.least), ratio_text(range.most)),
                forgotten && !at.value.secret ? fmt::format("did you mean '{}%'?", *found) : "");
          },
      .schema =
          [] {
            return any_of({pattern(R"(^[0-9]+(\.[0-9]+)?%?$)"), type("number")});
          },
      .fallback = "`" + ratio_text(out) + "`"};
}

Kind status(int& out, Range<int> range) {
  return {.read =
              [&out, range](Decoder& decoder, const Cursor& at) {
                const Range<std::uint32_t> wide{static_cast<std::uint32_t>(range.least),
                                                static_cast<std::uint32_t>(range.most)};
                if (const auto value = read_whole(decoder, at, wide)) {
                  out = static_cast<int>(*value);
                }
              },
          .schema =
              [range] {
                return whole_schema(static_cast<std::uint64_t>(range.least),
                                    static_cast<std::uint64_t>(range.most));
              },
          .fallback = fmt::format("`{}`", out)};
}

Kind addresses(std::vector<Address>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                constexpr std::string_view kWhat = "an address such as 0.0.0.0:80";
                out.clear();
                if (at.value.kind == ValueKind::sequence && at.value.items.empty()) {
                  return decoder.expected(at, kWhat);
                }
                for_each_item(decoder, at, [&](Decoder& d, const Cursor& item) {
                  const auto* found = scalar_of(d, item, kWhat);
                  if (found == nullptr) return;
                  auto address = parse_address(*found, 0);
                  if (!address) {
                    const bool name =
                        found->find_first_of("ghijklmnopqrstuvwxyz") != std::string::npos;
                    return d.expected(item, address.error().message,
                                      name ? "names are not resolved: write the IP address" : "");
                  }
                  out.push_back(std::move(*address));
                });
              },
          .schema = [] { return one_or_list(pattern(R"(^([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]+$)")); },
          .fallback = ""};
}

Kind networks(std::vector<Cidr>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                out.clear();
                for_each_item(decoder, at, [&](Decoder& d, const Cursor& item) {
                  const auto* found = scalar_of(d, item, "a network such as 10.0.0.0/8");
                  if (found == nullptr) return;
                  auto network = parse_cidr(*found);
                  if (!network) return d.expected(item, network.error().message);
                  out.push_back(std::move(*network));
                });
              },
          .schema =
              [] {
                const auto item = pattern(R"(^[0-9a-fA-F:.]+(/[0-9]+)?$)");
                return any_of({item, json::object{{"type", "array"}, {"items", item}}});
              },
          .fallback = out.empty() ? "none" : ""};
}

Kind codes(std::vector<CodeRange>& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                std::vector<CodeRange> found;
                for_each_item(decoder, at, [&](Decoder& d, const Cursor& item) {
                  const auto* words = scalar_of(d, item, "status codes such as 200-299");
                  if (words == nullptr) return;
                  const auto ranges = parse_codes(*words);
                  if (!ranges) return d.expected(item, ranges.error().message);
                  found.insert(found.end(), ranges->begin(), ranges->end());
                });
                if (!found.empty()) out = std::move(found);
              },
          .schema =
              [] {
                return one_or_list(
                    any_of({whole_schema(100, 599), pattern(R"(^[1-5][0-9][0-9][-, 0-9]*$)")}));
              },
          .fallback = "`200-299`"};
}

}  // namespace lbd::config
