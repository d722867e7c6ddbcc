// The files of the source tree, for the tests of style.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lbd::tidy {

struct File {
  std::string path;  // from the root of the tree
  std::string text;
  std::string code;  // C++ only: comments, strings and directives blanked, lines kept
  std::vector<std::string> lines;
};

/// Every text file of the tree but the corpora, by path.
const std::vector<File>& tree();
/// Null when there is no such file.
const File* find(const std::string& path);

/// A C++ file's text with comments, literals and directives blanked; newlines stay where they are.
std::string blank_all_but_code(const std::string& text);
std::vector<std::string> split(const std::string& text);
/// "lbd/net/loop.cc:17: "
std::string at(const File& file, std::size_t line);

bool starts_with(const std::string& text, const std::string& start);
bool ends_with(const std::string& text, const std::string& end);
bool is_cpp(const std::string& path);
bool is_test(const std::string& path);
/// Code of any language.
bool is_program(const std::string& path);

}  // namespace lbd::tidy
