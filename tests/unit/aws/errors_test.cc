#include "scaler/aws/errors.h"

#include <gtest/gtest.h>

#include "scaler/aws/retry.h"

namespace lbd::aws {
namespace {

Verdict judge(int status, const std::string& code) { return classify({status, code, "", true}); }

// It arrives as HTTP 500: a client that looks at the status first drains the account's bucket.
TEST(AwsErrors, CapacityErrorsAreNeverRetriedWhateverTheirStatus) {
  for (const char* code :
       {"InsufficientInstanceCapacity", "InsufficientHostCapacity", "Unsupported",
        "InsufficientReservedInstanceCapacity", "InsufficientFreeAddressesInSubnet",
        "SpotMaxPriceTooLow", "UnfulfillableCapacity", "ReservationCapacityExceeded"}) {
    for (const int status : {400, 500, 503}) {
      EXPECT_EQ(judge(status, code).error, CallError::capacity) << code;
      EXPECT_EQ(judge(status, code).remedy, Remedy::none) << code;
      EXPECT_FALSE(judge(status, code).may_have_happened) << code;
    }
  }
}

TEST(AwsErrors, AccountLimitsHoldForAllZones) {
  for (const char* code : {"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxFleetCountExceeded",
                           "MaxSpotInstanceCountExceeded"}) {
    EXPECT_EQ(judge(400, code).error, CallError::account_limit) << code;
    EXPECT_EQ(judge(400, code).remedy, Remedy::none) << code;
  }
}

TEST(AwsErrors, ThrottlingIsKnownByCodeAnd429AndProvesNothingHappened) {
  for (const Verdict verdict : {judge(503, "RequestLimitExceeded"), judge(400, "Throttling"),
                                judge(400, "ThrottlingException"), judge(429, "")}) {
    EXPECT_EQ(verdict.error, CallError::throttled);
    EXPECT_EQ(verdict.remedy, Remedy::slow_down);
    EXPECT_FALSE(verdict.may_have_happened);
  }
}

TEST(AwsErrors, CredentialAndClockErrorsAreRenewed) {
  for (const char* code : {"ExpiredToken", "RequestExpired", "AuthFailure", "SignatureDoesNotMatch",
                           "RequestTimeTooSkewed", "InvalidClientTokenId"}) {
    EXPECT_EQ(judge(403, code).error, CallError::denied) << code;
    EXPECT_EQ(judge(403, code).remedy, Remedy::renew) << code;
  }
  EXPECT_EQ(judge(403, "UnauthorizedOperation").remedy, Remedy::none);
  EXPECT_EQ(judge(403, "UnauthorizedOperation").error, CallError::denied);
}

TEST(AwsErrors, ServerErrorsAndLostRepliesMayHaveHappened) {
  for (const Verdict verdict : {judge(500, "InternalError"), judge(503, "ServiceUnavailable"),
                                judge(502, ""), judge(200, "BadReply"), judge(0, "NoReply")}) {
    EXPECT_EQ(verdict.error, CallError::transient);
    EXPECT_EQ(verdict.remedy, Remedy::retry);
    EXPECT_TRUE(verdict.may_have_happened);
  }
}

TEST(AwsErrors, ARequestThatWasNeverSentCannotHaveHappened) {
  const Verdict verdict = classify({0, "ConnectionFailed", "", false});
  EXPECT_EQ(verdict.remedy, Remedy::retry);
  EXPECT_FALSE(verdict.may_have_happened);
}

TEST(AwsErrors, AnyOther4xxIsOurMistake) {
  EXPECT_EQ(judge(400, "InvalidLaunchTemplateName.NotFoundException").error, CallError::invalid);
  EXPECT_EQ(judge(400, "InvalidInstanceID.NotFound").error, CallError::not_found);
  EXPECT_EQ(judge(404, "").error, CallError::invalid);
  EXPECT_EQ(judge(403, "").error, CallError::denied);
}

TEST(Retry, BackoffStaysWithinItsBounds) {
  Rng rng(7);
  for (int retry = 0; retry < 12; ++retry) {
    for (int i = 0; i < 200; ++i) {
      const auto cap = std::chrono::duration<double>(std::min(0.05 * (1 << retry), 20.0));
      EXPECT_LE(backoff({retry, false, {}}, rng), cap);
      EXPECT_LE(backoff({retry, true, {}}, rng), std::chrono::seconds(20));
    }
  }
}

TEST(Retry, TheServersHintIsAFloorOfAtMostFiveSecondsMore) {
  Rng rng(7);
  const Duration hinted = backoff({0, false, std::chrono::seconds(2)}, rng);
  EXPECT_EQ(hinted, Duration(std::chrono::seconds(2)));
  const Duration capped = backoff({0, false, std::chrono::hours(1)}, rng);
  EXPECT_GE(capped, std::chrono::seconds(5));
  EXPECT_LE(capped, std::chrono::milliseconds(5050));
}

TEST(Retry, TheQuotaRunsOutAndComesBackWithSuccess) {
  RetryQuota quota;
  int retries = 0;
  while (quota.take(false)) ++retries;
  EXPECT_EQ(retries, 35);  // 500 / 14
  EXPECT_FALSE(quota.take(false));
  quota.give(14);
  EXPECT_TRUE(quota.take(false));
  quota.give(10'000);
  EXPECT_EQ(quota.left(), RetryQuota::kCapacity);
}

TEST(Retry, FiveLaunchesAtOnceThenTwoASecond) {
  TokenBucket bucket(5, 2);
  TimePoint now{std::chrono::hours(1)};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(bucket.reserve(now), Duration::zero());
  EXPECT_EQ(bucket.reserve(now), std::chrono::milliseconds(500));
  EXPECT_EQ(bucket.reserve(now), std::chrono::seconds(1));
  now += std::chrono::seconds(10);
  EXPECT_EQ(bucket.reserve(now), Duration::zero());
}

}  // namespace
}  // namespace lbd::aws
