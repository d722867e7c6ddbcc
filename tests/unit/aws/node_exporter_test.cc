#include "scaler/node_exporter.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/fake_http.h"
#include "tests/support/manual_clock.h"

namespace lbd::scaler {
namespace {

using std::chrono::seconds;

std::string exposition(double idle, double user) {
  return fmt::format(
      "# TYPE node_cpu_seconds_total counter\n"
      "node_cpu_guest_seconds_total{{cpu=\"0\",mode=\"user\"}} 999\n"
      "node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} {}\n"
      "node_cpu_seconds_total{{cpu=\"0\",mode=\"iowait\"}} 1.5e+01\n"
      "node_cpu_seconds_total{{cpu=\"0\",mode=\"user\"}} {} 1700000000000\n"
      "node_load1 0.5\n",
      idle, user);
}

TEST(NodeExporter, ReadsIdleAndTotalOfAllCpus) {
  const std::optional<CpuTimes> times = parse_node_cpu(
      exposition(100, 50) + "node_cpu_seconds_total{mode=\"idle\",cpu=\"1\"} 10\r\n" +
      "node_cpu_seconds_total{cpu=\"1\",xmode=\"idle\",mode=\"system\"} 1\n");
  ASSERT_TRUE(times);
  EXPECT_DOUBLE_EQ(times->idle, 125);
  EXPECT_DOUBLE_EQ(times->total, 176);
}

TEST(NodeExporter, WhatHasNoCpuSecondsIsNothing) {
  for (const char* text :
       {"", "node_load1 3\n", "<html>", "node_cpu_seconds_total{mode=\"idle\"",
        "node_cpu_seconds_total{mode=\"idle\"} 1\n", "node_cpu_seconds_total{mode=\"user\"} 1\n",
        "node_cpu_seconds_total{mode=\"idle\"} NaN\nnode_cpu_seconds_total{mode=\"user\"} -1\n"}) {
    EXPECT_FALSE(parse_node_cpu(text)) << text;
  }
}

TEST(NodeExporter, TheRatioIsTheBusyShareBetweenTwoScrapes) {
  EXPECT_DOUBLE_EQ(*cpu_ratio({100, 200}, {101, 210}), 0.9);
  EXPECT_DOUBLE_EQ(*cpu_ratio({100, 200}, {99.9, 210}), 1.0);
  EXPECT_FALSE(cpu_ratio({100, 200}, {100, 200})) << "no time has passed";
  EXPECT_FALSE(cpu_ratio({100, 200}, {1, 2})) << "the instance has rebooted";
}

class ScraperTest : public ::testing::Test {
 protected:
  /// Moves time on, ticking each second as the control loop does.
  void pass(int count) {
    for (int i = 0; i < count; ++i) {
      scraper.tick();
      clock.advance(seconds(1));
    }
  }
  ManualClock clock;
  FakeHttp http{clock};
  std::vector<CpuSample> samples;
  NodeExporterScraper scraper{
      {.clock = clock,
       .http = http,
       .port = 9100,
       .path = "/metrics",
       .report = [this](const CpuSample& each) { samples.push_back(each); }}};
};

TEST_F(ScraperTest, ASecondScrapeGivesTheFirstFigure) {
  scraper.set_targets({{"i-1", "10.0.0.1"}, {"i-2", "fd00::2"}, {"i-3", ""}});
  int calls = 0;
  http.otherwise = [&](const net::HttpRequest&) {
    const double past =
        5.0 * static_cast<double>(calls++ / 2);  // NOLINT(bugprone-integer-division)
    return FakeHttp::answer(200, exposition(past * 0.2, past * 0.8));
  };
  pass(5);
  EXPECT_TRUE(samples.empty());
  pass(5);
  ASSERT_EQ(samples.size(), 2U);
  EXPECT_EQ(samples[0].instance, "i-1");
  EXPECT_NEAR(samples[0].ratio, 0.8, 1e-9);
  EXPECT_EQ(http.requests.at(0).url, "http://10.0.0.1:9100/metrics");
  EXPECT_EQ(http.requests.at(1).url, "http://[fd00::2]:9100/metrics");
  EXPECT_EQ(http.requests.at(0).timeout, seconds(2));
}

TEST_F(ScraperTest, OneThatRefusesIsAskedLessAndLessButNotForgotten) {
  scraper.set_targets({{"i-1", "10.0.0.1"}});
  pass(600);
  EXPECT_GE(http.requests.size(), 10U);
  EXPECT_LE(http.requests.size(), 14U);  // 10, 20, 40, then every 60 s
  http.requests.clear();
  http.otherwise = [&](const net::HttpRequest&) { return FakeHttp::answer(200, exposition(1, 1)); };
  pass(60);
  http.requests.clear();
  pass(50);
  EXPECT_EQ(http.requests.size(), 10U) << "it answers again, so each 5 s";
}

TEST_F(ScraperTest, AnAnswerForAnInstanceThatLeftIsDropped) {
  http.delay = seconds(1);
  http.otherwise = [&](const net::HttpRequest&) { return FakeHttp::answer(200, exposition(1, 1)); };
  scraper.set_targets({{"i-1", "10.0.0.1"}});
  scraper.tick();
  scraper.set_targets({});
  pass(3);
  EXPECT_TRUE(samples.empty());
  EXPECT_EQ(scraper.calls().running(), 0U);
}

TEST_F(ScraperTest, ASlowTargetIsNotAskedTwiceAtOnce) {
  http.delay = seconds(20);
  scraper.set_targets({{"i-1", "10.0.0.1"}});
  pass(15);
  EXPECT_EQ(http.requests.size(), 1U);
  scraper.stop();
  pass(10);
  EXPECT_EQ(scraper.calls().running(), 0U);
}

}  // namespace
}  // namespace lbd::scaler
