// Every example of the repository loads without an error or a warning.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "config/parse.h"

namespace lbd::config {
namespace {

std::vector<std::string> examples() {
  std::vector<std::string> paths{std::string(LBD_SOURCE_DIR) + "/config/example.yaml"};
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(LBD_SOURCE_DIR) + "/examples")) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path().string());
  }
  return paths;
}

class Examples : public testing::TestWithParam<std::string> {};

TEST_P(Examples, LoadWithoutErrorOrWarning) {
  const DiskReader reader;
  const auto result = load(GetParam(), reader);
  EXPECT_EQ(render(result), "");
  EXPECT_TRUE(result.config.has_value());
}

INSTANTIATE_TEST_SUITE_P(Config, Examples, testing::ValuesIn(examples()), [](const auto& it) {
  return std::filesystem::path(it.param).stem().string();
});

}  // namespace
}  // namespace lbd::config
