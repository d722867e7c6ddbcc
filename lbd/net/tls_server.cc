// Certificates, tickets and the server's context.
#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "lbd/base/check.h"
#include "lbd/net/tls_parts.h"

namespace lbd::net {
namespace {

constexpr std::size_t kTicketKeys = 3;
constexpr int kSecurityBitsMin = 112;  // RSA with 2048 bits
constexpr const char* kCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr const char* kSuites =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
// OpenSSL before 3.5 refuses a list with a group that it does not know.
constexpr const char* kGroups = "X25519MLKEM768:X25519:prime256v1:secp384r1";
constexpr const char* kOlderGroups = "X25519:prime256v1:secp384r1";

using File = Owned<BIO, BIO_free_all>;

Outcome<File> open_file(const std::string& path) {
  File file(BIO_new_file(path.c_str(), "r"));
  if (file) return file;
  const int error = errno;
  ERR_clear_error();
  return failure(fmt::format("cannot read {}: {}", path, std::strerror(error)));
}

/// In place of asking at a terminal.
int no_password(char*, int, int, void*) { return -1; }

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return made;
}

std::string_view text_of(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<std::size_t>(ASN1_STRING_length(text))};
}

WallTime time_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::vector<std::string> names_of(X509* leaf) {
  std::vector<std::string> names;
  const Owned<GENERAL_NAMES, GENERAL_NAMES_free> all(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; all && i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type == GEN_DNS) names.push_back(lower(text_of(name->d.dNSName)));
  }
  if (all) return names;
  const X509_NAME* subject = X509_get_subject_name(leaf);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) {
    names.push_back(lower(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)))));
  }
  return names;
}

Outcome<void> read_chain(const std::string& path, TlsCertificate::Parts& parts) {
  const Outcome<File> file = open_file(path);
  if (!file) return file.error();
  parts.leaf.reset(PEM_read_bio_X509_AUX(file->get(), nullptr, no_password, nullptr));
  if (!parts.leaf)
    return failure(fmt::format("{}: no certificate in it: {}", path, openssl_error()));
  parts.chain.reset(sk_X509_new_null());
  while (X509* next = PEM_read_bio_X509(file->get(), nullptr, no_password, nullptr)) {
    sk_X509_push(parts.chain.get(), next);
  }
  const unsigned long end = ERR_peek_last_error();
  if (ERR_GET_LIB(end) != ERR_LIB_PEM || ERR_GET_REASON(end) != PEM_R_NO_START_LINE) {
    return failure(fmt::format("{}: {}", path, openssl_error()));
  }
  ERR_clear_error();
  return {};
}

