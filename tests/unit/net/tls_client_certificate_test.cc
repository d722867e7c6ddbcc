// Clients that show a certificate: who is let in, and what is said of it.
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <cstdio>
#include <memory>
#include <regex>
#include <string>
#include <thread>
#include <utility>

#include "tests/support/tls_rig.h"

namespace lbd::net {
namespace {

class ClientCertificateTest : public TlsTest {
 protected:
  ClientCertificateTest() { settings.certificates = {make("one", ec_key(), "DNS:one.test")}; }

  /// Meets a client that shows the certificate `name`; none when it is empty. Takes up `session`
  /// where there is one, and keeps the newest.
  Accepted with(const std::shared_ptr<const TlsServer>& server, const std::string& name,
                int version = TLS1_3_VERSION) {
    return meet(
        server,
        [&](Client& client) {
          SSL_set_max_proto_version(client.ssl.get(), version);
          if (!name.empty()) {
            SSL_use_certificate_file(client.ssl.get(), path(name + ".pem").c_str(),
                                     SSL_FILETYPE_PEM);
            SSL_use_PrivateKey_file(client.ssl.get(), path(name + ".key").c_str(),
                                    SSL_FILETYPE_PEM);
          }
          if (session) SSL_set_session(client.ssl.get(), session.get());
          if (!client.connect()) return;
          SSL_write(client.ssl.get(), "x", 1);
          if (client.read().empty()) return;  // brings the ticket
          session = {SSL_get1_session(client.ssl.get()), SSL_SESSION_free};
          SSL_shutdown(client.ssl.get());
        },
        &TlsTest::echo);
  }
  std::shared_ptr<const TlsServer> trusting(const std::string& name) {
    settings.client_certificates = ClientCertificates::required;
    settings.client_trust_file = path(name + ".pem");
    return serve(settings);
  }
  [[nodiscard]] std::string pem(const std::string& name) const {
    std::unique_ptr<FILE, Freed<FILE, fclose>> file(fopen(path(name + ".pem").c_str(), "r"));
    std::string text(100'000, '\0');
    text.resize(fread(text.data(), 1, text.size(), file.get()));
    return text;
  }

  TlsServerSettings settings;
  std::shared_ptr<SSL_SESSION> session;
};

TEST_F(ClientCertificateTest, OnlyAuthoritiesThatAreTrustedLetIn) {
  write("client", ec_key(), "");
  write("stranger", ec_key(), "");
  const auto server = trusting("client");
  const auto known = with(server, "client");
  ASSERT_TRUE(known.has_value()) << known.error().detail;
  EXPECT_EQ(known->info.client_certificate, nullptr);  // nobody asked what it says
  for (const char* name : {"", "stranger"}) {
    const auto refused = with(server, name);
    ASSERT_FALSE(refused.has_value()) << name;
    EXPECT_EQ(refused.error().fault, TlsFault::client_certificate) << name;
  }
}

TEST_F(ClientCertificateTest, WhatItSaysIsTextForHeaderFields) {
  write("client", ec_key(), "DNS:client.test");
  settings.describes_clients = true;
  const auto met = with(trusting("client"), "client");
  ASSERT_TRUE(met.has_value()) << met.error().detail;
  ASSERT_NE(met->info.client_certificate, nullptr);
  const ClientCertificate& told = *met->info.client_certificate;
  EXPECT_EQ(told.serial_number, "1267");
  EXPECT_EQ(told.subject, "CN=client");
  EXPECT_EQ(told.issuer, "CN=client");
  EXPECT_TRUE(std::regex_match(told.validity,
                               std::regex("NotBefore=\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ;"
                                          "NotAfter=\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ")))
      << told.validity;
  std::string encoded = pem("client");
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"\n", "%0A"}, {" ", "%20"}}) {
    for (std::size_t at = 0; (at = encoded.find(from, at)) != std::string::npos;) {
      encoded.replace(at, from.size(), to);
    }
  }
  EXPECT_EQ(told.leaf, encoded);
}

// A name is what its authority let pass: it must not end a header field and begin another.
TEST_F(ClientCertificateTest, NoNameCanBreakOutOfItsField) {
  write("evil\r\nX-Admin: yes, \xc3\xa4\x01 ", ec_key(), "");
  settings.describes_clients = true;
  const std::string name = "evil\r\nX-Admin: yes, \xc3\xa4\x01 ";
  const auto met = with(trusting(name), name);
  ASSERT_TRUE(met.has_value()) << met.error().detail;
  EXPECT_EQ(met->info.client_certificate->subject,
            "CN=evil\\0D\\0AX-Admin: yes\\, \\C3\\A4\\01\\ ");
}

TEST_F(ClientCertificateTest, NothingIsSaidOfAClientThatShowsNone) {
  write("client", ec_key(), "");
  settings.describes_clients = true;
  settings.client_certificates = ClientCertificates::optional;
  settings.client_trust_file = path("client.pem");
  const auto met = with(serve(settings), "");
  ASSERT_TRUE(met.has_value()) << met.error().detail;
  EXPECT_EQ(met->info.client_certificate, nullptr);
}

TEST_F(ClientCertificateTest, AResumedSessionSaysTheSame) {
  write("client", ec_key(), "");
  settings.describes_clients = true;
  settings.tickets = std::make_shared<TlsTicketKeys>();
  const auto server = trusting("client");
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    session = nullptr;
    const auto first = with(server, "client", version);
    const auto again = with(server, "", version);  // its key is not used again
    ASSERT_TRUE(first.has_value() && again.has_value());
    EXPECT_FALSE(first->info.resumed);
    EXPECT_TRUE(again->info.resumed);
    ASSERT_NE(again->info.client_certificate, nullptr);
    EXPECT_EQ(again->info.client_certificate->leaf, first->info.client_certificate->leaf);
    EXPECT_EQ(again->info.client_certificate->serial_number, "1267");
  }
}

TEST_F(ClientCertificateTest, NoSessionOutlivesTheCertificateItWasMadeWith) {
  write("brief", ec_key(), "", 3);
  settings.tickets = std::make_shared<TlsTicketKeys>();
  const auto server = trusting("brief");
  ASSERT_TRUE(with(server, "brief").has_value());
  const auto again = with(server, "brief");
  ASSERT_TRUE(again.has_value());
  EXPECT_TRUE(again->info.resumed);
  std::this_thread::sleep_for(std::chrono::milliseconds(4100));
  for (const char* name : {"brief", ""}) {
    const auto late = with(server, name);
    ASSERT_FALSE(late.has_value()) << name;
    EXPECT_EQ(late.error().fault, TlsFault::client_certificate) << late.error().detail;
  }
}

}  // namespace
}  // namespace lbd::net
