#include "config/files.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace lbd::config {

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

std::vector<std::string> DiskReader::glob(const std::string& pattern) const {
  glob_t found = {};
  std::vector<std::string> paths;
  if (::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  ::globfree(&found);
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::optional<std::string> DiskReader::environment(const std::string& name) const {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

}  // namespace lbd::config
