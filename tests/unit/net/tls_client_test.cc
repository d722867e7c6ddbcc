// Dialling over TLS, against OpenSSL's own blocking server on a thread.
#include <gtest/gtest.h>

#include <csignal>
#include <cstring>
#include <functional>
#include <optional>
#include <thread>

#include "lbd/net/goodbye.h"
#include "lbd/net/tcp_stream.h"
#include "tests/support/certificates.h"
#include "tests/support/loopback.h"

namespace lbd::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// What the target does once it has shaken hands.
using Serve = std::function<void(SSL*)>;

/// A request that goes out when the target has long hung up.
enum class LateWrite { none, noticed, unnoticed };

struct Met {
  std::optional<Dialled> dialled;
  IoResult written;
  IoResult read;
  std::string text;   // that was read
  std::string words;  // of the stream's failure
  bool target_content = false;
  [[nodiscard]] bool ok() const { return dialled->has_value(); }
  [[nodiscard]] TlsFailure failure() const { return dialled->error().tls; }
};

class TlsClientTest : public testing::Test, protected CertificateFolder {
 protected:
  TlsClientTest() {
    ::signal(SIGPIPE, SIG_IGN);
    write("app", ec_key(), "DNS:app.test,IP:127.0.0.1");
    write("other", ec_key(), "DNS:app.test");
  }

  [[nodiscard]] TlsClientSettings trusting(const std::string& name, std::string wanted) const {
    TlsClientSettings settings;
    settings.trust_file = path(name + ".pem");
    settings.server_name = std::move(wanted);
    return settings;
  }
  static std::shared_ptr<const TlsClient> make(TlsClientSettings settings) {
    auto made = make_tls_client(std::move(settings));
    EXPECT_TRUE(made.has_value()) << made.error().message;
    return *made;
  }
  /// A target that shows certificate `name`.
  void show(const std::string& name) {
    EXPECT_EQ(
        SSL_CTX_use_certificate_file(context.get(), path(name + ".pem").c_str(), SSL_FILETYPE_PEM),
        1);
    EXPECT_EQ(
        SSL_CTX_use_PrivateKey_file(context.get(), path(name + ".key").c_str(), SSL_FILETYPE_PEM),
        1);
  }
  static void say_ok_and_goodbye(SSL* ssl) {
    SSL_write(ssl, "ok", 2);
    SSL_shutdown(ssl);
  }

  /// `unnoticed`: the loop does not look at the socket before the write.
  static Task<> write_late(Loop& loop, Stream& stream, LateWrite how, Met* met) {
    if (how == LateWrite::noticed) {
      const TimePoint due = loop.clock().now() + milliseconds(150);
      co_await sleep_until(loop.clock(), due);
    } else {
      std::this_thread::sleep_for(milliseconds(150));
    }
    const std::string request = "GET / HTTP/1.1\r\n\r\n";
    const iovec piece{const_cast<char*>(request.data()), request.size()};
    met->written = co_await stream.write(std::span<const iovec>(&piece, 1));
  }

  static Task<> dial(Loop& loop, TcpDial::To to, LateWrite late, Met* met) {
    const TimePoint due = loop.clock().now() + seconds(10);
    met->dialled = co_await dial_tcp(loop, std::move(to), due);
    if (*met->dialled) {
      Stream& stream = ***met->dialled;
      if (late != LateWrite::none) co_await write_late(loop, stream, late, met);
      std::string room(100, '\0');
      do {
        met->read = co_await stream.read(room);
        met->text.append(room, 0, met->read.bytes);
      } while (met->read.ok());
    }
    loop.stop();
  }

  /// One connection of `client` to a target that shakes hands and then does `serve`.
  Met meet(const std::shared_ptr<const TlsClient>& client, const Serve& serve,
           LateWrite late = LateWrite::none) {
    Met met;
    std::thread thread([&] {
      const int fd = server.accept().release();
      const std::unique_ptr<SSL, Freed<SSL, SSL_free>> ssl(SSL_new(context.get()));
      SSL_set_fd(ssl.get(), fd);
      met.target_content = SSL_accept(ssl.get()) == 1;
      if (met.target_content && serve) serve(ssl.get());
      ::close(fd);
    });
    Loop loop;
    TaskGroup tasks;
    tasks.spawn(
        dial(loop, {*SocketAddress::parse("127.0.0.1", server.port()), client}, late, &met));
    loop.run();
    if (met.ok()) {
      kind = (**met.dialled)->tls_kind();
      met.words = (**met.dialled)->failure_text();
      EXPECT_EQ((**met.dialled)->tls_client(), client.get());
      (**met.dialled).reset();
    }
    thread.join();
    return met;
  }

  Server server;
  std::unique_ptr<SSL_CTX, Freed<SSL_CTX, SSL_CTX_free>> context{SSL_CTX_new(TLS_server_method())};
  TlsKind kind = TlsKind::none;
};

