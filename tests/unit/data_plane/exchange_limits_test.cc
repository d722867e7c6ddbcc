// Whole exchanges through a worker: deadlines, limits, drains.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/exchange_rig.h"

namespace lbd {
namespace {

using std::chrono::milliseconds;

TEST_F(Exchange, ATargetThatDoesNotAnswerInTimeIsGivenUpAndNotRetried) {
  plant.group.timeouts.response_head = milliseconds(100);
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 504 "));
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).attempts, 1u);
  EXPECT_EQ(last_record(1).reason, Fault::target_timeout);
}

TEST_F(Exchange, ABodyThatStallsIsCut) {
  plant.group.timeouts.body_idle = milliseconds(100);
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  EXPECT_TRUE(user.read_all().ends_with("half"));
  EXPECT_EQ(last_record(1).reason, Fault::target_timeout);
}

TEST_F(Exchange, AHeadThatDoesNotComeInTimeIsAnswered408) {
  plant.listener.timeouts.request_head = milliseconds(100);
  plant.publish_and_wait();
  Peer user = client();
  user.send("GET / HTTP/1.1\r\nHost:");
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 408 "));
  user.shutdown_write();
  EXPECT_TRUE(user.sees_end());
}

TEST_F(Exchange, AConnectionThatStaysSilentIsClosedWithoutAWord) {
  plant.listener.timeouts.request_head = milliseconds(100);
  plant.publish_and_wait();
  EXPECT_TRUE(client().sees_end());
}

TEST_F(Exchange, ABodyOverItsLimitIsRefused) {
  plant.listener.limits.body_bytes_max = 10;
  plant.publish_and_wait();
  Peer user = client();
  user.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 413 "));
  Peer chunked = client();
  chunked.send(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n");
  EXPECT_TRUE(chunked.read_message().starts_with("HTTP/1.1 413 "));
}

TEST_F(Exchange, ABadRequestAfterAHeadRequestGetsItsWholeAnswer) {
  plant.publish_and_wait();
  Peer user = client();
  user.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  Peer target = origin.accept();
  target.read_head();
  target.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
  user.read_head();
  user.send("GET / HTTP/1.1\nHost: a\r\n\r\n");
  const std::string answer = user.read_message();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 "));
  EXPECT_NE(answer.find("reason: client_protocol"), std::string::npos);  // not HEAD's empty one
}

TEST_F(Exchange, ARefusedRequestIsLoggedWithAllThatIsKnownOfIt) {
  plant.publish_and_wait();
  const struct {
    std::string text;
    std::string method;
    std::string target;
  } cases[] = {
      {"DELETE /a?b HTTP/1.1\nHost: a\r\n\r\n", "DELETE", "/a?b"},         // a bare LF
      {"GET /c HTTP/1.1\r\nHost: a\r\nbad name: x\r\n\r\n", "GET", "/c"},  // a bad field
      {"GET /d HTTP/9.9\r\nHost: a\r\n\r\n", "GET", "/d"},
      {"GET /" + std::string(20'000, 'x'), "GET", "/" + std::string(20'000, 'x')},
      {"\x16\x03\x01 is no HTTP\r\n\r\n", "", ""},
  };
  std::size_t count = 0;
  for (const auto& each : cases) {
    Peer user = client();
    user.send(each.text);
    const std::string answer = user.read_message();
    const auto record = last_record(++count);
    EXPECT_NE(record.reason, Fault::none);
    EXPECT_EQ(record.method, each.method);
    EXPECT_TRUE(each.target.starts_with(record.target.substr(0, 16'000))) << record.target.size();
    EXPECT_EQ(record.target.empty(), each.target.empty());
    EXPECT_EQ(record.generation, 1u);
    EXPECT_EQ(record.id.size(), 32u);
    EXPECT_NE(answer.find("x-request-id: " + record.id + "\r\n"), std::string::npos) << answer;
    EXPECT_NE(answer.find("request id: " + record.id + "\n"), std::string::npos);
  }
}

TEST_F(Exchange, ARequestThatComesBackAgainAndAgainIsRefused) {
  plant.targets.clear();
  plant.publish_and_wait();
  plant.target(plant.port());  // the listener itself
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  const std::string answer = user.read_message();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 508 Loop Detected\r\n")) << answer;
  EXPECT_NE(answer.find("reason: loop_detected\n"), std::string::npos);
  EXPECT_EQ(plant.live.listener("public")->loads[0].accepted.get(), 4u);
  EXPECT_EQ(last_record(1).reason, Fault::loop_detected);
}

TEST_F(Exchange, DrainingFinishesWhatRunsAndThenEnds) {
  plant.publish_and_wait();
  Peer idle = client();
  idle.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  idle.read_message();
  Peer busy = client();
  busy.send(kGet);
  target.read_head();
  plant.workers[0]->drain(Duration::zero());
  EXPECT_TRUE(idle.sees_end());
  EXPECT_FALSE(plant.workers[0]->drained());
  target.send(kOk);
  const std::string answer = busy.read_message();
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("ok"));
  EXPECT_TRUE(busy.sees_end());
  EXPECT_TRUE(eventually([&] { return plant.workers[0]->drained(); }));
}

TEST_F(Exchange, ADrainAnswersOneMoreRequestOfAClientThatWasJustServed) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  user.read_message();
  Peer quiet = client();  // of two that send nothing more, one has sent nothing at all
  EXPECT_TRUE(eventually([&] { return plant.workers[0]->connections() == 2; }));
  plant.workers[0]->drain(std::chrono::seconds(2));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  user.send(kGet);
  target.read_head();
  target.send(kOk);
  const std::string answer = user.read_message();
  EXPECT_TRUE(answer.ends_with("ok"));
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(user.sees_end());
  EXPECT_FALSE(plant.workers[0]->drained());
  EXPECT_TRUE(quiet.sees_end());
  EXPECT_TRUE(eventually([&] { return plant.workers[0]->drained(); }));
}

TEST_F(Exchange, ADrainDoesNotWaitForAClientThatHasBeenIdleForLongerThanTheGrace) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  target.send(kOk);
  user.read_message();
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  const auto began = std::chrono::steady_clock::now();
  plant.workers[0]->drain(std::chrono::milliseconds(1500));
  EXPECT_TRUE(user.sees_end());
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(1));
}

