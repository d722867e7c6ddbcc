// Connections at layer 4: one worker between a scripted client and scripted targets.
#include <fstream>
#include <iterator>

#include "tests/support/exchange_rig.h"

namespace lbd {
namespace {

std::string client_hello() {
  std::ifstream in(LBD_SOURCE_DIR "/fuzz/corpus/client_hello/openssl", std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Layer4 : public Exchange {
 protected:
  void SetUp() override {
    Exchange::SetUp();
    plant.group.protocol = config::TargetProtocol::tcp;
    plant.listener.protocol = config::ListenerProtocol::tcp;
  }
  void TearDown() override {
    user.close();
    target.close();
    Exchange::TearDown();
  }
  /// Both ends of an open connection, in `user` and `target`.
  void open() {
    plant.publish_and_wait();
    user = client();
    target = origin.accept();
  }
  /// From here on the connection is known to be open on all sides: a target that resets it before
  /// has refused it, and another try is made.
  void exchange_a_byte() {
    user.send("x");
    EXPECT_EQ(target.read_bytes(1), "x");
  }
  void pass_tls_through() {
    plant.listener.protocol = config::ListenerProtocol::tls;
    plant.listener.otherwise.reset();
    config::Rule rule;
    rule.name = "shop";
    rule.when.server_names = {"shop.example.com"};
    rule.then = config::Forward{"web"};
    plant.listener.rules = {rule};
  }
  [[nodiscard]] std::uint64_t failures(Fault fault) {
    return plant.live.listener("public")->loads[0].failures[static_cast<std::size_t>(fault)].get();
  }

  Peer user;
  Peer target;
};

TEST_F(Layer4, ATargetMaySpeakFirst) {
  open();
  target.send("220 hello\r\n");
  EXPECT_EQ(user.read_bytes(11), "220 hello\r\n");
}

TEST_F(Layer4, BytesPassBothWaysAndEachEndIsPassedOnByItself) {
  open();
  user.send("abc");
  EXPECT_EQ(target.read_bytes(3), "abc");
  user.shutdown_write();
  EXPECT_TRUE(target.sees_end());
  target.send("rest");
  EXPECT_EQ(user.read_bytes(4), "rest");
  target.close();
  EXPECT_TRUE(user.sees_end());
  const auto record = last_record(1);
  EXPECT_EQ(record.reason, Fault::none);
  EXPECT_FALSE(record.cut);
  EXPECT_EQ(record.request_bytes, 3u);
  EXPECT_EQ(record.response_bytes, 4u);
}

TEST_F(Layer4, TheTargetMayEndItsHalfFirst) {
  open();
  target.send("last words");
  target.shutdown_write();
  EXPECT_EQ(user.read_bytes(10), "last words");
  EXPECT_TRUE(user.sees_end());
  user.send("more");
  EXPECT_EQ(target.read_bytes(4), "more");
  user.close();
  EXPECT_TRUE(target.sees_end());
  EXPECT_EQ(last_record(1).reason, Fault::none);
}

TEST_F(Layer4, AResetIsPassedOnAsOne) {
  open();
  exchange_a_byte();
  target.reset();
  EXPECT_TRUE(user.sees_reset());
  EXPECT_EQ(last_record(1).reason, Fault::target_reset);
  EXPECT_EQ(plant.live_target(origin.port())->load(0).errors.get(), 0u);
  open();
  exchange_a_byte();
  user.reset();
  EXPECT_TRUE(target.sees_reset());
  EXPECT_EQ(last_record(2).reason, Fault::client_gone);
}

TEST_F(Layer4, CountsAsInFlightWhileItIsOpen) {
  open();
  exchange_a_byte();
  EXPECT_EQ(plant.live_target(origin.port())->in_flight(), 1u);
  EXPECT_EQ(plant.live.group("web")->loads[0].in_flight.get(), 1u);
  EXPECT_EQ(plant.live.route("public", "default")->loads[0].connections.get(), 1u);
  EXPECT_EQ(plant.live.route("public", "default")->loads[0].request_bytes.get(), 1u);
  user.close();
  target.close();
  EXPECT_TRUE(eventually([this] { return plant.idle(); }));
}

TEST_F(Layer4, ItsSnapshotIsLetGoOnceItIsConnected) {
  open();
  const std::weak_ptr<upstream::LiveTarget> before = plant.live_target(origin.port());
  exchange_a_byte();
  const long held = before.use_count();
  plant.publish_and_wait();
  plant.publish_and_wait();
  EXPECT_EQ(before.use_count(), held);
  user.send("y");
  EXPECT_EQ(target.read_bytes(1), "y");
}

TEST_F(Layer4, WhoCannotBeConnectedToIsReplacedWithinTheAttempts) {
  Server gone;
  const std::uint16_t port = gone.port();
  gone.close();
  plant.targets.clear();
  plant.target(port);
  plant.target(origin.port());
  plant.group.retries.attempts = 2;
  plant.publish_and_wait();
  for (int i = 0; i < 2; ++i) {  // by turns: at least one of the two begins at who is gone
    user = client();
    target = origin.accept();
    user.send("x");
    EXPECT_EQ(target.read_bytes(1), "x");
    user.close();
    target.close();
  }
  EXPECT_EQ(last_record(2).reason, Fault::none);
  const std::uint32_t failed = last_record(1).attempts + last_record(2).attempts - 2;
  EXPECT_GE(failed, 1u);
  EXPECT_EQ(plant.live_target(port)->load(0).connect_failures.get(), failed);
  EXPECT_EQ(plant.live.group("web")->loads[0].retries.get(), failed);
}

TEST_F(Layer4, WithoutATargetTheClientIsReset) {
  Server gone;
  const std::uint16_t port = gone.port();
  gone.close();
  plant.targets.clear();
  plant.target(port);
  plant.publish_and_wait();
  user = client();
  EXPECT_TRUE(user.sees_reset());
  EXPECT_EQ(last_record(1).reason, Fault::connect_failed);
  EXPECT_EQ(last_record(1).attempts, plant.group.retries.attempts);
}

TEST_F(Layer4, NoMoreConnectionsThanATargetMayHave) {
  plant.group.limits.requests_per_target_max = 1;
  open();
  exchange_a_byte();
  Peer second = client();
  EXPECT_TRUE(second.sees_reset());
  EXPECT_EQ(last_record(1).reason, Fault::queue_full);
}

TEST_F(Layer4, NothingThatMovesEndsItByTheIdleLimitAndTheTotalOneHoldsAnyway) {
  plant.listener.timeouts.tunnel_idle = std::chrono::milliseconds(200);
  open();
  EXPECT_TRUE(user.sees_reset());
  EXPECT_EQ(last_record(1).reason, Fault::tunnel_timeout);
  plant.listener.timeouts.tunnel_idle = std::chrono::milliseconds(0);
  plant.listener.timeouts.tunnel_total = std::chrono::milliseconds(200);
  open();
  EXPECT_TRUE(user.sees_reset());
  EXPECT_EQ(last_record(2).reason, Fault::tunnel_timeout);
}

TEST_F(Layer4, ItIsCutByTheEndOfTheWorkerAndTheLogSaysSo) {
  open();
  exchange_a_byte();
  for (auto& worker : plant.workers) worker->stop();
  EXPECT_TRUE(user.sees_reset());
  EXPECT_TRUE(target.sees_reset());
  EXPECT_EQ(last_record(1).reason, Fault::drain_deadline);
}

TEST_F(Layer4, AddressesAreAdmittedOrNot) {
  plant.listener.access.deny = {{"127.0.0.0", 8}};
  plant.publish_and_wait();
  user = client();
  EXPECT_TRUE(user.sees_reset());
  EXPECT_EQ(last_record(1).reason, Fault::access_denied);
  EXPECT_TRUE(origin.nobody_comes());
}

TEST_F(Layer4, TlsGoesByTheNameAndOnAsItCame) {
  pass_tls_through();
  plant.publish_and_wait();
  const std::string hello = client_hello();
  user = client();
  user.send(hello.substr(0, 50));
  EXPECT_TRUE(origin.nobody_comes());
  user.send(hello.substr(50) + "early data");
  target = origin.accept();
  EXPECT_EQ(target.read_bytes(hello.size() + 10), hello + "early data");
  target.send("hi");
  EXPECT_EQ(user.read_bytes(2), "hi");
}

TEST_F(Layer4, ANameThatNoRuleHasGetsItsAlert) {
  pass_tls_through();
  plant.listener.rules[0].when.server_names = {"other.test"};
  plant.publish_and_wait();
  user = client();
  user.send(client_hello());
  EXPECT_EQ(user.read_all(), std::string("\x15\x03\x01\x00\x02\x02\x70", 7));
  EXPECT_EQ(last_record(1).reason, Fault::no_route);
  EXPECT_TRUE(origin.nobody_comes());
}

TEST_F(Layer4, WhatIsNoClientHelloGetsItsAlertAndAReason) {
  pass_tls_through();
  plant.publish_and_wait();
  user = client();
  user.send(kGet);
  EXPECT_EQ(user.read_all(), std::string("\x15\x03\x01\x00\x02\x02\x32", 7));
  EXPECT_EQ(last_record(1).reason, Fault::client_protocol);
  EXPECT_EQ(failures(Fault::client_protocol), 1u);
}

TEST_F(Layer4, HalfAClientHelloHasADeadline) {
  pass_tls_through();
  plant.listener.timeouts.request_head = std::chrono::milliseconds(200);
  plant.publish_and_wait();
  user = client();
  user.send(client_hello().substr(0, 50));
  EXPECT_TRUE(user.sees_reset());
  EXPECT_EQ(last_record(1).reason, Fault::client_timeout);
}

}  // namespace
}  // namespace lbd
