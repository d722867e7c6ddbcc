// A target goes down while requests wait for its responses: they go elsewhere, when they may.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/exchange_rig.h"

namespace lbd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using upstream::TargetState;

/// `origin` has the request; `other` is there to take it over.
class Move : public Exchange {
 protected:
  void SetUp() override {
    Exchange::SetUp();
    plant.publish_and_wait();
  }
  /// A client whose request `origin` has read and does not answer.
  Peer ask(std::string_view request) {
    Peer user = client();
    user.send(request);
    held.push_back(origin.accept());
    held.back().read_head();
    return user;
  }
  void goes_down(TargetState state = TargetState::unhealthy) {
    plant.targets[0].state = state;
    plant.target(other.port());
    plant.publish_and_wait();
  }

  Server other;
  std::vector<Peer> held;
};

TEST_F(Move, AGetThatWaitsForATargetThatGoesDownIsAnsweredByAnother) {
  for (const TargetState state : {TargetState::unhealthy, TargetState::ejected}) {
    plant.targets.resize(1);
    plant.targets[0].state = TargetState::healthy;
    plant.publish_and_wait();
    Peer user = ask(kGet);
    goes_down(state);
    Peer target = other.accept();
    EXPECT_TRUE(target.read_head().starts_with("GET /x "));
    target.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    EXPECT_TRUE(user.read_message().ends_with("ok"));
    EXPECT_TRUE(held.back().sees_end());
  }
  EXPECT_EQ(last_record(2).attempts, 2u);
  EXPECT_EQ(last_record(2).reason, Fault::none);
  // A verdict of the checks is not counted again as a failure of its requests.
  EXPECT_EQ(plant.live_target(origin.port())->load(0).errors.get(), 0u);
}

TEST_F(Move, APostStaysForItMayHaveBeenActedOn) {
  Peer user = ask("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  goes_down();
  EXPECT_TRUE(other.nobody_comes(1500));
  held.back().send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_EQ(last_record(1).attempts, 1u);
}

TEST_F(Move, AResponseThatHasBegunStays) {
  Peer user = ask(kGet);
  held.back().send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
  user.read_head();
  goes_down();
  EXPECT_TRUE(other.nobody_comes(1500));
  held.back().send("ok");
  EXPECT_EQ(user.read_bytes(2), "ok");
}

TEST_F(Move, WithNobodyElseHealthyItStays) {
  Peer user = ask(kGet);
  plant.targets[0].state = TargetState::unhealthy;
  plant.publish_and_wait();
  std::this_thread::sleep_for(milliseconds(1200));
  held.back().send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_EQ(last_record(1).attempts, 1u);
}

TEST_F(Move, MoreThanTheRetryBudgetAllowsGoLater) {
  plant.group.retries.budget_ratio = 0;
  plant.group.retries.budget_min = 1;
  plant.publish_and_wait();
  std::vector<Peer> users;
  for (int i = 0; i < 5; ++i) users.push_back(ask(kGet));
  goes_down();
  std::vector<Peer> targets;
  targets.push_back(other.accept());
  EXPECT_TRUE(other.nobody_comes(500));  // one a second
  for (std::size_t i = 0; i < users.size(); ++i) {
    if (i >= targets.size()) targets.push_back(other.accept());
    targets[i].read_head();
    targets[i].send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    targets[i].close();
  }
  for (Peer& user : users) EXPECT_TRUE(user.read_message().ends_with("ok"));
}

TEST_F(Move, ATargetThatStillAnswersIsGivenItsUsualTime) {
  Peer user = ask(kGet);
  goes_down();
  std::this_thread::sleep_for(milliseconds(100));
  held.back().send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_EQ(last_record(1).attempts, 1u);
}

TEST_F(Move, SinceWhenTheOldestRequestWaitsIsKnownWhileOneDoes) {
  const auto since = [this] {
    return plant.live_target(origin.port())->load(0).waiting_since_us.get();
  };
  EXPECT_EQ(since(), 0);
  Peer first = ask(kGet);
  const std::int64_t oldest = since();
  EXPECT_GT(oldest, 0);
  Peer second = ask(kGet);
  EXPECT_EQ(since(), oldest);
  held[0].send(kOk);
  first.read_message();
  EXPECT_GT(since(), oldest);
  held[1].send(kOk);
  second.read_message();
  EXPECT_EQ(since(), 0);
}

}  // namespace
}  // namespace lbd
