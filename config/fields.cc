#include "config/fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/suggest.h"

namespace lbd::config {
namespace {

namespace json = boost::json;

std::string in_path(const std::string& path) {
  return path.empty() ? std::string() : " in " + path;
}

/// Where an error about a value points: a scalar itself, else the key of what is not one.
const Place& place_of(const Cursor& at) {
  return at.value.kind == ValueKind::scalar ? at.value.place : at.label;
}

void refuse_unknown(Decoder& decoder, const Cursor& at, const Table& table) {
  std::vector<std::string> known;
  for (const auto& field : table.fields) known.emplace_back(field.key);
  for (const auto& member : at.value.members) {
    if (std::find(known.begin(), known.end(), member.key) != known.end()) continue;
    const bool later =
        std::find(table.later.begin(), table.later.end(), member.key) != table.later.end();
    if (later) {
      decoder.error(
          member.place, "E2008",
          fmt::format("'{}'{} is not supported in this version", member.key, in_path(at.path)));
      continue;
    }
    decoder.error(member.place, "E2003",
                  fmt::format("unknown key '{}'{}", member.key, in_path(at.path)),
                  suggestion(member.key, known));
  }
}

}  // namespace

void Decoder::expected(const Cursor& at, std::string_view what, std::string hint) {
  error(place_of(at), "E2002",
        fmt::format("{}: expected {}, found {}", at.path, what, describe(at.value)),
        std::move(hint));
}

void Decoder::remember(const Cursor& at) {
  auto place = place_of(at);
  place.secret = at.value.secret;
  places_.emplace(at.path, std::move(place));
}

Origin origin_of(const Cursor& at) { return {at.label.file, at.label.line, at.label.column}; }

std::optional<Cursor> member_of(const Cursor& at, std::string_view key) {
  const auto* member = find_member(at.value, key);
  if (member == nullptr) return std::nullopt;
  std::string path = at.path.empty() ? std::string(key) : fmt::format("{}.{}", at.path, key);
  return Cursor{*member->value, member->place, std::move(path)};
}

Cursor item_of(const Cursor& at, std::size_t index) {
  const auto& value = *at.value.items[index];
  return Cursor{value, value.place, fmt::format("{}[{}]", at.path, index)};
}

const std::string* scalar_of(Decoder& decoder, const Cursor& at, std::string_view what) {
  if (at.value.broken) return nullptr;
  if (at.value.kind == ValueKind::scalar) return &at.value.text;
  decoder.expected(at, what);
  return nullptr;
}

bool is_off(const Value& value) {
  return value.kind == ValueKind::scalar && value.plain &&
         (value.text == "off" || value.text == "false");
}

void decode(Decoder& decoder, const Cursor& at, const Table& table) {
  if (at.value.broken) return;
  if (at.value.kind != ValueKind::mapping) {
    decoder.expected(at, "a mapping");
    return;
  }
  refuse_unknown(decoder, at, table);
  for (const auto& field : table.fields) {
    const auto member = member_of(at, field.key);
    if (member) {
      decoder.remember(*member);
      field.kind.read(decoder, *member);
    } else if (field.required) {
      decoder.error(at.label, "E2004",
                    fmt::format("{}{}required key '{}' is missing", at.path,
                                at.path.empty() ? "" : ": ", field.key));
    }
  }
  if (table.after) table.after(decoder, at);
}

json::object schema_of(const Table& table) {
  json::object properties;
  json::array required;
  for (const auto& field : table.fields) {
    auto schema = field.kind.schema();
    std::string doc(field.doc);
    if (!field.kind.fallback.empty()) doc += " Default: " + field.kind.fallback + ".";
    schema["description"] = doc;
    properties[field.key] = std::move(schema);
    if (field.required) required.emplace_back(field.key);
  }
  json::object schema{{"type", "object"}, {"additionalProperties", false}};
  if (!table.doc.empty()) schema["description"] = table.doc;
  schema["properties"] = std::move(properties);
  if (!required.empty()) schema["required"] = std::move(required);
  json::array alternatives;
  for (const auto& key : table.one_of) {
    alternatives.push_back(json::object{{"required", json::array{key}}});
  }
  if (!alternatives.empty()) schema["oneOf"] = std::move(alternatives);
  return schema;
}

Kind object(const std::function<Table()>& table) {
  return {.read = [table](Decoder& decoder, const Cursor& at) { decode(decoder, at, table()); },
          .schema = [table] { return schema_of(table()); },
          .fallback = ""};
}

Kind checked(Kind kind, std::function<void(Decoder&, const Cursor&)> check) {
  return {.read =
              [read = std::move(kind.read), check = std::move(check)](Decoder& decoder,
                                                                      const Cursor& at) {
                read(decoder, at);
                if (!at.value.secret && !at.value.broken) check(decoder, at);
              },
          .schema = std::move(kind.schema),
          .fallback = std::move(kind.fallback)};
}

Kind or_off(bool& enabled, Kind kind) {
  return {.read =
              [&enabled, read = std::move(kind.read)](Decoder& decoder, const Cursor& at) {
                enabled = !is_off(at.value);
                if (!enabled) return;
                const bool scalar = at.value.kind == ValueKind::scalar && !at.value.broken;
                if (!scalar) return read(decoder, at);
                decoder.expected(at, "a mapping, or off",
                                 at.value.text == "no" ? "did you mean 'off'?" : "");
              },
          .schema =
              [schema = std::move(kind.schema)] {
                return json::object{
                    {"anyOf",
                     json::array{json::object{{"enum", json::array{"off", false}}}, schema()}}};
              },
          .fallback = kind.fallback};
}

Kind list(ListItems items) {
  return {.read =
              [read = std::move(items.read)](Decoder& decoder, const Cursor& at) {
                if (at.value.broken) return;
                if (at.value.kind != ValueKind::sequence) return decoder.expected(at, "a list");
                for (std::size_t i = 0; i < at.value.items.size(); ++i) {
                  const auto item = item_of(at, i);
                  decoder.remember(item);
                  read(decoder, item);
                }
              },
          .schema =
              [sample = std::move(items.sample)] {
                return json::object{{"type", "array"}, {"items", sample()}};
              },
          .fallback = ""};
}

Kind named(NamedItems items) {
  static constexpr std::string_view kPattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$";
  const auto allowed = [](const std::string& name) {
    const auto word = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    return !name.empty() && name.size() <= 63 && word(name.front()) &&
           std::all_of(name.begin(), name.end(),
                       [&](char c) { return word(c) || c == '.' || c == '-'; });
  };
  return {.read =
              [read = std::move(items.read), allowed](Decoder& decoder, const Cursor& at) {
                if (at.value.broken) return;
                if (at.value.kind != ValueKind::mapping) {
                  return decoder.expected(at, "a mapping of names");
                }
                for (const auto& member : at.value.members) {
                  if (!allowed(member.key)) {
                    decoder.error(member.place, "E2009",
                                  fmt::format("{}: '{}' is not a name", at.path, member.key),
                                  "use 1 to 63 letters, digits, '_', '-' and '.'");
                    continue;
                  }
                  const Cursor item{*member.value, member.place,
                                    fmt::format("{}.{}", at.path, member.key)};
                  decoder.remember(item);
                  read(decoder, item, member.key);
                }
              },
          .schema =
              [sample = std::move(items.sample)] {
                return json::object{{"type", "object"},
                                    {"propertyNames", json::object{{"pattern", kPattern}}},
                                    {"additionalProperties", sample()}};
              },
          .fallback = ""};
}

}  // namespace lbd::config
