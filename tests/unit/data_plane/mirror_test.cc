// Copies of requests for another group: what they hold, and that nobody waits for them.
#include "lbd/proxy/mirror.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/exchange_rig.h"

namespace lbd {
namespace {

using Outcome = upstream::MirrorOutcome;

class Mirror : public Exchange {
 protected:
  void SetUp() override {
    Exchange::SetUp();
    plant.shadow.emplace().name = "shadow";
    plant.shadow->balance = config::Balance::round_robin;
    plant.shadow_targets.push_back(
        {{"127.0.0.1", shadow.port()}, "", 1, upstream::TargetState::healthy});
    mirror.target_group = "shadow";
  }
  void publish() {
    plant.listener.otherwise = config::Forward{"web", {}, {}, mirror};
    plant.publish_and_wait();
  }
  /// The client asks, the target answers it.
  void ask(std::string_view request = kGet) {
    Peer user = client();
    user.send(request);
    Peer target = origin.accept();
    seen = target.read_message();
    target.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_TRUE(user.read_message().ends_with("ok"));
  }
  std::uint64_t count(Outcome outcome) {
    std::uint64_t sum = 0;
    for (const upstream::GroupLoad& load : plant.live.group("shadow")->loads) {
      sum += load.mirrored[static_cast<std::size_t>(outcome)].get();
    }
    return sum;
  }
  void expect(Outcome outcome, std::uint64_t times = 1) {
    EXPECT_TRUE(eventually([&] { return count(outcome) == times; }))
        << upstream::mirror_outcome_name(outcome) << ": " << count(outcome);
  }

