// Wrong configurations, each a file wrong/NAME.yaml with the exact text an admin sees in
// NAME.expected. LBD_UPDATE=1 rewrites those: read them, they are the product.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "config/parse.h"
#include "tests/support/memory_reader.h"

namespace lbd::config {
namespace {

namespace fs = std::filesystem;

const std::string kFolder = std::string(LBD_SOURCE_DIR) + "/tests/unit/config/wrong/";

std::vector<std::string> wrong_files() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Wrong : public testing::TestWithParam<std::string> {};

TEST_P(Wrong, IsRefusedWithThisMessage) {
  const auto& name = GetParam();
  MemoryReader reader({{"lbd.yaml", read_text(kFolder + name + ".yaml")}});
  reader.variables["SECRET"] = "hunter2";
  reader.files["secret.txt"] = "hunter2\n";
  for (const auto& part : {"conf.d/a.yaml", "conf.d/b.yaml", "conf.d/loop.yaml"}) {
    reader.files[part] = read_text(kFolder + part);
  }
  const auto result = load("lbd.yaml", reader);
  const auto text = render(result);
  const auto expected = kFolder + name + ".expected";
  if (std::getenv("LBD_UPDATE") != nullptr) std::ofstream(expected) << text;
  EXPECT_EQ(text, read_text(expected));
  EXPECT_NE(text, "");
  EXPECT_EQ(text.find("hunter2"), std::string::npos) << "a secret is in the text";
  // Files called warn_* load, with a warning; all others do not.
  EXPECT_EQ(result.config.has_value(), name.starts_with("warn_"));
}

INSTANTIATE_TEST_SUITE_P(Config, Wrong, testing::ValuesIn(wrong_files()),
                         [](const auto& it) { return it.param; });

}  // namespace
}  // namespace lbd::config
