#include "lbd/net/tls.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "tests/support/tls_rig.h"

namespace lbd::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(TlsTest, AHandshakeSaysWhatWasAgreed) {
  std::string answer;
  const auto accepted = meet(
      simple_server(),
      [&](Client& client) {
        SSL_set_tlsext_host_name(client.ssl.get(), "One.Test");
        const std::array<unsigned char, 12> alpn{2,   'h', '2', 8,   'h', 't',
                                                 't', 'p', '/', '1', '.', '1'};
        SSL_set_alpn_protos(client.ssl.get(), alpn.data(), alpn.size());
        ASSERT_TRUE(client.connect());
        SSL_write(client.ssl.get(), "hello", 5);
        answer = client.read();
        SSL_shutdown(client.ssl.get());
      },
      &TlsTest::echo);
  ASSERT_TRUE(accepted.has_value());
  EXPECT_EQ(answer, "hello");
  EXPECT_EQ(accepted->info.version, "TLSv1.3");
  EXPECT_EQ(accepted->info.server_name, "one.test");
  EXPECT_EQ(accepted->info.alpn, "http/1.1");
  EXPECT_FALSE(accepted->info.resumed);
}

TEST_F(TlsTest, AClientWithoutAProtocolInCommonIsRefused) {
  bool connected = true;
  const auto accepted = meet(simple_server(), [&](Client& client) {
    const std::array<unsigned char, 3> alpn{2, 'h', '2'};
    SSL_set_alpn_protos(client.ssl.get(), alpn.data(), alpn.size());
    connected = client.connect();
  });
  EXPECT_FALSE(connected);
  EXPECT_FALSE(accepted.has_value());
}

TEST_F(TlsTest, TheCertificateIsThatOfTheWantedName) {
  TlsServerSettings settings;
  settings.certificates = {make("default", ec_key(), "DNS:default.test"),
                           make("shop", ec_key(), "DNS:shop.test,DNS:www.shop.test"),
                           make("wild", ec_key(), "DNS:*.wild.test"),
                           make("exact", ec_key(), "DNS:exact.wild.test")};
  const auto server = serve(std::move(settings));
  const auto shown = [&](const char* name) {
    std::string peer;
    (void)meet(server, [&](Client& client) {
      if (name != nullptr) SSL_set_tlsext_host_name(client.ssl.get(), name);
      ASSERT_TRUE(client.connect());
      peer = client.peer_name();
    });
    return peer;
  };
  EXPECT_EQ(shown("shop.test"), "shop");
  EXPECT_EQ(shown("WWW.shop.test"), "shop");
  EXPECT_EQ(shown("a.wild.test"), "wild");
  EXPECT_EQ(shown("exact.wild.test"), "exact");
  EXPECT_EQ(shown("a.b.wild.test"), "default");  // a star is one label
  EXPECT_EQ(shown("wild.test"), "default");
  EXPECT_EQ(shown("elsewhere.test"), "default");
  EXPECT_EQ(shown(nullptr), "default");
}

TEST_F(TlsTest, AClientWithoutEllipticCurveCertificatesGetsTheRsaOneOfTheSameName) {
  TlsServerSettings settings;
  settings.certificates = {make("other", ec_key(), "DNS:other.test"),
                           make("ec", ec_key(), "DNS:both.test"),
                           make("rsa", rsa_key(2048), "DNS:both.test")};
  const auto server = serve(std::move(settings));
  const auto shown = [&](const char* algorithms) {
    std::string peer;
    (void)meet(server, [&](Client& client) {
      SSL_set_tlsext_host_name(client.ssl.get(), "both.test");
      SSL_set1_sigalgs_list(client.ssl.get(), algorithms);
      ASSERT_TRUE(client.connect());
      peer = client.peer_name();
    });
    return peer;
  };
  EXPECT_EQ(shown("ECDSA+SHA256:RSA-PSS+SHA256"), "ec");
  EXPECT_EQ(shown("RSA-PSS+SHA256:RSA+SHA256"), "rsa");
}

TEST_F(TlsTest, TheModernProfileRefusesAnOlderVersion) {
  TlsServerSettings settings;
  settings.policy = TlsPolicy::modern;
  settings.certificates = {make("one", ec_key(), "DNS:one.test")};
  const auto server = serve(std::move(settings));
  const auto old = [](Client& client) {
    SSL_set_max_proto_version(client.ssl.get(), TLS1_2_VERSION);
    EXPECT_FALSE(client.connect());
  };
  const auto accepted = meet(server, old);
  ASSERT_FALSE(accepted.has_value());
  EXPECT_EQ(accepted.error().fault, TlsFault::version);
}