TEST_F(Exchange, ATargetClosedInTheAdoptedSnapshotGetsNoFurtherRequest) {
  Server other;
  plant.target(other.port());
  plant.publish_and_wait();
  // Both get one, so both have a kept connection.
  Peer user = client();
  user.send(kGet);
  Peer first = origin.accept();
  first.read_head();
  first.send(kOk);
  user.read_message();
  user.send(kGet);
  Peer second = other.accept();
  second.read_head();
  second.send(kOk);
  user.read_message();
  plant.targets[0].state = upstream::TargetState::draining;
  plant.publish_and_wait();
  EXPECT_EQ(plant.live_target(origin.port())->in_flight(), 0u);
  EXPECT_TRUE(first.sees_end());  // its kept connection is closed
  for (int i = 0; i < 20; ++i) {
    user.send(kGet);
    ASSERT_FALSE(second.read_head().empty());
    second.send(kOk);
    user.read_message();
  }
  EXPECT_TRUE(origin.nobody_comes(20));
}

TEST_F(Exchange, ARequestUnderWayKeepsItsTargetWhenThatIsClosed) {
  plant.publish_and_wait();
  Peer user = client();
  user.send(kGet);
  Peer target = origin.accept();
  target.read_head();
  plant.targets[0].state = upstream::TargetState::draining;
  plant.publish_and_wait();
  EXPECT_EQ(plant.live_target(origin.port())->in_flight(), 1u);
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_TRUE(eventually([&] { return plant.live_target(origin.port())->in_flight() == 0; }));
  user.send(kGet);
  EXPECT_TRUE(user.read_message().starts_with("HTTP/1.1 503 "));
}

}  // namespace
}  // namespace lbd
