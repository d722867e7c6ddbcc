// The seam between the loader and the machine: files, globs and the environment.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "lbd/base/result.h"

namespace lbd::config {

/// What the loader asks of the machine. Thread: whichever calls load(); calls may block on disk.
class FileReader {
 public:
  virtual ~FileReader() = default;
  /// The first `bytes_max` + 1 bytes of a file at most, so that a caller sees when it is longer.
  /// Fails with a reason that does not name the file ("No such file or directory").
  [[nodiscard]] virtual Outcome<std::string> read(const std::string& path,
                                                  std::size_t bytes_max) const = 0;
  /// Paths that match a glob (`*`, `?`, `[…]`), in lexical order; none is not an error.
  [[nodiscard]] virtual std::vector<std::string> glob(const std::string& pattern) const = 0;
  /// A variable of the environment, absent when it is not set.
  [[nodiscard]] virtual std::optional<std::string> environment(const std::string& name) const = 0;
};

/// The real machine.
class DiskReader final : public FileReader {
 public:
  [[nodiscard]] Outcome<std::string> read(const std::string& path,
                                          std::size_t bytes_max) const override;
  [[nodiscard]] std::vector<std::string> glob(const std::string& pattern) const override;
  [[nodiscard]] std::optional<std::string> environment(const std::string& name) const override;
};

}  // namespace lbd::config
