// One check at a time, against targets that hang up before they have read it.
#include "health/probe.h"

#include <gtest/gtest.h>

#include <csignal>
#include <optional>
#include <string>
#include <thread>

#include "tests/support/certificates.h"
#include "tests/support/loopback.h"

namespace lbd::health {
namespace {

/// A target over TLS 1.3 that says its piece before the client's half of the handshake is here, and
/// closes: the check's own write finds nobody.
class HastyTarget : public testing::Test, protected CertificateFolder {
 protected:
  HastyTarget() {
    ::signal(SIGPIPE, SIG_IGN);
    write("app", ec_key(), "DNS:app.test");
    SSL_CTX_use_certificate_file(context.get(), path("app.pem").c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(context.get(), path("app.key").c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_set_max_early_data(context.get(), 1000);  // none comes
  }

  void answer_at_once(const std::string& answer) {
    const int fd = server.accept().release();
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);  // all of it goes out with the close
    const std::unique_ptr<SSL, Freed<SSL, SSL_free>> ssl(SSL_new(context.get()));
    SSL_set_fd(ssl.get(), fd);
    char none = 0;
    std::size_t size = 0;
    EXPECT_EQ(SSL_read_early_data(ssl.get(), &none, 1, &size), SSL_READ_EARLY_DATA_FINISH);
    EXPECT_EQ(SSL_write_early_data(ssl.get(), answer.data(), answer.size(), &size), 1);
    ::close(fd);
  }

  static Task<> check(net::Loop& loop, Probe& probe, net::TcpDial::To to,
                      std::optional<CheckResult>* into) {
    config::HealthCheck settings;
    settings.protocol = config::CheckProtocol::https;
    settings.timeout = std::chrono::milliseconds(5000);
    *into = co_await probe.run(std::move(to), settings);
    loop.stop();
  }

  CheckResult verdict_of(const std::string& answer) {
    net::TlsClientSettings settings;
    settings.trust_file = path("app.pem");
    settings.server_name = "app.test";
    std::thread target([&] { answer_at_once(answer); });
    net::Loop loop;
    Probe probe(loop);
    TaskGroup tasks;
    std::optional<CheckResult> result;
    const net::TcpDial::To to{*net::SocketAddress::parse("127.0.0.1", server.port()),
                              *net::make_tls_client(settings)};
    tasks.spawn(check(loop, probe, to, &result));
    loop.run();
    target.join();
    return *result;
  }

  Server server;
  std::unique_ptr<SSL_CTX, Freed<SSL_CTX, SSL_CTX_free>> context{SSL_CTX_new(TLS_server_method())};
};

TEST_F(HastyTarget, ItsAnswerCountsAlthoughTheRequestCouldNotBeSent) {
  const CheckResult result = verdict_of("HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(result.failure, CheckFailure::code_mismatch) << result.detail;
  EXPECT_EQ(result.status, 503);
}

TEST_F(HastyTarget, WithoutAnAnswerItDidNotReadTheRequest) {
  const CheckResult result = verdict_of("HTTP/1.1 ");
  EXPECT_EQ(result.failure, CheckFailure::reset);
  EXPECT_EQ(result.detail, "closed before it read the request");
}

}  // namespace
}  // namespace lbd::health
