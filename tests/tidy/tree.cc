#include "tests/tidy/tree.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace lbd::tidy {
namespace {

namespace fs = std::filesystem;

/// Copies C++ without what is in comments, literals and directives; newlines stay where they were.
class Blanker {
 public:
  explicit Blanker(const std::string& text) : text_(text), out_(text) {}

  std::string run() {
    while (at_ < text_.size()) step();
    return out_;
  }

 private:
  void step() {
    const char c = text_[at_];
    if (c == '#' && line_is_empty_) {
      blank_directive();
    } else if (starts("//")) {
      blank_until("\n", 0);
    } else if (starts("/*")) {
      blank_until("*/", 2);
    } else if (starts("R\"")) {
      const std::size_t open = text_.find('(', at_);
      blank_until(")" + text_.substr(at_ + 2, open - at_ - 2) + "\"", 1);
    } else if (c == '"' || (c == '\'' && !is_digit_separator())) {
      blank_literal(c);
    } else {
      if (c == '\n') line_is_empty_ = true;
      if (c != '\n' && c != ' ') line_is_empty_ = false;
      ++at_;
    }
  }
  [[nodiscard]] bool starts(const char* what) const {
    return text_.compare(at_, std::char_traits<char>::length(what), what) == 0;
  }
  [[nodiscard]] bool is_digit_separator() const {
    return at_ > 0 && std::isxdigit(static_cast<unsigned char>(text_[at_ - 1])) != 0;
  }
  void blank(std::size_t end) {
    for (end = std::min(end, text_.size()); at_ < end; ++at_) {
      if (text_[at_] != '\n') out_[at_] = ' ';
    }
  }
  void blank_until(const std::string& end, std::size_t more) {
    const std::size_t found = text_.find(end, at_ + 2);
    blank(found == std::string::npos ? text_.size() : found + (more == 0 ? 0 : end.size()));
  }
  void blank_literal(char quote) {
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    ++at_;
    blank(end);
    ++at_;
    line_is_empty_ = false;
  }
  void blank_directive() {
    std::size_t end = at_;
    do {
      end = text_.find('\n', end + 1);
    } while (end != std::string::npos && text_[end - 1] == '\\');
    blank(end);
  }

  const std::string& text_;
  std::string out_;
  std::size_t at_ = 0;
  bool line_is_empty_ = true;
};

bool is_text(const fs::path& path) {
  static const std::set<std::string> kinds{
      ".cc",   ".h",   ".c",   ".py",   ".sh",      ".md",       ".txt", ".cmake", ".yaml",
      ".json", ".lua", ".cfg", ".conf", ".service", ".sysusers", ".in",  ".svg"};
  return kinds.count(path.extension().string()) != 0 || path.filename() == "dev" ||
         path.filename() == ".clang-tidy" || path.filename() == "run";
}

std::vector<File> read_tree() {
  static const std::set<std::string> skipped{".git", "build", ".venv", ".deps", "__pycache__"};
  const fs::path root(LBD_SOURCE_DIR);
  std::vector<File> files;
  for (auto entry = fs::recursive_directory_iterator(root); entry != fs::end(entry); ++entry) {
    const fs::path path = entry->path();
    if (skipped.count(path.filename().string()) != 0) {
      if (entry->is_directory()) entry.disable_recursion_pending();
      continue;
    }
    const std::string name = fs::relative(path, root).generic_string();
    if (!entry->is_regular_file() || !is_text(path) || starts_with(name, "fuzz/corpus/")) continue;
    std::stringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    File file{name, text.str(), {}, split(text.str())};
    if (is_cpp(name)) file.code = blank_all_but_code(file.text);
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return a.path < b.path; });
  return files;
}

}  // namespace

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}
bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}
bool is_cpp(const std::string& path) { return ends_with(path, ".cc") || ends_with(path, ".h"); }
bool is_test(const std::string& path) {
  return starts_with(path, "tests/") || starts_with(path, "fuzz/") || starts_with(path, "bench/");
}
bool is_program(const std::string& path) {
  return is_cpp(path) || ends_with(path, ".py") || ends_with(path, ".sh") ||
         ends_with(path, ".c") || path == "dev";
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string blank_all_but_code(const std::string& text) { return Blanker(text).run(); }

const std::vector<File>& tree() {
  static const std::vector<File> files = read_tree();
  return files;
}

std::string at(const File& file, std::size_t line) {
  return file.path + ":" + std::to_string(line) + ": ";
}

const File* find(const std::string& path) {
  for (const File& file : tree()) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

}  // namespace lbd::tidy
