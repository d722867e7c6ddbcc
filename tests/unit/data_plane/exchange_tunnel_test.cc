// Upgrades: the handshake and the tunnel behind it.
#include "tests/support/exchange_rig.h"

namespace lbd {
namespace {

constexpr std::string_view kAsk =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
constexpr std::string_view kSwitch =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

class Tunnel : public Exchange {
 protected:
  /// Both ends of an open tunnel, in `user` and `target`.
  void open(std::string_view ask = kAsk, std::string_view reply = kSwitch) {
    plant.publish_and_wait();
    user = client();
    user.send(ask);
    target = origin.accept();
    asked = target.read_head();
    target.send(reply);
    answered = user.read_head();
  }
  [[nodiscard]] std::uint32_t open_now() {
    return plant.live.listener("public")->loads[0].tunnels.get();
  }

  Peer user;
  Peer target;
  std::string asked;
  std::string answered;
};

TEST_F(Tunnel, BytesPassBothWaysUntilBothSidesHaveEnded) {
  open();
  EXPECT_NE(asked.find("Connection: Upgrade\r\nUpgrade: websocket\r\n"), std::string::npos)
      << asked;
  EXPECT_TRUE(answered.starts_with("HTTP/1.1 101 ")) << answered;
  EXPECT_NE(answered.find("Connection: Upgrade\r\nUpgrade: websocket\r\n"), std::string::npos);
  user.send("abc");
  EXPECT_EQ(target.read_bytes(3), "abc");
  target.send("de");
  EXPECT_EQ(user.read_bytes(2), "de");
  EXPECT_EQ(open_now(), 1u);
  user.shutdown_write();
  EXPECT_TRUE(target.sees_end());
  target.send("rest");
  EXPECT_EQ(user.read_bytes(4), "rest");
  target.close();
  EXPECT_TRUE(user.sees_end());
  const auto record = last_record(1);
  EXPECT_EQ(record.status, 101);
  EXPECT_EQ(record.reason, Fault::none);
  EXPECT_EQ(record.request_bytes, 3u);
  EXPECT_EQ(record.response_bytes, 6u);
  EXPECT_EQ(open_now(), 0u);
}

TEST_F(Tunnel, ATargetThatResetsItIsNotToBlameForAFailedRequest) {
  open();
  target.reset();
  EXPECT_TRUE(user.sees_reset());
  EXPECT_EQ(last_record(1).reason, Fault::target_reset);
  EXPECT_TRUE(last_record(1).cut);
  EXPECT_EQ(plant.live_target(origin.port())->load(0).broken.get(), 0u);
}

TEST_F(Tunnel, AClientThatResetsItEndsItForTheTarget) {
  open();
  user.reset();
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).reason, Fault::client_gone);
}

TEST_F(Tunnel, NothingThatMovesEndsItByTheIdleLimitAndTheTotalOneHoldsAnyway) {
  plant.listener.timeouts.tunnel_idle = std::chrono::milliseconds(200);
  open();
  EXPECT_EQ(user.read_all(), "");
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).reason, Fault::tunnel_timeout);
  plant.listener.timeouts.tunnel_idle = std::chrono::milliseconds(0);
  plant.listener.timeouts.tunnel_total = std::chrono::milliseconds(200);
  open();
  EXPECT_EQ(user.read_all(), "");
  EXPECT_EQ(last_record(2).reason, Fault::tunnel_timeout);
}

TEST_F(Tunnel, ItIsCutByTheEndOfTheWorkerAndTheLogSaysSo) {
  open();
  for (auto& worker : plant.workers) worker->stop();
  EXPECT_TRUE(user.sees_end());
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).reason, Fault::drain_deadline);
}

TEST_F(Tunnel, A101ThatWasNotAskedForOrDoesNotFitIsABadResponse) {
  plant.group.retries.attempts = 1;
  std::size_t count = 0;
  for (const auto& [ask, reply] : {std::pair{kGet, kSwitch},
                                   {kAsk, "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n"},
                                   {kAsk,
                                    "HTTP/1.1 101 X\r\nConnection: upgrade\r\n"
                                    "Upgrade: h2c\r\n\r\n"},
                                   {kAsk,
                                    "HTTP/1.1 101 X\r\nConnection: upgrade\r\n"
                                    "Upgrade: websocket\r\nContent-Length: 1\r\n\r\n"}}) {
    open(ask, reply);
    EXPECT_TRUE(answered.starts_with("HTTP/1.1 502 ")) << reply;
    EXPECT_EQ(last_record(++count).reason, Fault::bad_response) << reply;
    EXPECT_TRUE(target.sees_end());
  }
}

TEST_F(Tunnel, AFailedHandshakeLeavesNoConnectionBehind) {
  open(std::string(kAsk) + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", kOk);
  EXPECT_TRUE(answered.starts_with("HTTP/1.1 200 "));
  EXPECT_NE(answered.find("Connection: close\r\n"), std::string::npos);
  EXPECT_EQ(user.read_all(), "ok");
  EXPECT_TRUE(target.sees_end());
  EXPECT_TRUE(origin.nobody_comes());
}

}  // namespace
}  // namespace lbd
