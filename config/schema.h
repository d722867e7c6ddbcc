// The JSON Schema of the configuration, made from the same field tables that the parser reads by.
#pragma once

#include <string>
#include <vector>

namespace lbd::config {

/// One key of the configuration: "target_groups.*.health_check.interval".
struct KeyDoc {
  std::string path;  // `*` stands for a name, `[]` for an element of a list
  std::string doc;   // a sentence, and the default
  bool required = false;
};

/// The schema as indented JSON (2020-12), ending in a newline. Ships as schema/v1.json.
[[nodiscard]] std::string write_schema();

/// Every key in the order of the tables: what the reference lists and the tests count.
[[nodiscard]] std::vector<KeyDoc> list_keys();

}  // namespace lbd::config
