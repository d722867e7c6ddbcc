// Reads a configuration and all that it includes into one tree.
#pragma once

#include <string>
#include <vector>

#include "config/files.h"
#include "config/problem.h"
#include "config/tree.h"

namespace lbd::config {

inline constexpr std::size_t kFilesMax = 256;

struct Assembled {
  ValuePtr root;                   // null when the main file is not usable
  std::vector<std::string> files;  // in the order read
  Sources sources;
};

/// Reads `path`, then its `include:` entries (globs in lexical order, relative to the file that
/// names them), depth first. Sections of names are merged; the same name in two files is an error
/// that names both places.
[[nodiscard]] Assembled assemble(const std::string& path, const FileReader& reader,
                                 std::vector<Problem>& problems);

}  // namespace lbd::config