TEST_F(TlsTest, TheIntermediateProfileAcceptsTls12AndRefusesTls11) {
  const auto server = simple_server();
  const auto accepted = meet(server, [](Client& client) {
    SSL_set_max_proto_version(client.ssl.get(), TLS1_2_VERSION);
    EXPECT_TRUE(client.connect());
  });
  ASSERT_TRUE(accepted.has_value());
  EXPECT_EQ(accepted->info.version, "TLSv1.2");
  const auto older = meet(server, [](Client& client) {
    SSL_CTX_set_security_level(client.context.get(), 0);
    SSL_set_security_level(client.ssl.get(), 0);
    SSL_set_min_proto_version(client.ssl.get(), TLS1_1_VERSION);
    SSL_set_max_proto_version(client.ssl.get(), TLS1_1_VERSION);
    EXPECT_FALSE(client.connect());
  });
  ASSERT_FALSE(older.has_value());
  EXPECT_EQ(older.error().fault, TlsFault::version);
}

TEST_F(TlsTest, HttpInTheClearIsRecognisedAsSuch) {
  const auto accepted = meet(simple_server(), [](Client& client) {
    const std::string_view text = "GET / HTTP/1.1\r\nHost: one.test\r\n\r\n";
    ::send(client.fd, text.data(), text.size(), MSG_NOSIGNAL);
    std::array<char, 64> room{};
    while (::recv(client.fd, room.data(), room.size(), 0) > 0) {
    }
  });
  ASSERT_FALSE(accepted.has_value());
  EXPECT_EQ(accepted.error().fault, TlsFault::not_tls);
}

TEST_F(TlsTest, AClientThatSaysNothingIsGivenUpAtTheDeadline) {
  patience = milliseconds(200);
  const auto accepted = meet(simple_server(), [](Client& client) {
    char byte = 0;
    EXPECT_LE(::recv(client.fd, &byte, 1, 0), 0);
  });
  ASSERT_FALSE(accepted.has_value());
  EXPECT_EQ(accepted.error().fault, TlsFault::timeout);
}

TEST_F(TlsTest, AClientThatLeavesInTheHandshakeIsSeen) {
  const auto accepted = meet(simple_server(), [](Client&) {});
  ASSERT_FALSE(accepted.has_value());
  EXPECT_EQ(accepted.error().fault, TlsFault::closed);
}

