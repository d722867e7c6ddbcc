#include "lbd/base/histogram.h"

#include <gtest/gtest.h>

namespace lbd {
namespace {

TEST(LatencyHistogram, ABoundBelongsToItsOwnBucketAndOneMoreToTheNext) {
  for (std::size_t i = 0; i < kLatencyBoundsUs.size(); ++i) {
    LatencyHistogram histogram;
    histogram.record(kLatencyBoundsUs[i]);
    histogram.record(kLatencyBoundsUs[i] + 1ULL);
    EXPECT_EQ(histogram.bucket(i), 1u) << i;
    EXPECT_EQ(histogram.bucket(i + 1), 1u) << i;
    EXPECT_EQ(histogram.sum_us(), 2ULL * kLatencyBoundsUs[i] + 1);
  }
}

TEST(LatencyHistogram, NothingIsTooShortOrTooLong) {
  LatencyHistogram histogram;
  histogram.record(0);
  histogram.record(3'600'000'000ULL);
  EXPECT_EQ(histogram.bucket(0), 1u);
  EXPECT_EQ(histogram.bucket(LatencyHistogram::kBuckets - 1), 1u);
}

}  // namespace
}  // namespace lbd
