#include "lbd/proxy/retry.h"

#include <gtest/gtest.h>

#include "lbd/upstream/retry_budget.h"

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

TEST(MayRetry, OnlyWhatMayHaveReachedATargetNeedsTheBudget) {
  const config::Retries settings;
  EXPECT_EQ(may_retry({.error = kReset, .in_budget = false}, settings), RetryAnswer::over_budget);
  EXPECT_EQ(may_retry({.error = kRefused, .in_budget = false}, settings), RetryAnswer::yes);
  EXPECT_EQ(may_retry({.error = kReset, .method = Method::post, .in_budget = false}, settings),
            RetryAnswer::no);
}

TEST(MayRetry, AttemptsOfOneMeanNoRetryAtAll) {
  config::Retries settings;
  settings.attempts = 1;
  EXPECT_EQ(may_retry({.error = kRefused}, settings), RetryAnswer::no);
}

class Budget : public testing::Test {
 public:
  /// How many of `wanted` retries are allowed now.
  int retries(int wanted) {
    int allowed = 0;
    for (; allowed < wanted && budget.allows(load, settings, now); ++allowed) budget.spend();
    return allowed;
  }

  upstream::RetryBudget budget;
  upstream::RetryBudget::Load load{.requests = 1000, .in_flight = 1};
  config::Retries settings{.budget_ratio = 0.2, .budget_min = 3};
  TimePoint now{std::chrono::hours(1)};
};

TEST_F(Budget, AllThatIsInFlightMayBeRetriedOnce) {
  load.in_flight = 400;
  EXPECT_EQ(retries(1000), 400);
}

TEST_F(Budget, AFewAreAllowedWithoutTraffic) { EXPECT_EQ(retries(1000), 3); }

TEST_F(Budget, TimePaysTheLeastRateBack) {
  retries(1000);
  now += std::chrono::seconds(1);
  EXPECT_EQ(retries(1000), 3);
  now += std::chrono::hours(1);
  EXPECT_EQ(retries(1000), 3);
}

TEST_F(Budget, WhileAllFailsItIsTheShareOfTheRequests) {
  settings.budget_min = 0;
  load.in_flight = 50;
  retries(1000);
  int allowed = 0;
  for (int i = 0; i < 10'000; ++i) {
    ++load.requests;
    allowed += retries(1);
  }
  EXPECT_NEAR(allowed, 2000, 1);
}

TEST_F(Budget, ARatioOfZeroLeavesTheLeastRateAlone) {
  settings.budget_ratio = 0;
  load.in_flight = 400;
  EXPECT_EQ(retries(1000), 3);
  load.requests += 100'000;
  EXPECT_EQ(retries(1000), 0);
  settings.budget_min = 0;
  now += std::chrono::hours(1);
  EXPECT_EQ(retries(1000), 0);
}

}  // namespace
}  // namespace lbd::proxy
