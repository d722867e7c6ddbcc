// Asks the running daemon over its unix socket. Blocking; for the command line only.
#pragma once

#include <string>

#include "lbd/base/result.h"

namespace lbd::cli {

struct Answer {
  int status = 0;
  std::string body;
};

/// `target` as in HTTP ("/v1/status"). Fails when nobody answers on the socket within
/// `timeout_seconds`; `denied` is set when the socket may not be opened by this user.
struct AskFailure {
  std::string message;
  bool denied = false;
};
[[nodiscard]] Result<Answer, AskFailure> ask(const std::string& socket, const std::string& method,
                                             const std::string& target, int timeout_seconds);

/// Percent-encodes a query value.
[[nodiscard]] std::string encoded(const std::string& text);

}  // namespace lbd::cli