TEST_F(TlsClientTest, ATargetOfTheWantedNameIsTrusted) {
  show("app");
  std::string asked;
  const Met met = meet(make(trusting("app", "app.test")), [&](SSL* ssl) {
    asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    say_ok_and_goodbye(ssl);
  });
  ASSERT_TRUE(met.ok());
  EXPECT_EQ(asked, "app.test");
  EXPECT_EQ(met.text, "ok");
  EXPECT_EQ(met.read.fault, Fault::closed);
  EXPECT_EQ(kind, TlsKind::tls13);
}

TEST_F(TlsClientTest, ACertificateOfAnotherNameIsRefusedAndTheWantedOneIsTold) {
  show("app");
  const Met met = meet(make(trusting("app", "shop.test")), {});
  ASSERT_FALSE(met.ok());
  EXPECT_EQ(met.dialled->error().fault, Fault::tls_failed);
  EXPECT_EQ(met.failure().fault, TlsFault::certificate);
  EXPECT_NE(met.failure().detail.find("wanted shop.test"), std::string::npos)
      << met.failure().detail;
}

TEST_F(TlsClientTest, WithoutANameTheCertificateMustNameTheAddressAndNoNameIsAskedFor) {
  show("app");
  bool asked = true;
  EXPECT_TRUE(meet(make(trusting("app", "")), [&](SSL* ssl) {
                asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) != nullptr;
              }).ok());
  EXPECT_FALSE(asked);
  show("other");
  const Met met = meet(make(trusting("other", "")), {});
  ASSERT_FALSE(met.ok());
  EXPECT_NE(met.failure().detail.find("wanted 127.0.0.1"), std::string::npos)
      << met.failure().detail;
}

TEST_F(TlsClientTest, AStrangersCertificateIsRefusedUnlessNothingIsVerified) {
  show("other");
  const Met met = meet(make(trusting("app", "app.test")), {});
  ASSERT_FALSE(met.ok());
  EXPECT_EQ(met.failure().fault, TlsFault::certificate);
  TlsClientSettings anyone;
  anyone.verify = false;
  EXPECT_TRUE(meet(make(anyone), &TlsClientTest::say_ok_and_goodbye).ok());
}

TEST_F(TlsClientTest, AnExpiredCertificateIsRefused) {
  write("old", ec_key(), "DNS:app.test", -60);
  show("old");
  const Met met = meet(make(trusting("old", "app.test")), {});
  ASSERT_FALSE(met.ok());
  EXPECT_NE(met.failure().detail.find("expired"), std::string::npos) << met.failure().detail;
}

TEST_F(TlsClientTest, ATargetOfAnOlderVersionIsToldApart) {
  show("app");
  SSL_CTX_set_max_proto_version(context.get(), TLS1_1_VERSION);
  SSL_CTX_set_security_level(context.get(), 0);
  const Met met = meet(make(trusting("app", "app.test")), {});
  ASSERT_FALSE(met.ok());
  EXPECT_EQ(met.failure().fault, TlsFault::version) << met.failure().detail;
}

TEST_F(TlsClientTest, SessionsAreResumedByTheSameSettingsOnly) {
  show("app");
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const bool newer = version == TLS1_3_VERSION;
    SSL_CTX_set_max_proto_version(context.get(), version);
    const auto client = make(trusting("app", "app.test"));
    ASSERT_TRUE(meet(client, &TlsClientTest::say_ok_and_goodbye).ok());
    EXPECT_EQ(kind, newer ? TlsKind::tls13 : TlsKind::tls12);
    for (int again = 0; again < 3; ++again) {
      ASSERT_TRUE(meet(client, &TlsClientTest::say_ok_and_goodbye).ok());
      EXPECT_EQ(kind, newer ? TlsKind::tls13_resumed : TlsKind::tls12_resumed);
    }
    ASSERT_TRUE(meet(make(trusting("app", "app.test")), &TlsClientTest::say_ok_and_goodbye).ok());
    EXPECT_EQ(kind, newer ? TlsKind::tls13 : TlsKind::tls12);
  }
}

// Resuming verifies nothing.
TEST_F(TlsClientTest, NoSessionOutlivesTheCertificateItWasMadeWith) {
  write("brief", ec_key(), "DNS:app.test", 3);
  show("brief");
  const auto client = make(trusting("brief", "app.test"));
  ASSERT_TRUE(meet(client, &TlsClientTest::say_ok_and_goodbye).ok());
  std::this_thread::sleep_for(milliseconds(4100));
  const Met met = meet(client, &TlsClientTest::say_ok_and_goodbye);
  ASSERT_FALSE(met.ok());
  EXPECT_NE(met.failure().detail.find("expired"), std::string::npos) << met.failure().detail;
}

