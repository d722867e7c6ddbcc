// CPU figures of CloudWatch: in which period they are asked, what they are the mean of, and what is
// kept of an answer in parts.
#include "tests/unit/aws/ec2_cloud.h"

namespace lbd::scaler::ec2 {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

struct Row {
  minutes ago;  // since its period began, counted from the minute that runs
  double percent;
};

class Ec2CpuTest : public Ec2Test {
 protected:
  [[nodiscard]] WallTime minute() const { return std::chrono::floor<minutes>(clock.wall()); }
  [[nodiscard]] std::string member(int query, const std::vector<Row>& rows,
                                   const std::string& status = "Complete") const {
    std::string times;
    std::string values;
    for (const Row& each : rows) {
      times += "<member>" + aws::iso_time(minute() - each.ago) + "</member>";
      values += fmt::format("<member>{}</member>", each.percent);
    }
    return fmt::format(
        "<member><Id>q{}</Id><StatusCode>{}</StatusCode><Timestamps>{}</Timestamps><Values>{}"
        "</Values></member>",
        query, status, times, values);
  }
  static std::string metric_reply(const std::string& rows, const std::string& next = "") {
    return "<GetMetricDataResponse><GetMetricDataResult><MetricDataResults>" + rows +
           "</MetricDataResults><NextToken>" + next +
           "</NextToken></GetMetricDataResult></GetMetricDataResponse>";
  }
  /// What describe says of the monitoring of each.
  void describe_monitoring(const std::vector<std::pair<std::string, std::string>>& states) {
    std::string items;
    for (const auto& [id, state] : states) {
      items += instance_xml(id, "pending", "<monitoring><state>" + state + "</state></monitoring>");
    }
    push(200, describe_reply(items));
    ASSERT_FALSE(describe().failure);
    http.requests.clear();
  }
  CpuReply cpu(std::vector<std::string> ids) {
    return run_task(clock, provider->cpu(std::move(ids)));
  }
  [[nodiscard]] std::string period(int query) const {
    return parameter(0, fmt::format("MetricDataQueries.member.{}.MetricStat.Period", query + 1));
  }
};

TEST_F(Ec2CpuTest, EachInstanceIsAskedInThePeriodEc2MeasuresItIn) {
  start();
  describe_monitoring({{"i-1", "disabled"}, {"i-2", "enabled"}, {"i-3", "pending"}});
  push(200, metric_reply(member(0, {{minutes(6), 10}}) + member(1, {{minutes(2), 92.5}})));
  const CpuReply reply = cpu({"i-1", "i-2", "i-3", "i-4"});
  EXPECT_EQ(period(0), "300");
  EXPECT_EQ(period(1), "60");
  EXPECT_EQ(period(2), "300") << "what is not known to be detailed is asked in what always works";
  EXPECT_EQ(period(3), "300");
  ASSERT_EQ(reply.samples.size(), 2U);
  EXPECT_EQ(reply.samples[0].instance, "i-1");
  EXPECT_EQ(reply.samples[0].span, minutes(5));
  EXPECT_EQ(clock.now() - reply.samples[0].at, clock.wall() - (minute() - minutes(1)));
  EXPECT_EQ(reply.samples[1].instance, "i-2");
  EXPECT_DOUBLE_EQ(reply.samples[1].ratio, 0.925);
  EXPECT_EQ(reply.samples[1].span, minutes(1));
  EXPECT_EQ(clock.now() - reply.samples[1].at, clock.wall() - (minute() - minutes(1)));
}

TEST_F(Ec2CpuTest, CloudWatchIsAskedOnceAMinuteByIdInWholePeriods) {
  start();
  push(200, metric_reply(""));
  const std::vector<std::string> ids{"i-1", "i-2"};
  EXPECT_TRUE(cpu(ids).samples.empty());
  EXPECT_EQ(http.requests[0].url, "https://monitoring.us-east-1.amazonaws.com/");
  EXPECT_EQ(parameter(0, "MetricDataQueries.member.2.MetricStat.Metric.Dimensions.member.1.Value"),
            "i-2");
  const auto from = aws::parse_iso_time(parameter(0, "StartTime"));
  ASSERT_TRUE(from);
  EXPECT_EQ(from->time_since_epoch() % minutes(5), WallTime::duration::zero());
  EXPECT_GE(clock.wall() - *from, minutes(20));
  EXPECT_TRUE(cpu(ids).samples.empty());
  EXPECT_EQ(http.requests.size(), 1U);
}

TEST_F(Ec2CpuTest, AllFiguresComeOldestFirstAndThoseOfUnknownQueriesNot) {
  start();
  describe_monitoring({{"i-1", "enabled"}});
  push(200, metric_reply(member(0, {{minutes(2), 30}, {minutes(3), 20}, {minutes(4), -1}}) +
                         member(9, {{minutes(2), 99}})));
  const CpuReply reply = cpu({"i-1"});
  ASSERT_EQ(reply.samples.size(), 2U);
  EXPECT_DOUBLE_EQ(reply.samples[0].ratio, 0.2);
  EXPECT_DOUBLE_EQ(reply.samples[1].ratio, 0.3);
  EXPECT_EQ(reply.samples[1].at - reply.samples[0].at, minutes(1));
}

TEST_F(Ec2CpuTest, TheMeanOfAPartOfFiveMinutesIsNone) {
  start();
  push(200, metric_reply(member(0, {{minutes(4), 80}, {minutes(9), 20}})));
  const CpuReply reply = cpu({"i-1"});
  ASSERT_EQ(reply.samples.size(), 1U);
  EXPECT_DOUBLE_EQ(reply.samples[0].ratio, 0.2);
}

TEST_F(Ec2CpuTest, AFigureIsOfTheSameTimeAtEveryPoll) {
  start();
  push(200, metric_reply(member(0, {{minutes(9), 20}})));
  const CpuReply first = cpu({"i-1"});
  const std::string again = metric_reply(member(0, {{minutes(9), 20}}));
  clock.advance(seconds(70));
  clock.set_wall_offset(clock.wall().time_since_epoch() - clock.now().time_since_epoch() +
                        seconds(2));  // NTP at work
  push(200, again);
  const CpuReply second = cpu({"i-1"});
  ASSERT_EQ(second.samples.size(), 1U);
  EXPECT_EQ(second.samples[0].at, first.samples.at(0).at);
}

TEST_F(Ec2CpuTest, AnAnswerInPartsIsReadToItsEnd) {
  start();
  push(200, metric_reply(member(0, {{minutes(9), 10}}, "PartialData"), "page2"));
  push(200, metric_reply(member(0, {{minutes(14), 20}}) + member(1, {{minutes(9), 30}})));
  const CpuReply reply = cpu({"i-1", "i-2"});
  EXPECT_FALSE(reply.failure);
  EXPECT_EQ(parameter(1, "NextToken"), "page2");
  EXPECT_EQ(parameter(1, "StartTime"), parameter(0, "StartTime"));
  ASSERT_EQ(reply.samples.size(), 3U);
  EXPECT_EQ(reply.samples[2].instance, "i-2");
}

TEST_F(Ec2CpuTest, PagesWithoutEndAreLeftAfterTen) {
  start();
  for (int i = 0; i < 12; ++i) push(200, metric_reply(member(0, {{minutes(9), 10}}), "more"));
  EXPECT_FALSE(cpu({"i-1"}).failure);
  EXPECT_EQ(http.requests.size(), 10U);
  ASSERT_FALSE(log.lines.empty());
  EXPECT_NE(log.lines.back().find("too many pages"), std::string::npos) << log.lines.back();
}

TEST_F(Ec2CpuTest, AResultThatIsForbiddenIsAFailureAndTheOthersCount) {
  start();
  push(200,
       metric_reply(member(0, {{minutes(9), 10}}, "Forbidden") + member(1, {{minutes(9), 30}})));
  CpuReply reply = cpu({"i-1", "i-2"});
  ASSERT_TRUE(reply.failure);
  EXPECT_EQ(reply.failure->error, CallError::denied);
  EXPECT_EQ(reply.failure->code, "Forbidden");
  ASSERT_EQ(reply.samples.size(), 1U);
  EXPECT_EQ(reply.samples[0].instance, "i-2");
  clock.advance(minutes(1));
  push(200, metric_reply(member(0, {}, "InternalError")));
  reply = cpu({"i-1"});
  ASSERT_TRUE(reply.failure);
  EXPECT_EQ(reply.failure->error, CallError::transient);
}

TEST_F(Ec2CpuTest, OneBatchThatFailsTakesNoOtherWithIt) {
  start();
  std::vector<std::string> ids;
  for (int i = 0; i < 1001; ++i) ids.push_back(fmt::format("i-{}", i));
  push(200, metric_reply(member(0, {{minutes(9), 10}})));
  push(403, error_reply("AccessDenied"));
  push(200, metric_reply(member(0, {{minutes(9), 30}})));
  const CpuReply reply = cpu(ids);
  ASSERT_TRUE(reply.failure);
  EXPECT_EQ(reply.failure->code, "AccessDenied");
  ASSERT_EQ(reply.samples.size(), 2U);
  EXPECT_EQ(reply.samples[0].instance, "i-0");
  EXPECT_EQ(reply.samples[1].instance, "i-1000");
}

TEST_F(Ec2CpuTest, CloudWatchIsAskedByTheClockOfAws) {
  start();
  constexpr std::string_view kTheirs = "Thu, 01 Jan 2099 00:00:00 GMT";
  net::HttpReply late = FakeHttp::answer(400, error_reply("RequestExpired"));
  late.headers.emplace_back("date", kTheirs);
  http.script.push_back(late);
  push(200, metric_reply(""));
  cpu({"i-1"});  // the refusal tells the time
  clock.advance(std::chrono::minutes(2));
  push(200, metric_reply(""));
  cpu({"i-1"});
  EXPECT_EQ(parameter(2, "EndTime").substr(0, 14), "2099-01-01T00:");
}

TEST_F(Ec2CpuTest, CloudWatchIsNotPaidForWhenTheGroupDoesNotUseIt) {
  group.cpu_sources = {config::CpuSource::node_exporter};
  make();
  start();
  EXPECT_TRUE(cpu({"i-1"}).samples.empty());
  EXPECT_TRUE(http.requests.empty());
}

}  // namespace
}  // namespace lbd::scaler::ec2