TEST_F(TlsTest, LargeBodiesPassBothWays) {
  std::string text(3 << 20, 'a');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  std::string got;
  (void)meet(
      simple_server(),
      [&](Client& client) {
        ASSERT_TRUE(client.connect());
        std::thread writer([&] {
          for (std::size_t at = 0; at < text.size();) {
            const int step =
                SSL_write(client.ssl.get(), text.data() + at,
                          static_cast<int>(std::min<std::size_t>(100'000, text.size() - at)));
            if (step <= 0) return;
            at += static_cast<std::size_t>(step);
            std::this_thread::sleep_for(milliseconds(1));
            got += client.read_all(static_cast<std::size_t>(step));
          }
        });
        writer.join();
        SSL_shutdown(client.ssl.get());
      },
      &TlsTest::echo);
  EXPECT_TRUE(got == text);
}

Task<> send_much(Stream& stream) {
  std::string text(8 << 20, 'x');
  std::string head = "head";
  const std::array<iovec, 3> pieces{iovec{head.data(), head.size()}, iovec{nullptr, 0},
                                    iovec{text.data(), text.size()}};
  const IoResult sent = co_await stream.write(pieces);
  EXPECT_TRUE(sent.ok());
  EXPECT_EQ(sent.bytes, text.size() + head.size());
}

TEST_F(TlsTest, OneWriteMayBeLargerThanAnyBufferAndEndsWithACloseNotify) {
  std::string got;
  int end = 0;
  (void)meet(
      simple_server(),
      [&](Client& client) {
        ASSERT_TRUE(client.connect());
        std::this_thread::sleep_for(milliseconds(50));
        got = client.read_all(SIZE_MAX);
        end = SSL_get_error(client.ssl.get(), SSL_read(client.ssl.get(), &end, 1));
      },
      &send_much);
  EXPECT_EQ(got.size(), (8U << 20) + 4);
  EXPECT_EQ(got.substr(0, 5), "headx");
  EXPECT_EQ(end, SSL_ERROR_ZERO_RETURN);
}

TEST_F(TlsTest, AKeyUpdateOfTheClientIsAnswered) {
  std::string got;
  (void)meet(
      simple_server(),
      [&](Client& client) {
        ASSERT_TRUE(client.connect());
        SSL_key_update(client.ssl.get(), SSL_KEY_UPDATE_REQUESTED);
        SSL_write(client.ssl.get(), "after", 5);
        got = client.read();
        SSL_shutdown(client.ssl.get());
      },
      &TlsTest::echo);
  EXPECT_EQ(got, "after");
}

std::string ticket_of(SSL_SESSION* session) {
  const unsigned char* bytes = nullptr;
  std::size_t size = 0;
  SSL_SESSION_get0_ticket(session, &bytes, &size);
  return {reinterpret_cast<const char*>(bytes), size};
}

TEST_F(TlsTest, ASessionIsResumedOverAReloadAndTwoChangesOfTheTicketKey) {
  auto keys = std::make_shared<TlsTicketKeys>();
  const auto certificate = make("one", ec_key(), "DNS:one.test");
  const auto server = [&](const std::string& listener) {
    TlsServerSettings settings;
    settings.certificates = {certificate};
    settings.tickets = keys;
    settings.session_context = listener;
    return serve(std::move(settings));
  };
  std::shared_ptr<SSL_SESSION> session;
  const auto resumed = [&](const std::shared_ptr<const TlsServer>& with) {
    const auto accepted = meet(
        with,
        [&](Client& client) {
          if (session) SSL_set_session(client.ssl.get(), session.get());
          ASSERT_TRUE(client.connect());
          SSL_write(client.ssl.get(), "x", 1);
          client.read();  // brings the ticket
          session = {SSL_get1_session(client.ssl.get()), SSL_SESSION_free};
          SSL_shutdown(client.ssl.get());
        },
        &TlsTest::echo);
    return accepted.has_value() && accepted->info.resumed;
  };
  EXPECT_FALSE(resumed(server("public")));
  const auto first = session;
  EXPECT_TRUE(resumed(server("public")));
  // A TLS 1.3 client uses a ticket once, so each session has to bring a new one.
  EXPECT_NE(ticket_of(session.get()), ticket_of(first.get()));
  EXPECT_TRUE(resumed(server("public")));
  session = first;
  EXPECT_FALSE(resumed(server("other")));  // another listener's sessions are its own
  session = first;
  keys->rotate();
  EXPECT_TRUE(resumed(server("public")));
  session = first;
  keys->rotate();
  EXPECT_TRUE(resumed(server("public")));
  session = first;
  keys->rotate();
  EXPECT_FALSE(resumed(server("public")));
}

TEST_F(TlsTest, FilesThatDoNotFitAreRefusedWithASentence) {
  const auto refusal = [&](const std::string& chain, const std::string& key) {
    const auto loaded = load_certificate(path(chain), path(key));
    return loaded ? std::string("loaded") : loaded.error().message;
  };
  write("a", ec_key(), "DNS:a.test");
  write("b", ec_key(), "DNS:b.test");
  write("weak", rsa_key(1024), "DNS:weak.test");
  EXPECT_EQ(refusal("a.pem", "a.key"), "loaded");
  EXPECT_EQ(refusal("a.pem", "b.key"),
            "the key in " + path("b.key") + " is not that of the certificate in " + path("a.pem"));
  EXPECT_EQ(refusal("none.pem", "a.key"),
            "cannot read " + path("none.pem") + ": No such file or directory");
  EXPECT_EQ(refusal("a.key", "a.key"), path("a.key") + ": no certificate in it: no start line");
  EXPECT_TRUE(refusal("a.pem", "b.pem")
                  .starts_with(path("b.pem") + ": no private key without a password in it: "));
  EXPECT_EQ(refusal("weak.pem", "weak.key"), path("weak.key") + ": a key of 1024 bits is too weak");
  EXPECT_FALSE(make_tls_server({}).has_value());
}

}  // namespace
}  // namespace lbd::net
