// A listener's side of TLS, against OpenSSL's own blocking client on a thread.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lbd/net/tls.h"
#include "tests/support/certificates.h"

namespace lbd::net {

class TlsTest : public testing::Test, protected CertificateFolder {
 protected:
  TlsTest() {
    ::signal(SIGPIPE, SIG_IGN);  // the client's, whose writes are OpenSSL's own
  }

  std::shared_ptr<const TlsCertificate> make(const std::string& name, const Key& key,
                                             const std::string& names) {
    write(name, key, names);
    auto loaded = load_certificate(path(name + ".pem"), path(name + ".key"));
    EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
    return *loaded;
  }
  std::shared_ptr<const TlsServer> serve(TlsServerSettings settings) {
    auto made = make_tls_server(std::move(settings));
    EXPECT_TRUE(made.has_value()) << made.error().message;
    return *made;
  }
  std::shared_ptr<const TlsServer> simple_server() {
    TlsServerSettings settings;
    settings.certificates = {make("one", ec_key(), "DNS:one.test")};
    return serve(std::move(settings));
  }

  /// A client with OpenSSL's own blocking calls, on a thread of its own.
  struct Client {
    explicit Client(int descriptor)
        : fd(descriptor), context(SSL_CTX_new(TLS_client_method())), ssl(SSL_new(context.get())) {}
    bool connect() {
      SSL_set_fd(ssl.get(), fd);
      return SSL_connect(ssl.get()) == 1;
    }
    std::string read() {
      std::array<char, 65536> room{};
      const int got = SSL_read(ssl.get(), room.data(), room.size());
      return got > 0 ? std::string(room.data(), static_cast<std::size_t>(got)) : "";
    }
    std::string read_all(std::size_t size) {
      std::string all;
      while (all.size() < size) {
        const std::string more = read();
        if (more.empty()) break;
        all += more;
      }
      return all;
    }
    [[nodiscard]] std::string peer_name() const {
      std::unique_ptr<X509, Freed<X509, X509_free>> peer(SSL_get1_peer_certificate(ssl.get()));
      std::array<char, 256> name{};
      X509_NAME_get_text_by_NID(X509_get_subject_name(peer.get()), NID_commonName, name.data(),
                                name.size());
      return name.data();
    }
    int fd;
    std::unique_ptr<SSL_CTX, Freed<SSL_CTX, SSL_CTX_free>> context;
    std::unique_ptr<SSL, Freed<SSL, SSL_free>> ssl;
  };

  using Serve = std::function<Task<>(Stream&)>;
  using Accepted = Result<TlsAccepted, TlsFailure>;

  Task<> accept(Loop& loop, int fd, std::shared_ptr<const TlsServer> server,
                std::pair<Serve*, std::optional<Accepted>*> out) {
    const TimePoint due = loop.clock().now() + patience;
    const std::unique_ptr<TlsHandshake> handshake = accept_tls(loop, fd, std::move(server));
    *out.second = co_await handshake->run(due);
    if (!out.second->value()) co_return;
    Stream& stream = *out.second->value()->stream;
    if (*out.first) co_await (*out.first)(stream);
    stream.close();
  }

  /// Runs both sides; what the server made of the handshake.
  Accepted meet(const std::shared_ptr<const TlsServer>& server,
                const std::function<void(Client&)>& client, Serve then = {}) {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    EXPECT_EQ(::fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    Loop loop;
    std::optional<Accepted> accepted;
    TaskGroup tasks;
    const std::function<void()> stop_when_served = [&] {
      if (tasks.running() == 0) {
        loop.stop();
      } else {
        loop.post(stop_when_served);
      }
    };
    std::thread thread([&] {
      {
        Client made(fds[1]);
        client(made);
      }
      ::close(fds[1]);
      loop.post(stop_when_served);
    });
    tasks.spawn(accept(loop, fds[0], server, {&then, &accepted}));
    loop.run();
    thread.join();
    Accepted result = std::move(*accepted);
    if (result) result->stream.reset();
    return result;
  }

  static Task<> echo(Stream& stream) {
    std::vector<char> room(64 * 1024);
    for (;;) {
      const IoResult got = co_await stream.read(room);
      if (!got.ok()) co_return;
      const iovec piece{room.data(), got.bytes};
      const IoResult sent = co_await stream.write({&piece, 1});
      if (!sent.ok()) co_return;
    }
  }

  Duration patience = std::chrono::seconds(20);  // for a handshake
};

}  // namespace lbd::net