bool set_mac(EVP_MAC_CTX* mac, std::array<unsigned char, 32>& key) {
  std::array<char, 7> digest{"sha256"};
  const std::array<OSSL_PARAM, 3> params{
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.data(), key.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(mac, params.data()) == 1;
}

const TlsServer::Parts& parts_of(SSL* ssl) {
  return *static_cast<const TlsServer::Parts*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

struct TicketCall {
  unsigned char* name;
  unsigned char* iv;
  EVP_CIPHER_CTX* cipher;
  EVP_MAC_CTX* mac;
};

// What these return is SSL_CTX_set_tlsext_ticket_key_evp_cb(3)'s: 0 unknown key, 1 fine, 2 fine but
// issue another.
int seal_ticket(TlsTicketKeys::Ring::Key& key, const TicketCall& call) {
  std::copy(key.name.begin(), key.name.end(), call.name);
  if (!set_mac(call.mac, key.mac) || RAND_bytes(call.iv, 16) != 1) return -1;
  const int set =
      EVP_EncryptInit_ex2(call.cipher, EVP_aes_256_cbc(), key.cipher.data(), call.iv, nullptr);
  return set == 1 ? 1 : -1;
}

/// 2: and the client is given a new one, as after a rotation. TLS 1.3 clients use a ticket once
/// only (RFC 8446 appendix C.4), so they get one each time.
int open_ticket(std::vector<TlsTicketKeys::Ring::Key>& keys, const TicketCall& call, bool renew) {
  for (TlsTicketKeys::Ring::Key& key : keys) {
    if (!std::equal(key.name.begin(), key.name.end(), call.name)) continue;
    if (!set_mac(call.mac, key.mac)) return -1;
    if (EVP_DecryptInit_ex2(call.cipher, EVP_aes_256_cbc(), key.cipher.data(), call.iv, nullptr) !=
        1) {
      return -1;
    }
    return !renew && &key == &keys.front() ? 1 : 2;
  }
  return 0;
}

/// Resuming verifies nothing: a client's certificate that has expired since must not live on in its
/// session.
SSL_TICKET_RETURN judge_session(SSL_SESSION* session, SSL_TICKET_STATUS status) noexcept {
  if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) {
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  }
  const X509* shown = SSL_SESSION_get0_peer(session);
  if (shown != nullptr && X509_cmp_current_time(X509_get0_notAfter(shown)) <= 0) {
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  }
  return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

int on_server_name(SSL*, int*, void*) { return SSL_TLSEXT_ERR_OK; }

/// The certificates of the wanted name, in place of the default's.
int on_certificate(SSL* ssl, void*) {
  const char* wanted = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (wanted == nullptr) return 1;
  const TlsServer::Parts::Certificates* found = parts_of(ssl).find(lower(wanted));
  if (found == nullptr) return 1;
  SSL_certs_clear(ssl);
  for (const std::shared_ptr<const TlsCertificate>& each : *found) {
    const TlsCertificate::Parts& parts = each->parts();
    if (SSL_use_cert_and_key(ssl, parts.leaf.get(), parts.key.get(), parts.chain.get(), 1) != 1) {
      return 0;
    }
  }
  return 1;
}

void add(std::map<std::string, TlsServer::Parts::Certificates, std::less<>>& index,
         const std::string& name, const std::shared_ptr<const TlsCertificate>& certificate) {
  TlsServer::Parts::Certificates& all = index[name];
  const bool has = std::any_of(all.begin(), all.end(), [&](const auto& each) {
    return each->key_type() == certificate->key_type();
  });
  if (!has) all.push_back(certificate);  // the first given wins
}

void index_certificates(const TlsServerSettings& settings, TlsServer::Parts& parts) {
  for (const std::shared_ptr<const TlsCertificate>& each : settings.certificates) {
    for (const std::string& name : each->names()) {
      if (name.starts_with("*.")) {
        add(parts.wildcard, name.substr(2), each);
      } else {
        add(parts.exact, name, each);
      }
    }
  }
}

void set_sessions(SSL_CTX* context, const TlsServerSettings& settings) {
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  if (settings.tickets == nullptr) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
    return;
  }
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(settings.session_context.data()),
         settings.session_context.size(), digest.data());
  SSL_CTX_set_session_id_context(context, digest.data(), digest.size());
  SSL_CTX_set_tlsext_ticket_key_evp_cb(
      context,
      [](SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
         int sealing) -> int {
        TlsTicketKeys::Ring& ring = parts_of(ssl).tickets->ring();
        const std::lock_guard lock(ring.mutex);
        const TicketCall call{name, iv, cipher, mac};
        return sealing == 1 ? seal_ticket(ring.keys.front(), call)
                            : open_ticket(ring.keys, call, SSL_version(ssl) >= TLS1_3_VERSION);
      });
  SSL_CTX_set_session_ticket_cb(
      context, nullptr,
      [](SSL*, SSL_SESSION* session, const unsigned char*, std::size_t, SSL_TICKET_STATUS status,
         void*) { return judge_session(session, status); },
      nullptr);
}

/// Nothing in common is refused (RFC 7301 §3.2).
void set_alpn(SSL_CTX* context) {
  SSL_CTX_set_alpn_select_cb(
      context,
      [](SSL* ssl, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
         unsigned int offered_size, void*) -> int {
        const std::vector<unsigned char>& ours = parts_of(ssl).alpn;
        unsigned char* match = nullptr;
        const int found =
            SSL_select_next_proto(&match, size, ours.data(), static_cast<unsigned int>(ours.size()),
                                  offered, offered_size);
        *chosen = match;
        return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
      },
      nullptr);
}

Outcome<void> set_client_certificates(SSL_CTX* context, const TlsServerSettings& settings) {
  if (settings.client_certificates == ClientCertificates::off) return {};
  const bool required = settings.client_certificates == ClientCertificates::required;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     nullptr);
  const std::string& path = settings.client_trust_file;
  if (SSL_CTX_load_verify_file(context, path.c_str()) != 1) {
    return failure(fmt::format("cannot use {} to verify clients: {}", path, openssl_error()));
  }
  SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(path.c_str()));
  return {};
}

}  // namespace

