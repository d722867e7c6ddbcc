// Documents that keep up with the code, and sources that no CMake target has.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>
#include <string>

#include "tests/tidy/tree.h"

namespace lbd::tidy {
namespace {

namespace fs = std::filesystem;

TEST(Tidy, EverySourceBelongsToATarget) {
  for (const File& file : tree()) {
    if (!ends_with(file.path, ".cc")) continue;
    const fs::path path(file.path);
    std::string lists;  // every CMakeLists.txt from its folder up
    for (fs::path folder = path.parent_path(); !folder.empty(); folder = folder.parent_path()) {
      if (const File* found = find((folder / "CMakeLists.txt").generic_string()))
        lists += found->text;
    }
    const File* own = find((path.parent_path() / "CMakeLists.txt").generic_string());
    const std::string top = path.begin()->string();
    const std::string below = fs::relative(path.parent_path(), top).generic_string();
    const std::string stem = path.stem().string();
    const std::string short_stem = stem.substr(0, stem.rfind('_'));
    const bool named = lists.find(path.filename().string()) != std::string::npos ||
                       lists.find("lbd_fuzz(" + short_stem) != std::string::npos ||
                       std::regex_search(lists, std::regex("lbd_test\\(\\w+ " + below + "[ )]"));
    const bool globbed = own != nullptr && (own->text.find("lbd_library(") != std::string::npos ||
                                            own->text.find("daemon*.cc") != std::string::npos);
    EXPECT_TRUE(named || globbed) << file.path << " is in no CMake target";
  }
}

TEST(Tidy, EveryDocumentHasOneTitle) {
  for (const File& file : tree()) {
    if (!ends_with(file.path, ".md")) continue;
    bool code = false;
    int titles = 0;
    for (const std::string& line : file.lines) {
      if (starts_with(line, "```")) code = !code;
      if (!code && starts_with(line, "# ")) ++titles;
    }
    EXPECT_EQ(titles, 1) << file.path;
  }
}

TEST(Tidy, LinksOfDocumentsLeadSomewhere) {
  static const std::regex link(R"(\]\(([^)#:]+)(#[^)]*)?\))");
  const fs::path root(LBD_SOURCE_DIR);
  for (const File& file : tree()) {
    if (!ends_with(file.path, ".md")) continue;
    for (std::sregex_iterator i(file.text.begin(), file.text.end(), link), end; i != end; ++i) {
      const fs::path target = root / fs::path(file.path).parent_path() / (*i)[1].str();
      EXPECT_TRUE(fs::exists(target)) << file.path << ": " << (*i)[1];
    }
  }
}

std::set<std::string> words_of(const std::string& text, const std::string& pattern) {
  const std::regex word(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator i(text.begin(), text.end(), word), end; i != end; ++i)
    found.insert((*i)[1]);
  return found;
}

TEST(Tidy, TheReferenceListsEveryMetricAndNoOther) {
  const File* document = find("docs/reference/metrics.md");
  ASSERT_TRUE(document != nullptr);
  std::set<std::string> made;  // wherever a family is given a value
  for (const File& file : tree()) {
    if (!starts_with(file.path, "lbd/") || !ends_with(file.path, ".cc")) continue;
    made.merge(
        words_of(file.text, R"re((?:counter|gauge|histogram)\(\s*"((?:lbd|process)_\w+)")re"));
  }
  EXPECT_EQ(made, words_of(document->text, R"(`((?:lbd|process)_\w+)`)"));
}

TEST(Tidy, TheReferenceListsEveryReason) {
  const File* code = find("lbd/base/fault.cc");
  const File* document = find("docs/reference/reasons.md");
  ASSERT_TRUE(code != nullptr && document != nullptr);
  for (const std::string& name : words_of(code->text, R"re(\{"(\w+)", "[A-Z]+", [1-9])re"))
    EXPECT_NE(document->text.find("`" + name + "`"), std::string::npos) << name;
}

}  // namespace
}  // namespace lbd::tidy
