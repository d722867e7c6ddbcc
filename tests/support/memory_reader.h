// Files and environment variables in memory, for tests and fuzzing.
#pragma once

#include <fnmatch.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/files.h"

namespace lbd::config {

class MemoryReader final : public FileReader {
 public:
  MemoryReader() = default;
  explicit MemoryReader(std::map<std::string, std::string> content) : files(std::move(content)) {}

  [[nodiscard]] Outcome<std::string> read(const std::string& path,
                                          std::size_t bytes_max) const override {
    const auto found = files.find(path);
    if (found == files.end()) return failure("No such file or directory");
    return {boost::system::in_place_value, found->second.substr(0, bytes_max + 1)};
  }
  [[nodiscard]] Outcome<Matches> glob(const std::string& folder,
                                      const std::string& pattern) const override {
    Matches found;
    for (const auto& [path, text] : files) {
      const std::string prefix = folder.empty() ? "" : folder + "/";
      if (!path.starts_with(prefix)) continue;
      const std::string rest = path.substr(prefix.size());
      if (::fnmatch(pattern.c_str(), rest.c_str(), FNM_PATHNAME) == 0) found.paths.push_back(path);
    }
    return {boost::system::in_place_value, std::move(found)};
  }
  [[nodiscard]] std::optional<std::string> environment(const std::string& name) const override {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  }

  std::map<std::string, std::string> files;
  std::map<std::string, std::string> variables;
};

}  // namespace lbd::config
