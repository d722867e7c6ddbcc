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

  /// Those of a host name in lower case; null: the default's.
  [[nodiscard]] const Certificates* find(std::string_view host) const noexcept;
};

/// What OpenSSL says of the last failure, and its queue emptied.
[[nodiscard]] std::string openssl_error();

}  // namespace lbd::net
