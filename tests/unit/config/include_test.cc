// What includes and globs bring into a configuration, from memory and from the disk.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "config/files.h"
#include "config/parse.h"
#include "tests/support/memory_reader.h"

namespace lbd::config {
namespace {

namespace fs = std::filesystem;

const std::string kListener =
    "version: 1\nlisteners: { a: { listen: '0.0.0.0:80', default: { forward: web } } }\n";
const std::string kTargets = "target_groups: { web: { targets: [{ address: '10.0.0.1:80' }] } }\n";

LoadResult load_text(const std::string& text) {
  return load("lbd.yaml", MemoryReader({{"lbd.yaml", text}}));
}

TEST(Include, GlobsAreReadInLexicalOrderRelativeToTheFileThatNamesThem) {
  const MemoryReader reader({{"etc/lbd.yaml", kListener + "include: conf.d/*.yaml\n"},
                             {"etc/conf.d/20.yaml", "target_groups: { b: {\n"},
                             {"etc/conf.d/10.yaml", kTargets},
                             {"etc/conf.d/notes.txt", "{{{"}});
  const auto result = load("etc/lbd.yaml", reader);
  EXPECT_EQ(result.sources.size(), 3U);
  ASSERT_EQ(result.problems.size(), 1U);
  EXPECT_EQ(result.problems[0].file, "etc/conf.d/20.yaml");
}

TEST(Include, GlobWithoutMatchesIsFine) {
  const auto result = load_text(kListener + kTargets + "include: conf.d/*.yaml\n");
  EXPECT_TRUE(result.config) << render(result);
}

TEST(Include, FileReadTwiceCountsOnce) {
  const MemoryReader reader(
      {{"lbd.yaml", kListener + "include: [a.yaml, '*.yaml', ./a.yaml]\n"}, {"a.yaml", kTargets}});
  const auto result = load("lbd.yaml", reader);
  // The glob names lbd.yaml itself: that is a cycle, and said so.
  ASSERT_EQ(result.problems.size(), 1U) << render(result);
  EXPECT_EQ(result.problems[0].code, "E1017");
}

/// A folder of its own for one test.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(fs::temp_directory_path() /
              fmt::format("lbd-{}-{}", name, ::testing::UnitTest::GetInstance()->random_seed())) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }
  /// A link to itself: like a folder without permission, it is there but cannot be read, and that
  /// for root too.
  void write_unreadable(const std::string& name) const {
    fs::create_symlink(path_ / name, path_ / name);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

TEST(Include, AGlobThatCannotBeReadIsAnErrorAndNotEmpty) {
  const Folder folder("glob-unreadable");
  folder.write("lbd.yaml", kListener + kTargets + "include: ['conf.d/*.yaml', 'sites/*/x.yaml']\n");
  folder.write_unreadable("conf.d");
  folder.write("sites/a/x.yaml", "");
  folder.write_unreadable("sites/b");
  const auto result = load(folder.path("lbd.yaml"), DiskReader());
  EXPECT_FALSE(result.config);
  const auto text = render(result);
  EXPECT_NE(text.find("error[E1001]: 'conf.d/*.yaml': cannot read '" + folder.path("conf.d") +
                      "': Too many levels of symbolic links"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("error[E1001]: 'sites/*/x.yaml': cannot read '" +
                      folder.path("sites/b/x.yaml") + "': Too many levels"),
            std::string::npos)
      << text;
}

TEST(Include, AGlobWhoseFolderIsAFileIsAnError) {
  const Folder folder("glob-file");
  folder.write("lbd.yaml", kListener + kTargets + "include: conf.d/*.yaml\n");
  folder.write("conf.d", "");
  const auto result = load(folder.path("lbd.yaml"), DiskReader());
  ASSERT_EQ(result.problems.size(), 1U);
  EXPECT_NE(result.problems[0].message.find("Not a directory"), std::string::npos);
}

TEST(Include, AGlobInAFolderThatIsNotThereIsAWarning) {
  const Folder folder("glob-missing");
  folder.write("lbd.yaml", kListener + kTargets + "include: [cnof.d/*.yaml, 'conf.d/*.yaml']\n");
  folder.write("conf.d/readme", "");
  const auto result = load(folder.path("lbd.yaml"), DiskReader());
  EXPECT_TRUE(result.config);
  ASSERT_EQ(result.problems.size(), 1U) << render(result);
  EXPECT_EQ(result.problems[0].code, "W1002");
  EXPECT_EQ(result.problems[0].message,
            "'cnof.d/*.yaml' matches nothing: there is no folder '" + folder.path("cnof.d") + "'");
}

TEST(Include, TheFolderOfAConfigurationIsNeverAPattern) {
  const Folder folder("glob[a]*");
  folder.write("lbd.yaml", kListener + "include: [literal.yaml, 'conf.d/*.yaml']\n");
  folder.write("literal.yaml", kTargets);
  folder.write("conf.d/node.yaml", "node: { workers: 3 }\n");
  const auto result = load(folder.path("lbd.yaml"), DiskReader());
  ASSERT_TRUE(result.config) << render(result);
  EXPECT_EQ(result.config->node.workers, 3U);
}

TEST(Include, GlobsOfTheDiskAreThoseOfAShell) {
  const Folder folder("glob-shell");
  for (const auto& name : {"a/1.yaml", "a/2.yaml", "a/.hidden.yaml", "b/1.yaml", "b/c/1.yaml",
                           "b/[x].yaml", "b/x.yaml"}) {
    folder.write(name, "");
  }
  const auto glob = [&folder](const std::string& pattern) {
    const auto found = DiskReader().glob(folder.path(""), pattern);
    EXPECT_TRUE(found);
    std::vector<std::string> names;
    for (const auto& path : found->paths) names.push_back(path.substr(folder.path("").size()));
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(glob("a/*.yaml"), (Names{"a/1.yaml", "a/2.yaml"}));
  EXPECT_EQ(glob("*/1.yaml"), (Names{"a/1.yaml", "b/1.yaml"}));
  EXPECT_EQ(glob("./b/../[!b]/?.yaml"), (Names{"a/1.yaml", "a/2.yaml"}));
  EXPECT_EQ(glob("b/\\[x].yaml"), (Names{"b/[x].yaml"}));
  EXPECT_EQ(glob("b/*/*.yaml"), (Names{"b/c/1.yaml"}));
  EXPECT_EQ(glob(folder.path("a/2*")), (Names{"a/2.yaml"}));
}

TEST(Include, TooManyFilesAreOneProblem) {
  MemoryReader reader({{"lbd.yaml", kListener + kTargets + "include: 'conf.d/*.yaml'\n"}});
  for (int i = 0; i < 1000; ++i) reader.files[fmt::format("conf.d/{}.yaml", i)] = "include: []\n";
  const auto result = load("lbd.yaml", reader);
  ASSERT_EQ(result.problems.size(), 1U) << render(result);
  EXPECT_EQ(result.problems[0].code, "E1016");
}

}  // namespace
}  // namespace lbd::config
