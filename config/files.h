// The seam between the loader and the machine: files, globs and the environment.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/result.h"

namespace lbd::config {

/// What a glob found.
struct Matches {
  std::vector<std::string> paths;
  std::string missing;  // the folder that would hold them, when there is none of that name
};

/// What the loader asks of the machine. Thread: whichever calls load(); calls may block on disk.
class FileReader {
 public:
  virtual ~FileReader() = default;
  /// The first `bytes_max` + 1 bytes of a file at most, so that a caller sees when it is longer.
  /// Fails with a reason that does not name the file ("No such file or directory").
  [[nodiscard]] virtual Outcome<std::string> read(const std::string& path,
                                                  std::size_t bytes_max) const = 0;
  /// Paths that match a glob (`*`, `?`, `[…]`, `\\` before one of them to mean itself), relative to
  /// `folder` (empty: the working directory), which is meant literally; in lexical order. As in a
  /// shell, `*` matches neither '/' nor a leading dot. Fails with a sentence that names what could
  /// not be read: that is never taken for "no match".
  [[nodiscard]] virtual Outcome<Matches> glob(const std::string& folder,
                                              const std::string& pattern) const = 0;
  /// A variable of the environment, absent when it is not set.
  [[nodiscard]] virtual std::optional<std::string> environment(const std::string& name) const = 0;
};

/// True for what glob() expands rather than takes for a name.
[[nodiscard]] bool is_glob(std::string_view pattern);

/// The real machine.
class DiskReader final : public FileReader {
 public:
  [[nodiscard]] Outcome<std::string> read(const std::string& path,
                                          std::size_t bytes_max) const override;
  [[nodiscard]] Outcome<Matches> glob(const std::string& folder,
                                      const std::string& pattern) const override;
  [[nodiscard]] std::optional<std::string> environment(const std::string& name) const override;
};

}  // namespace lbd::config
