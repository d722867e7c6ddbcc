// OpenSSL's objects behind tls.h. For lbd/net/tls*.cc only.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lbd/net/tls.h"

namespace lbd::net {

template <auto kFree>
struct FreedBy {
  template <class T>
  void operator()(T* object) const noexcept {
    kFree(object);
  }
};
template <class T, auto kFree>
using Owned = std::unique_ptr<T, FreedBy<kFree>>;

inline void free_chain(STACK_OF(X509) * chain) noexcept { sk_X509_pop_free(chain, X509_free); }

struct TlsCertificate::Parts {
  Owned<X509, X509_free> leaf;
  Owned<STACK_OF(X509), free_chain> chain;
  Owned<EVP_PKEY, EVP_PKEY_free> key;
  std::vector<std::string> names;
  WallTime not_before{};
  WallTime not_after{};
  std::string key_type;
};

struct TlsTicketKeys::Ring {
  struct Key {
    std::array<unsigned char, 16> name{};
    std::array<unsigned char, 32> cipher{};
    std::array<unsigned char, 32> mac{};
  };
  std::mutex mutex;
  std::vector<Key> keys;  // the first seals, all open
};

struct TlsServer::Parts {
  using Certificates = std::vector<std::shared_ptr<const TlsCertificate>>;

  Owned<SSL_CTX, SSL_CTX_free> context;
  std::map<std::string, Certificates, std::less<>> exact;     // by name, one of each key type
  std::map<std::string, Certificates, std::less<>> wildcard;  // by what follows the "*."
  std::shared_ptr<TlsTicketKeys> tickets;
  std::vector<unsigned char> alpn;  // as on the wire
  bool describes_clients = false;

  /// Those of a host name in lower case; null: the default's.
  [[nodiscard]] const Certificates* find(std::string_view host) const noexcept;
};

struct TlsClient::Parts {
  /// A session of TLS 1.3 is used once (RFC 8446 appendix C.4); servers mostly send two.
  static constexpr std::size_t kSessionsPerPeer = 4;
  static constexpr std::size_t kPeersMax = 1024;
  using Session = Owned<SSL_SESSION, SSL_SESSION_free>;

  Owned<SSL_CTX, SSL_CTX_free> context;
  bool verify = true;
  std::string server_name;
  std::shared_ptr<const TlsCertificate> certificate;
  std::string wanted_alpn;  // empty: any, or none

  /// Keeps a session for the next connection to `peer`. Thread: any.
  void keep(const std::string& peer, Session session) const;
  /// The newest; null when there is none.
  [[nodiscard]] Session take(const std::string& peer) const;
  void forget(const std::string& peer) const;

 private:
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::vector<Session>> sessions_;  // newest last
};

/// Versions, ciphers, groups and modes, alike on both sides.
void set_protocol(SSL_CTX* context, TlsPolicy policy);

/// `error` is SSL_get_error's, `reason` the first of OpenSSL's queue.
[[nodiscard]] TlsFault tls_fault_of(const SSL& ssl, int error, unsigned long reason) noexcept;
/// OpenSSL's words for the failure; why a certificate is not trusted is among them. Empties the
/// queue.
[[nodiscard]] std::string tls_failure_words(SSL& ssl, unsigned long reason);
/// The peer's alert says that it wants a certificate, or another one. With TLS 1.3 it comes when
/// the handshake is over on our side.
[[nodiscard]] bool tls_wants_other_certificate(unsigned long reason) noexcept;

[[nodiscard]] std::unique_ptr<const ClientCertificate> describe_client(X509& certificate);

/// What OpenSSL says of the last failure, and its queue emptied.
[[nodiscard]] std::string openssl_error();

}  // namespace lbd::net
