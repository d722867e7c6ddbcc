// Clients that show a certificate: who is let in.
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <thread>

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

  TlsServerSettings settings;
  std::shared_ptr<SSL_SESSION> session;
};

TEST_F(ClientCertificateTest, OnlyAuthoritiesThatAreTrustedLetIn) {
  write("client", ec_key(), "");
  write("stranger", ec_key(), "");
  const auto server = trusting("client");
  const auto known = with(server, "client");
  ASSERT_TRUE(known.has_value()) << known.error().detail;
  for (const char* name : {"", "stranger"}) {
    const auto refused = with(server, name);
    ASSERT_FALSE(refused.has_value()) << name;
    EXPECT_EQ(refused.error().fault, TlsFault::client_certificate) << name;
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
