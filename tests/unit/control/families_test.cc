#include "lbd/control/families.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lbd::control {
namespace {

TEST(Families, SeriesWithTheSameLabelsAreAddedUp) {
  Families families;
  families.counter("a_total", "Help.", {{"x", "1"}}, 2);
  families.counter("a_total", "Help.", {{"x", "1"}}, 3);
  families.counter("a_total", "Help.", {{"x", "2"}}, 4);
  const auto out = families.take();
  ASSERT_EQ(out.size(), 1u);
  ASSERT_EQ(out[0].metric.size(), 2u);
  EXPECT_EQ(out[0].metric[0].counter.value, 5);
  EXPECT_EQ(out[0].metric[1].counter.value, 4);
  EXPECT_TRUE(families.take().empty());
}

TEST(Families, AHistogramIsCumulativeAndEndsAtInfinity) {
  LatencyHistogram one;
  one.record(400);
  one.record(3'000);
  LatencyHistogram two;
  two.record(3'000);
  two.record(60'000'000);
  Families families;
  for (const LatencyHistogram* each : {&one, &two}) {
    HistogramSum sum;
    sum.add(*each);
    families.histogram("d_seconds", "Help.", {}, sum);
  }
  const auto out = families.take();
  const auto& histogram = out.at(0).metric.at(0).histogram;
  ASSERT_EQ(histogram.bucket.size(), LatencyHistogram::kBuckets);
  EXPECT_EQ(histogram.bucket[0].cumulative_count, 1u);
  EXPECT_DOUBLE_EQ(histogram.bucket[0].upper_bound, 0.0005);
  EXPECT_EQ(histogram.bucket[3].cumulative_count, 3u);
  EXPECT_EQ(histogram.bucket.back().cumulative_count, 4u);
  EXPECT_TRUE(std::isinf(histogram.bucket.back().upper_bound));
  EXPECT_EQ(histogram.sample_count, 4u);
  EXPECT_DOUBLE_EQ(histogram.sample_sum, 60.0064);
}

}  // namespace
}  // namespace lbd::control
