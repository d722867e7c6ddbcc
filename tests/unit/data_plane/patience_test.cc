#include "lbd/proxy/patience.h"

#include <gtest/gtest.h>

namespace lbd::proxy {
namespace {

using namespace std::chrono_literals;

TEST(BodyPatience, IsTheIdleLimitWithoutARate) {
  EXPECT_EQ(body_patience(30s, 0, {0, 24h}), Duration(30s));
}

TEST(BodyPatience, IsTheIdleLimitAsLongAsTheRateHolds) {
  EXPECT_EQ(body_patience(30s, 240, {0, 0s}), Duration(30s));
  EXPECT_EQ(body_patience(30s, 240, {2400, 10s}), Duration(30s));
  EXPECT_EQ(body_patience(30s, 240, {1ULL << 40, 1h}), Duration(30s));
}

TEST(BodyPatience, ShrinksToNothingWhenBytesAreTooFew) {
  EXPECT_EQ(body_patience(30s, 240, {0, 20s}), Duration(10s));
  EXPECT_EQ(body_patience(30s, 240, {2400, 35s}), Duration(5s));
  EXPECT_EQ(body_patience(30s, 240, {240, 40s}), Duration::zero());
}

TEST(BodyPatience, HoldsForTheLargestNumbers) {
  EXPECT_EQ(body_patience(30s, 1, {UINT64_MAX, 1h}), Duration(30s));
  EXPECT_EQ(body_patience(30s, UINT32_MAX, {UINT64_MAX, 1h}), Duration(30s));
}

}  // namespace
}  // namespace lbd::proxy
