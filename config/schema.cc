#include "config/schema.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "config/tables.h"

namespace lbd::config {
namespace {

namespace json = boost::json;

/// A value is shown on one line when it is short enough and holds no object of properties.
constexpr std::size_t kLineMax = 96;

void write_value(std::string& out, const json::value& value, std::size_t indent);

void write_lines(std::string& out, const json::value& value, std::size_t indent) {
  const std::string margin(indent + 2, ' ');
  bool first = true;
  const auto start = [&] {
    out += first ? "\n" : ",\n";
    out += margin;
    first = false;
  };
  if (const auto* object = value.if_object()) {
    out += '{';
    for (const auto& [key, member] : *object) {
      start();
      out += json::serialize(json::value(key)) + ": ";
      write_value(out, member, indent + 2);
    }
    out += "\n" + std::string(indent, ' ') + "}";
    return;
  }
  out += '[';
  for (const auto& item : value.as_array()) {
    start();
    write_value(out, item, indent + 2);
  }
  out += "\n" + std::string(indent, ' ') + "]";
}

void write_value(std::string& out, const json::value& value, std::size_t indent) {
  const auto line = json::serialize(value);
  if (line.size() + indent <= kLineMax || value.is_primitive()) {
    out += line;
  } else {
    write_lines(out, value, indent);
  }
}

json::object whole_schema() {
  Config config;
  json::object schema{
      {"$schema", "https://json-schema.org/draft/2020-12/schema"},
      {"title", "lbd configuration, version 1"},
      {"$comment", "Generated from the parser's field tables. Do not edit."},
  };
  for (auto& [key, value] : schema_of(config_table(config))) schema[key] = std::move(value);
  // A file that another one includes need not repeat the version.
  schema.erase("required");
  return schema;
}

bool is_required(const json::object& schema, std::string_view key) {
  const auto* required = schema.if_contains("required");
  if (required == nullptr) return false;
  for (const auto& name : required->as_array()) {
    if (name.as_string() == key) return true;
  }
  return false;
}

void list_properties(const json::object& schema, const std::string& path,
                     std::vector<KeyDoc>& keys) {
  if (const auto* any = schema.if_contains("anyOf")) {
    for (const auto& option : any->as_array()) list_properties(option.as_object(), path, keys);
  }
  if (const auto* items = schema.if_contains("items")) {
    list_properties(items->as_object(), path + "[]", keys);
  }
  const auto* names = schema.if_contains("propertyNames");
  if (names != nullptr) {
    list_properties(schema.at("additionalProperties").as_object(), path + ".*", keys);
  }
  const auto* properties = schema.if_contains("properties");
  if (properties == nullptr) return;
  for (const auto& [key, member] : properties->as_object()) {
    const auto at = path.empty() ? std::string(key) : fmt::format("{}.{}", path, std::string(key));
    const auto& description = member.as_object().at("description").as_string();
    keys.push_back({at, std::string(description), is_required(schema, key)});
    list_properties(member.as_object(), at, keys);
  }
}

}  // namespace

std::string write_schema() {
  std::string out;
  write_lines(out, whole_schema(), 0);
  return out + "\n";
}

std::vector<KeyDoc> list_keys() {
  Config config;
  std::vector<KeyDoc> keys;
  list_properties(schema_of(config_table(config)), "", keys);
  return keys;
}

}  // namespace lbd::config
