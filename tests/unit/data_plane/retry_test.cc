#include "lbd/proxy/retry.h"

#include <gtest/gtest.h>

namespace lbd::proxy {
namespace {

using http::Method;

constexpr Error kRefused{Fault::connect_failed, Side::upstream, true};
constexpr Error kReset{Fault::target_reset, Side::upstream, false};
constexpr Error kGarbage{Fault::bad_response, Side::upstream, false};
constexpr Error kSlow{Fault::target_timeout, Side::upstream, false};
constexpr Error kLeft{Fault::client_gone, Side::client, false};
constexpr Error kNobody{Fault::no_healthy_target, Side::self, false};

struct Row {
  const char* name;
  RetryQuestion question;
  RetryAnswer answer;
};

TEST(MayRetry, TheWholeTable) {
  const Row rows[] = {
      {"refused, GET", {.error = kRefused}, RetryAnswer::yes},
      {"refused, POST: nothing was sent",
       {.error = kRefused, .method = Method::post},
       RetryAnswer::yes},
      {"reset, GET", {.error = kReset}, RetryAnswer::yes},
      {"reset, PUT", {.error = kReset, .method = Method::put}, RetryAnswer::yes},
      {"reset, DELETE", {.error = kReset, .method = Method::delete_}, RetryAnswer::yes},
      {"reset, QUERY", {.error = kReset, .method = Method::query}, RetryAnswer::yes},
      {"reset, POST", {.error = kReset, .method = Method::post}, RetryAnswer::no},
      {"reset, PATCH", {.error = kReset, .method = Method::patch}, RetryAnswer::no},
      {"reset, unknown method", {.error = kReset, .method = Method::other}, RetryAnswer::no},
      {"garbage, GET", {.error = kGarbage}, RetryAnswer::yes},
      {"garbage, POST", {.error = kGarbage, .method = Method::post}, RetryAnswer::no},
      {"too slow: the next would get the same load", {.error = kSlow}, RetryAnswer::no},
      {"the client left", {.error = kLeft}, RetryAnswer::no},
      {"no target", {.error = kNobody}, RetryAnswer::no},
      {"the body is gone", {.error = kRefused, .body_replayable = false}, RetryAnswer::no},
      {"the response began", {.error = kReset, .response_started = true}, RetryAnswer::no},
      {"the last attempt", {.error = kRefused, .attempts_made = 3}, RetryAnswer::no},
      {"one before the last", {.error = kRefused, .attempts_made = 2}, RetryAnswer::yes},
  };
  const config::Retries settings;
  for (const Row& row : rows) EXPECT_EQ(may_retry(row.question, settings), row.answer) << row.name;
}

TEST(MayRetry, RetriesInFlightAreHeldToTheBudget) {
  config::Retries settings;
  settings.budget_min = 3;
  settings.budget_ratio = 0.2;
  const auto ask = [&](std::uint32_t in_flight, std::uint32_t retrying) {
    return may_retry({.error = kReset, .group_in_flight = in_flight, .group_retrying = retrying},
                     settings);
  };
  EXPECT_EQ(ask(1, 2), RetryAnswer::yes);
  EXPECT_EQ(ask(1, 3), RetryAnswer::over_budget);
  EXPECT_EQ(ask(100, 19), RetryAnswer::yes);
  EXPECT_EQ(ask(100, 20), RetryAnswer::over_budget);
}

TEST(MayRetry, AttemptsOfOneMeanNoRetryAtAll) {
  config::Retries settings;
  settings.attempts = 1;
  EXPECT_EQ(may_retry({.error = kRefused}, settings), RetryAnswer::no);
}

}  // namespace
}  // namespace lbd::proxy
