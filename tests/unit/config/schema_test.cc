// The schema, the reference of keys and config/example.yaml all say what the field tables say.
#include "config/schema.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "config/tree.h"

namespace lbd::config {
namespace {

const std::string kRoot = LBD_SOURCE_DIR;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Paths of every key that a tree uses, names as `*` where the schema has names.
void collect(const Value& value, const std::string& path, const std::set<std::string>& sections,
             std::set<std::string>& used) {
  for (const auto& item : value.items) collect(*item, path + "[]", sections, used);
  for (const auto& member : value.members) {
    std::string at = path.empty() ? "" : path + ".";
    at += sections.contains(path) ? "*" : member.key;
    used.insert(at);
    collect(*member.value, at, sections, used);
  }
}

TEST(Schema, FileInTheRepositoryIsUpToDate) {
  const auto path = kRoot + "/config/schema/v1.json";
  if (std::getenv("LBD_UPDATE") != nullptr) std::ofstream(path) << write_schema();
  EXPECT_EQ(read_text(path), write_schema()) << "run this test with LBD_UPDATE=1";
}

TEST(Schema, EveryKeyHasASentenceOfDocumentation) {
  const auto keys = list_keys();
  EXPECT_GT(keys.size(), 120U);
  for (const auto& key : keys) {
    EXPECT_GT(key.doc.size(), 5U) << key.path;
    EXPECT_TRUE(key.doc.ends_with('.') || key.doc.ends_with("…")) << key.path << ": " << key.doc;
  }
}

TEST(Schema, ExampleUsesEveryKeyThereIs) {
  const auto path = kRoot + "/config/example.yaml";
  const auto text = read_text(path);
  const DiskReader reader;
  std::vector<Problem> problems;
  const auto root = parse_tree({path, text, reader}, problems);
  ASSERT_TRUE(root);
  std::set<std::string> used;
  collect(*root, "", {"listeners", "target_groups", "scaling_groups", "listeners.*.error_pages"},
          used);
  for (const auto& key : list_keys()) {
    // A template has an id or a name, not both: the comment beside it shows the other.
    if (key.path.ends_with("launch_template.id")) continue;
    // The same action as in a rule.
    auto path_used = key.path;
    if (path_used.starts_with("listeners.*.default.")) {
      path_used.replace(0, 19, "listeners.*.rules[].then");
    }
    EXPECT_TRUE(used.contains(path_used)) << key.path << " is not in config/example.yaml";
  }
}

}  // namespace
}  // namespace lbd::config
