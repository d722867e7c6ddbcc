// A fleet and a provider that shows exactly what the test put there.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "scaler/fleet.h"

namespace lbd::scaler {

using std::chrono::minutes;
using std::chrono::seconds;

class FleetTest : public testing::Test {
 protected:
  FleetTest() : fleet(group(), FleetTimings{}) {
    fleet.set_zones({"a", "b", "c"});
    fleet.set_desired(3);
  }

  static config::ScalingGroup group() {
    config::ScalingGroup made;
    made.name = "web";
    made.min = 1;
    made.max = 5;
    return made;
  }

  ReportedInstance& run(const std::string& id, const std::string& zone,
                        const std::string& token = "") {
    ReportedInstance made;
    made.id = id;
    made.zone = zone;
    made.client_token = token;
    made.state = ReportedState::running;
    made.address = "10.0.0.1";
    made.launched = WallTime(seconds(++age));
    cloud.push_back(made);
    return cloud.back();
  }
  void describe() { fleet.observe(Observation{cloud, now, now, WallTime{}}); }
  /// Everyone reported and, unless in `down`, healthy.
  void hear(const std::string& down = "", std::uint32_t in_flight = 1) {
    std::vector<InstanceDemand> demand;
    for (const ReportedInstance& each : cloud) {
      InstanceDemand row;
      row.instance = each.id;
      row.health = each.id == down ? Health::down : Health::up;
      row.health_since = now - minutes(1);
      row.in_flight = in_flight;
      row.drained = in_flight == 0;
      demand.push_back(row);
    }
    fleet.hear(demand, now);
    fleet.advance(now);
  }
  void hear_down(const std::vector<std::string>& down) {
    std::vector<InstanceDemand> demand;
    for (const ReportedInstance& each : cloud) {
      const bool fails = std::find(down.begin(), down.end(), each.id) != down.end();
      InstanceDemand row;
      row.instance = each.id;
      row.health = fails ? Health::down : Health::up;
      row.health_since = now - minutes(1);
      demand.push_back(row);
    }
    fleet.hear(demand, now);
    fleet.advance(now);
  }
  void end(const std::string& id) {
    fleet.terminate_started(id, now);
    fleet.terminate_answered(id, TerminateReply{}, now);
    std::erase_if(cloud, [&](const ReportedInstance& each) { return each.id == id; });
  }
  void serve(const std::vector<std::string>& in_zones) {
    int i = 0;
    for (const std::string& zone : in_zones) run("i-" + std::to_string(++i), zone);
    describe();
    hear();
    now += minutes(1);
    hear();
    (void)fleet.take_events();
  }
  FleetStep next() { return fleet.next_step(now); }
  bool happened(std::string_view kind) {
    bool found = false;
    for (const FleetEvent& each : fleet.take_events()) found = found || each.kind == kind;
    return found;
  }
  const Instance& at(const std::string& id) { return *fleet.find(id); }
  static LaunchReply refused(CallError error) {
    LaunchReply reply;
    reply.failure = CallFailure{error, "Code", "message"};
    return reply;
  }

  Fleet fleet;
  std::vector<ReportedInstance> cloud;
  TimePoint now{std::chrono::hours(5)};
  int age = 0;
};

}  // namespace lbd::scaler
