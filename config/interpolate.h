// ${env:NAME} and ${file:/path} inside values; `$${` is a literal `${`.
#pragma once

#include <string>
#include <string_view>

#include "config/files.h"
#include "lbd/base/result.h"

namespace lbd::config {

struct Interpolated {
  std::string text;
  bool secret = false;  // something was put in
};

/// True when the text holds `${`, that is, when interpolate() would change or refuse it.
[[nodiscard]] bool wants_interpolation(std::string_view text);

/// Fails with a sentence that names the variable or path, never a content. Relative paths are taken
/// from the folder of `file`. A file's trailing newline is cut.
[[nodiscard]] Outcome<Interpolated> interpolate(std::string_view text, const std::string& file,
                                                const FileReader& reader);

/// `path` as seen from the folder of `file`; absolute paths stay.
[[nodiscard]] std::string beside(const std::string& file, const std::string& path);

}  // namespace lbd::config