TEST_F(TlsClientTest, ATargetThatWantsACertificateIsShownOurs) {
  show("app");
  write("lbd", ec_key(), "DNS:lbd.test");
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  ASSERT_EQ(SSL_CTX_load_verify_file(context.get(), path("lbd.pem").c_str()), 1);
  TlsClientSettings settings = trusting("app", "app.test");
  settings.certificate = *load_certificate(path("lbd.pem"), path("lbd.key"));
  const Met met = meet(make(settings), &TlsClientTest::say_ok_and_goodbye);
  ASSERT_TRUE(met.ok());
  EXPECT_EQ(met.text, "ok");
}

TEST_F(TlsClientTest, ARefusalThatComesAfterTheHandshakeIsToldApartFromABrokenConnection) {
  show("app");
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  const Met met = meet(make(trusting("app", "app.test")), {});
  EXPECT_FALSE(met.target_content);
  ASSERT_TRUE(met.ok());  // with TLS 1.3, as far as we can tell
  EXPECT_EQ(met.read.fault, Fault::tls_failed);
}

// Its alert comes with a reset: who writes before he has read must not lose it.
TEST_F(TlsClientTest, ARefusalIsTheReasonOfAWriteThatFailsAfterIt) {
  show("app");
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  for (const LateWrite how : {LateWrite::noticed, LateWrite::unnoticed}) {
    const Met met = meet(make(trusting("app", "app.test")), {}, how);
    ASSERT_TRUE(met.ok());
    EXPECT_EQ(met.written.fault, Fault::tls_failed) << std::strerror(met.written.error);
    EXPECT_EQ(met.read.fault, Fault::tls_failed) << std::strerror(met.read.error);
    EXPECT_NE(met.words.find("certificate required"), std::string::npos) << met.words;
  }
}

// A target may answer before it has read, and hang up.
TEST_F(TlsClientTest, AWriteThatFailsLosesNothingOfWhatTheTargetHasSaid) {
  show("app");
  for (const LateWrite how : {LateWrite::noticed, LateWrite::unnoticed}) {
    const Met met = meet(
        make(trusting("app", "app.test")),
        [](SSL* ssl) {
          SSL_write(ssl, "too ", 4);
          SSL_write(ssl, "busy", 4);
          SSL_shutdown(ssl);
          const linger now{1, 0};
          ::setsockopt(SSL_get_fd(ssl), SOL_SOCKET, SO_LINGER, &now, sizeof now);
        },
        how);
    ASSERT_TRUE(met.ok());
    EXPECT_EQ(met.written.fault, Fault::io_error);
    EXPECT_EQ(met.text, "too busy");
    EXPECT_EQ(met.read.fault, Fault::closed);
  }
}

// Anyone on the way can end a TCP connection.
TEST_F(TlsClientTest, AnEndWithoutAGoodbyeIsABrokenConnection) {
  show("app");
  const Met met =
      meet(make(trusting("app", "app.test")), [](SSL* ssl) { SSL_write(ssl, "part", 4); });
  ASSERT_TRUE(met.ok());
  EXPECT_EQ(met.text, "part");
  EXPECT_EQ(met.read.fault, Fault::io_error);
  EXPECT_EQ(met.read.error, kNoGoodbye);
}

TEST_F(TlsClientTest, TheDeadlineCoversTheHandshake) {
  Loop loop;
  TaskGroup tasks;
  std::optional<Dialled> dialled;
  struct Silent {
    static Task<> dial(Loop& loop, TcpDial::To to, std::optional<Dialled>* into) {
      const TimePoint due = loop.clock().now() + milliseconds(100);
      *into = co_await dial_tcp(loop, std::move(to), due);
      loop.stop();
    }
  };
  const TimePoint began = loop.clock().now();
  const SocketAddress to = *SocketAddress::parse("127.0.0.1", server.port());
  tasks.spawn(Silent::dial(loop, {to, make(trusting("app", "app.test"))}, &dialled));
  loop.run();  // the kernel accepts, and nobody answers
  ASSERT_FALSE(dialled->has_value());
  EXPECT_EQ(dialled->error().fault, Fault::connect_timeout);
  EXPECT_GE(loop.clock().now(), began + milliseconds(100));
}

TEST_F(TlsClientTest, ATrustFileThatIsNoUseIsNamed) {
  for (const char* name : {"missing.pem", "app.key"}) {
    TlsClientSettings settings;
    settings.trust_file = path(name);
    const auto made = make_tls_client(settings);
    ASSERT_FALSE(made.has_value()) << name;
    EXPECT_NE(made.error().message.find(name), std::string::npos) << made.error().message;
    const auto read = read_trust_file(path(name));
    ASSERT_FALSE(read.has_value()) << name;
    EXPECT_NE(read.error().message.find(name), std::string::npos) << read.error().message;
  }
}

}  // namespace
}  // namespace lbd::net
