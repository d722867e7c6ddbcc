// May a failed attempt be made again? Pure.
#pragma once

#include <cstdint>

#include "config/config.h"
#include "lbd/base/result.h"
#include "lbd/http/message.h"

namespace lbd::proxy {

struct RetryQuestion {
  Error error;
  http::Method method = http::Method::get;
  bool body_replayable = true;    // nothing of it is gone from memory
  bool response_started = false;  // a byte of a response head went to the client
  std::uint32_t attempts_made = 1;
  bool in_budget = true;  // see upstream::RetryBudget
};

enum class RetryAnswer : std::uint8_t { no, over_budget, yes };

/// A connect failure may always be tried elsewhere: nothing was sent. Anything later only if the
/// method is idempotent and the budget has room, and never a response that began. A target that
/// took too long is not retried: the next would be given the same load.
[[nodiscard]] inline RetryAnswer may_retry(const RetryQuestion& question,
                                           const config::Retries& settings) noexcept {
  if (question.response_started || !question.body_replayable) return RetryAnswer::no;
  if (question.attempts_made >= settings.attempts) return RetryAnswer::no;
  if (question.error.side != Side::upstream) return RetryAnswer::no;
  if (question.error.retry_safe) return RetryAnswer::yes;
  const bool broke = question.error.fault == Fault::target_reset ||
                     question.error.fault == Fault::bad_response ||
                     question.error.fault == Fault::target_down;
  if (!broke || !http::is_idempotent(question.method)) return RetryAnswer::no;
  return question.in_budget ? RetryAnswer::yes : RetryAnswer::over_budget;
}

}  // namespace lbd::proxy