  Server shadow;
  config::Mirror mirror;
  std::string seen;  // what the target got
};

TEST_F(Mirror, TheCopyIsTheTargetsRequestWithAMark) {
  publish();
  ask("POST /x?q=1 HTTP/1.1\r\nHost: a\r\nX-App: 7\r\nContent-Length: 3\r\n\r\nabc");
  Peer copy = shadow.accept();
  std::string got = copy.read_message();
  const std::size_t mark = got.find("X-Lbd-Mirror: 1\r\n");
  ASSERT_NE(mark, std::string::npos) << got;
  got.erase(mark, std::string_view("X-Lbd-Mirror: 1\r\n").size());
  EXPECT_EQ(got, seen);
  EXPECT_TRUE(seen.starts_with("POST /x?q=1 HTTP/1.1\r\n") && seen.ends_with("\r\n\r\nabc"));
  copy.send("HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad");
  expect(Outcome::answered);
}

TEST_F(Mirror, ItsConnectionIsKeptForTheNextCopy) {
  publish();
  ask();
  Peer copy = shadow.accept();
  for (int i = 0; i < 3; ++i) {
    copy.read_message();
    copy.send(kOk);
    expect(Outcome::answered, static_cast<std::uint64_t>(i) + 1);
    ask();
  }
  copy.read_message();
  EXPECT_TRUE(shadow.nobody_comes());
  copy.send(kOk);
  expect(Outcome::answered, 4);
}

TEST_F(Mirror, AShadowThatNeverAnswersKeepsNobodyWaitingAndEndsByItsTimeout) {
  mirror.timeout = std::chrono::milliseconds(300);
  publish();
  for (int i = 0; i < 3; ++i) ask();  // answered while no copy is
  expect(Outcome::timed_out, 3);
  EXPECT_EQ(last_record(3).status, 200);
}

TEST_F(Mirror, AShadowThatIsDownFailsNobodyAndIsNotToldToWhatEjects) {
  {
    const Server gone;
    plant.shadow_targets[0].address.port = gone.port();
  }
  publish();
  ask();
  expect(Outcome::connect_failed);
  const auto target = plant.live.target("shadow", plant.shadow_targets[0].address.text(), "");
  EXPECT_EQ(target->load(0).connect_failures.get(), 0u);
  EXPECT_EQ(target->load(0).requests.get(), 0u);
}

TEST_F(Mirror, ABodyThatComesInPiecesIsCopiedWholeAndAChunkedOneByItsLength) {
  publish();
  Peer user = client();
  user.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n");
  Peer target = origin.accept();
  target.read_head();
  EXPECT_TRUE(shadow.nobody_comes()) << "the body is not whole";
  user.send("3\r\nabc\r\n");
  user.send("4\r\ndefg\r\n0\r\nT: 1\r\n\r\n");
  Peer copy = shadow.accept();
  const std::string got = copy.read_message();
  EXPECT_TRUE(got.ends_with("\r\n\r\nabcdefg")) << got;
  EXPECT_NE(got.find("Content-Length: 7\r\n"), std::string::npos) << got;
  EXPECT_EQ(got.find("Trailer"), std::string::npos) << got;
  copy.send(kOk);
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  expect(Outcome::answered);
}

TEST_F(Mirror, ABodyAboveTheLimitIsNotCopiedWhetherItsLengthIsSaidOrNot) {
  mirror.body_bytes_max = 4;
  publish();
  ask("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde");
  expect(Outcome::body_too_large, 1);
  ask("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n");
  expect(Outcome::body_too_large, 2);
  EXPECT_TRUE(shadow.nobody_comes());
}

TEST_F(Mirror, ARequestThatTheClientDoesNotFinishIsNotCopied) {
  publish();
  {
    Peer user = client();
    user.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    Peer target = origin.accept();
    target.read_head();
  }
  expect(Outcome::body_cut);
  EXPECT_TRUE(shadow.nobody_comes());
}

TEST_F(Mirror, AShareIsDrawnByLot) {
  mirror.share = 0;
  publish();
  ask();
  EXPECT_TRUE(shadow.nobody_comes());
  for (std::size_t i = 0; i < upstream::kMirrorOutcomes; ++i) {
    EXPECT_EQ(count(static_cast<Outcome>(i)), 0u);
  }
}

TEST_F(Mirror, AClientsOwnMarkReachesNobody) {
  publish();
  ask("GET /x HTTP/1.1\r\nHost: a\r\nX-Lbd-Mirror: yes\r\nX_Lbd_Mirror: yes\r\n\r\n");
  EXPECT_EQ(seen.find("irror"), std::string::npos) << seen;
  Peer copy = shadow.accept();
  const std::string got = copy.read_message();
  EXPECT_EQ(got.find("yes"), std::string::npos) << got;
  EXPECT_NE(got.find("X-Lbd-Mirror: 1\r\n"), std::string::npos) << got;
  copy.send(kOk);
  expect(Outcome::answered);
}

TEST_F(Mirror, WithoutATargetThatMayServeThereIsNoCopy) {
  plant.shadow->fail_open = false;
  plant.shadow_targets[0].state = upstream::TargetState::unhealthy;
  publish();
  ask();
  expect(Outcome::no_target);
}

TEST_F(Mirror, ATargetThatDrainsIsNotDoneBeforeItsCopies) {
  publish();
  ask();
  Peer copy = shadow.accept();
  copy.read_message();
  const auto target = plant.live.target("shadow", plant.shadow_targets[0].address.text(), "");
  EXPECT_EQ(target->in_flight(), 1u);
  copy.send(kOk);
  EXPECT_TRUE(eventually([&] { return target->in_flight() == 0; }));
}

TEST_F(Mirror, AStopDoesNotWaitForCopies) {
  mirror.timeout = std::chrono::minutes(10);
  publish();
  ask();
  Peer copy = shadow.accept();
  copy.read_message();
  for (auto& worker : plant.workers) worker->stop();
  expect(Outcome::failed);
}

TEST_F(Mirror, AGroupThatAReloadRemovesGetsNoCopyOfARequestUnderWay) {
  publish();
  Peer user = client();
  user.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
  Peer target = origin.accept();
  target.read_head();
  const auto live = plant.live.group("shadow");
  plant.shadow.reset();
  plant.listener.otherwise = config::Forward{"web"};
  plant.publish_and_wait();
  user.send("b");
  EXPECT_EQ(target.read_bytes(2), "ab");
  target.send(kOk);
  EXPECT_TRUE(user.read_message().ends_with("ok"));
  EXPECT_TRUE(shadow.nobody_comes());
  EXPECT_TRUE(eventually([&] {
    return live->loads[0].mirrored[static_cast<std::size_t>(Outcome::no_target)].get() == 1;
  }));
}

TEST_F(Mirror, AnAnswerWithoutEndIsLeft) {
  publish();
  ask();
  Peer copy = shadow.accept();
  copy.read_message();
  copy.send("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
  const std::string piece(64 * 1024, 'x');
  for (std::uint64_t sent = 0;
       sent <= 2 * proxy::MirrorCopy::kAnswerBytesMax && count(Outcome::answered) == 0;
       sent += piece.size()) {
    copy.send(piece);
  }
  expect(Outcome::answered);
}

TEST_F(Mirror, AKeptConnectionThatTheShadowHasClosedIsMadeAnew) {
  publish();
  ask();
  {
    Peer copy = shadow.accept();
    copy.read_message();
    copy.send(kOk);
    expect(Outcome::answered);
  }
  ask();
  Peer again = shadow.accept();
  again.read_message();
  again.send(kOk);
  expect(Outcome::answered, 2);
}

}  // namespace
}  // namespace lbd
