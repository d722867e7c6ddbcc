#include "config/files.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

namespace lbd::config {
namespace {

namespace fs = std::filesystem;

/// Expands a glob folder by folder. glob(3) is not used: it takes what it may not look at for
/// something that is not there.
struct Expansion {
  std::vector<fs::path> parts;  // of the pattern
  Matches found = {};
  std::string failed = {};

  /// The parts from `next` on, below `base`; `sure`: no wildcard chose `base`.
  void expand(const fs::path& base, std::size_t next, bool sure) {
    if (!failed.empty()) return;
    if (next == parts.size()) return add(base);
    const fs::path& part = parts[next];
    if (!is_glob(part.string())) return expand(base / part, next + 1, sure);
    std::error_code error;
    fs::directory_iterator entry(base.empty() ? "." : base, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      const fs::path name = entry->path().filename();
      if (::fnmatch(part.c_str(), name.c_str(), FNM_PERIOD) == 0) {
        expand(base / name, next + 1, false);
      }
    }
    const bool absent = error == std::errc::no_such_file_or_directory;
    if (absent && sure) found.missing = base.lexically_normal().string();
    if (error && !absent && (sure || error != std::errc::not_a_directory)) fail(base, error);
  }

 private:
  void add(const fs::path& path) {
    std::error_code error;
    const auto status = fs::symlink_status(path, error);
    if (fs::exists(status)) return found.paths.push_back(path.lexically_normal().string());
    if (status.type() != fs::file_type::not_found) fail(path, error);
  }

  void fail(const fs::path& path, const std::error_code& error) {
    const std::string name = path.empty() ? "." : path.lexically_normal().string();
    failed = fmt::format("cannot read '{}': {}", name, std::strerror(error.value()));
  }
};

}  // namespace

bool is_glob(std::string_view pattern) {
  return pattern.find_first_of("*?[") != std::string_view::npos;
}

Outcome<std::string> DiskReader::read(const std::string& path, std::size_t bytes_max) const {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return failure(std::strerror(errno));
  if (S_ISDIR(status.st_mode)) return failure("it is a directory");
  // A FIFO or terminal would block for ever; /dev/null and regular files do not.
  if (!S_ISREG(status.st_mode)) return failure("it is not a regular file");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"),
                                                             &std::fclose);
  if (!file) return failure(std::strerror(errno));
  std::string text(bytes_max + 1, '\0');
  const auto count = std::fread(text.data(), 1, text.size(), file.get());
  if (std::ferror(file.get()) != 0) return failure("it could not be read to its end");
  text.resize(count);
  return {boost::system::in_place_value, std::move(text)};
}

Outcome<Matches> DiskReader::glob(const std::string& folder, const std::string& pattern) const {
  const fs::path wanted(pattern);
  Expansion expansion{{wanted.begin(), wanted.end()}};
  expansion.expand(folder, 0, true);
  if (!expansion.failed.empty()) return failure(std::move(expansion.failed));
  auto& paths = expansion.found.paths;
  std::sort(paths.begin(), paths.end());
  return {boost::system::in_place_value, std::move(expansion.found)};
}

std::optional<std::string> DiskReader::environment(const std::string& name) const {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

}  // namespace lbd::config
