#include "lbd/control/scaler_metrics.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <sstream>

namespace lbd::control {
namespace {

using std::chrono::seconds;

std::string text_of(const scaler::GroupStatus& group) {
  Families families;
  collect_scaling_group(group, families);
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families.take());
  return out.str();
}

class ScalerMetrics : public testing::Test {
 protected:
  ScalerMetrics() { group.name = "web"; }
  void expect(const std::string& line) const {
    EXPECT_NE(text_of(group).find(line + "\n"), std::string::npos) << line << "\n"
                                                                   << text_of(group);
  }
  scaler::GroupStatus group;
};

TEST_F(ScalerMetrics, CountDecisionsByKindAndWhetherTheyActed) {
  group.decided.decisions = {{{"scale_out", true}, 2}, {{"steady", false}, 40}};
  group.decided.evaluated = WallTime(seconds(1000));
  expect(R"(lbd_scaler_decisions_total{scaling_group="web",kind="scale_out",acted="yes"} 2)");
  expect(R"(lbd_scaler_decisions_total{scaling_group="web",kind="steady",acted="no"} 40)");
  expect(R"(lbd_scaler_last_evaluation_timestamp_seconds{scaling_group="web"} 1000)");
}

TEST_F(ScalerMetrics, SayWhatLimitsTheGroup) {
  group.kind = "full";
  expect(R"(lbd_scaler_limited{scaling_group="web",by="max"} 1)");
  expect(R"(lbd_scaler_limited{scaling_group="web",by="cooldown"} 0)");
  group.kind = "no_zone";
  expect(R"(lbd_scaler_limited{scaling_group="web",by="max"} 0)");
  expect(R"(lbd_scaler_limited{scaling_group="web",by="no_capacity"} 1)");
  group.kind = "quota";
  expect(R"(lbd_scaler_limited{scaling_group="web",by="quota"} 1)");
  group.kind = "held";
  expect(R"(lbd_scaler_limited{scaling_group="web",by="quota"} 0)");
  expect(R"(lbd_scaler_limited{scaling_group="web",by="refused"} 1)");
}

TEST_F(ScalerMetrics, SayHowManyInstancesAPolicyAsksFor) {
  group.desired = 3;
  scaler::SignalStatus signal;
  signal.policy = "out";
  group.signals = {signal};
  const std::string series =
      R"(lbd_scaler_signal_recommendation{scaling_group="web",policy="out",signal="cpu"} )";
  expect(series + "3");
  group.signals[0].direction = scaler::Direction::out;
  group.signals[0].want = 5;
  expect(series + "5");
}

TEST_F(ScalerMetrics, TimeLaunchesAndDrainsAndCountFailures) {
  group.fleet.launch.boot.record(seconds(20));
  group.fleet.drain.record(seconds(3));
  group.fleet.launch_failures = {{{"a", "capacity"}, 4}};
  const std::string boot = R"({scaling_group="web",phase="boot")";
  expect("lbd_instance_launch_seconds_bucket" + boot + R"(,le="10"} 0)");
  expect("lbd_instance_launch_seconds_bucket" + boot + R"(,le="20"} 1)");
  expect("lbd_instance_launch_seconds_sum" + boot + "} 20");
  expect(R"(lbd_drain_seconds_count{scaling_group="web"} 1)");
  expect(R"(lbd_instance_launch_failures_total{scaling_group="web",zone="a",reason="capacity"} 4)");
}

TEST_F(ScalerMetrics, TellWhenThePlanCannotBeUsed) {
  expect(R"(lbd_scaler_held{scaling_group="web"} 0)");
  group.store_error = "disk is full";
  expect(R"(lbd_scaler_held{scaling_group="web"} 1)");
}

}  // namespace
}  // namespace lbd::control
