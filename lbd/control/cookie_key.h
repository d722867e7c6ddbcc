// The key that signs sticky cookies (docs/adr/0011).
#pragma once

#include <string>

#include "lbd/base/result.h"

namespace lbd::control {

/// Reads `state_dir`/cookie.key, and makes it first where there is none: 32 random bytes in
/// base64url, mode 0600. Fails with a sentence when neither works. Blocks on the disk.
[[nodiscard]] Outcome<std::string> kept_cookie_key(const std::string& state_dir);

/// For this run of the process only.
[[nodiscard]] std::string random_cookie_key();

}  // namespace lbd::control