void set_protocol(SSL_CTX* context, TlsPolicy policy) {
  SSL_CTX_set_min_proto_version(context,
                                policy == TlsPolicy::modern ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(
      context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  LBD_CHECK(SSL_CTX_set_cipher_list(context, kCiphers) == 1);
  LBD_CHECK(SSL_CTX_set_ciphersuites(context, kSuites) == 1);
  if (SSL_CTX_set1_groups_list(context, kGroups) != 1) {
    ERR_clear_error();
    LBD_CHECK(SSL_CTX_set1_groups_list(context, kOlderGroups) == 1);
  }
}

std::string openssl_error() {
  std::array<char, 256> text{};
  const unsigned long error = ERR_peek_last_error();
  ERR_error_string_n(error, text.data(), text.size());
  ERR_clear_error();
  const std::string_view whole(text.data());  // error:0A000126:SSL routines::reason
  const std::size_t reason = whole.rfind(':');
  return std::string(error == 0 ? "no reason given" : whole.substr(reason + 1));
}

TlsCertificate::TlsCertificate(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
TlsCertificate::~TlsCertificate() = default;
const std::vector<std::string>& TlsCertificate::names() const noexcept { return parts_->names; }
WallTime TlsCertificate::not_before() const noexcept { return parts_->not_before; }
WallTime TlsCertificate::not_after() const noexcept { return parts_->not_after; }
std::string_view TlsCertificate::key_type() const noexcept { return parts_->key_type; }

Outcome<std::shared_ptr<const TlsCertificate>> load_certificate(const std::string& chain_file,
                                                                const std::string& key_file) {
  auto parts = std::make_unique<TlsCertificate::Parts>();
  if (const auto read = read_chain(chain_file, *parts); !read) return read.error();
  const Outcome<File> file = open_file(key_file);
  if (!file) return file.error();
  parts->key.reset(PEM_read_bio_PrivateKey(file->get(), nullptr, no_password, nullptr));
  if (!parts->key) {
    return failure(
        fmt::format("{}: no private key without a password in it: {}", key_file, openssl_error()));
  }
  if (X509_check_private_key(parts->leaf.get(), parts->key.get()) != 1) {
    ERR_clear_error();
    return failure(
        fmt::format("the key in {} is not that of the certificate in {}", key_file, chain_file));
  }
  if (EVP_PKEY_get_security_bits(parts->key.get()) < kSecurityBitsMin) {
    return failure(fmt::format("{}: a key of {} bits is too weak", key_file,
                               EVP_PKEY_get_bits(parts->key.get())));
  }
  parts->names = names_of(parts->leaf.get());
  parts->not_before = time_of(X509_get0_notBefore(parts->leaf.get()));
  parts->not_after = time_of(X509_get0_notAfter(parts->leaf.get()));
  parts->key_type = EVP_PKEY_get0_type_name(parts->key.get());
  return std::make_shared<const TlsCertificate>(std::move(parts));
}

TlsTicketKeys::TlsTicketKeys() : ring_(std::make_unique<Ring>()) { rotate(); }
TlsTicketKeys::~TlsTicketKeys() {
  for (Ring::Key& key : ring_->keys) OPENSSL_cleanse(&key, sizeof key);
}

void TlsTicketKeys::rotate() {
  Ring::Key key;
  LBD_CHECK(RAND_bytes(key.name.data(), static_cast<int>(key.name.size())) == 1);
  LBD_CHECK(RAND_priv_bytes(key.cipher.data(), static_cast<int>(key.cipher.size())) == 1);
  LBD_CHECK(RAND_priv_bytes(key.mac.data(), static_cast<int>(key.mac.size())) == 1);
  const std::lock_guard lock(ring_->mutex);
  ring_->keys.insert(ring_->keys.begin(), key);
  if (ring_->keys.size() > kTicketKeys) {
    OPENSSL_cleanse(&ring_->keys.back(), sizeof(Ring::Key));
    ring_->keys.pop_back();
  }
  OPENSSL_cleanse(&key, sizeof key);
}

const TlsServer::Parts::Certificates* TlsServer::Parts::find(std::string_view host) const noexcept {
  if (const auto found = exact.find(host); found != exact.end()) return &found->second;
  const std::size_t dot = host.find('.');
  if (dot == std::string_view::npos) return nullptr;
  const auto found = wildcard.find(host.substr(dot + 1));
  return found == wildcard.end() ? nullptr : &found->second;
}

TlsServer::TlsServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
TlsServer::~TlsServer() = default;

Outcome<std::shared_ptr<const TlsServer>> make_tls_server(TlsServerSettings settings) {
  if (settings.certificates.empty()) return failure("no certificate is given");
  auto parts = std::make_unique<TlsServer::Parts>();
  parts->context.reset(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* context = parts->context.get();
  LBD_CHECK(context != nullptr);
  SSL_CTX_set_app_data(context, parts.get());
  parts->tickets = settings.tickets;
  parts->describes_clients = settings.describes_clients;
  for (const std::string& each : settings.alpn) {
    parts->alpn.push_back(static_cast<unsigned char>(each.size()));
    parts->alpn.insert(parts->alpn.end(), each.begin(), each.end());
  }
  set_protocol(context, settings.policy);
  set_sessions(context, settings);
  if (const auto set = set_client_certificates(context, settings); !set) return set.error();
  index_certificates(settings, *parts);
  // Clients without a name get the first, and the first of other key types with its first name.
  const TlsCertificate& first = *settings.certificates.front();
  TlsServer::Parts::Certificates defaults{settings.certificates.front()};
  if (!first.names().empty()) {
    const auto* same = parts->exact.contains(first.names().front())
                           ? &parts->exact.find(first.names().front())->second
                           : nullptr;
    if (same != nullptr) defaults = *same;
  }
  for (const auto& each : defaults) {
    const TlsCertificate::Parts& its = each->parts();
    if (SSL_CTX_use_cert_and_key(context, its.leaf.get(), its.key.get(), its.chain.get(), 1) != 1) {
      return failure("the default certificate cannot be used: " + openssl_error());
    }
  }
  SSL_CTX_set_tlsext_servername_callback(context, &on_server_name);
  SSL_CTX_set_cert_cb(context, &on_certificate, nullptr);
  if (!parts->alpn.empty()) set_alpn(context);
  return std::make_shared<const TlsServer>(std::move(parts));
}

}  // namespace lbd::net
