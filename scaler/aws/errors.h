// What an AWS answer means for the caller: the error table. Pure.
#pragma once

#include <string>
#include <string_view>

#include "scaler/provider.h"

namespace lbd::aws {

using scaler::CallError;

struct ErrorFacts {
  int status = 0;  // 0: no answer
  std::string code;
  std::string message;
  bool sent = true;  // with status 0: the request may have reached AWS
};

/// What the client should do about it.
enum class Remedy : std::uint8_t {
  none,       // retrying changes nothing
  retry,      // later, the same
  slow_down,  // later, and less
  renew,      // new credentials, or a corrected clock, then at once
};

struct Verdict {
  CallError error = CallError::none;
  Remedy remedy = Remedy::none;
  /// The call may have had its effect although it failed.
  bool may_have_happened = false;
};

/// The code goes before the status: capacity errors arrive as HTTP 500, throttling as 503.
[[nodiscard]] Verdict classify(const ErrorFacts& facts);

}  // namespace lbd::aws
