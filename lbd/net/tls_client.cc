// The context of a target group's side, and the sessions it resumes.
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <utility>

#include "lbd/base/check.h"
#include "lbd/net/tls_parts.h"

namespace lbd::net {
namespace {

/// 1: the session is ours now.
int on_session(SSL* ssl, SSL_SESSION* session) {
  const auto& parts =
      *static_cast<const TlsClient::Parts*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  parts.keep(*static_cast<const std::string*>(SSL_get_app_data(ssl)),
             TlsClient::Parts::Session(session));
  return 1;
}

/// Resuming verifies nothing: a certificate that has expired since must not live on with it.
bool is_good(SSL_SESSION& session) {
  const X509* shown = SSL_SESSION_get0_peer(&session);
  const bool valid = shown == nullptr || X509_cmp_current_time(X509_get0_notAfter(shown)) > 0;
  return valid && SSL_SESSION_is_resumable(&session) == 1;
}

Outcome<void> set_trust(SSL_CTX* context, const TlsClientSettings& settings) {
  if (!settings.verify) return {};
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  const std::string& path = settings.trust_file;
  if (path.empty()) {
    return failure("this machine has no file of authorities to verify targets with: give 'trust'");
  }
  if (SSL_CTX_load_verify_file(context, path.c_str()) == 1) return {};
  return failure(fmt::format("cannot use {} to verify targets: {}", path, openssl_error()));
}

}  // namespace

void TlsClient::Parts::keep(const std::string& peer, Session session) const {
  const std::lock_guard lock(mutex_);
  if (!sessions_.contains(peer) && sessions_.size() >= kPeersMax) {
    sessions_.erase(sessions_.begin());
  }
  std::vector<Session>& kept = sessions_[peer];
  if (kept.size() >= kSessionsPerPeer) kept.erase(kept.begin());
  kept.push_back(std::move(session));
}

TlsClient::Parts::Session TlsClient::Parts::take(const std::string& peer) const {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(peer);
  if (found == sessions_.end()) return {};
  std::erase_if(found->second, [](const Session& each) { return !is_good(*each); });
  if (found->second.empty()) return {};
  Session& newest = found->second.back();
  if (SSL_SESSION_get_protocol_version(newest.get()) < TLS1_3_VERSION) {
    SSL_SESSION_up_ref(newest.get());
    return Session(newest.get());
  }
  Session taken = std::move(newest);
  found->second.pop_back();
  return taken;
}

void TlsClient::Parts::forget(const std::string& peer) const {
  const std::lock_guard lock(mutex_);
  sessions_.erase(peer);
}

TlsClient::TlsClient(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
TlsClient::~TlsClient() = default;

Outcome<std::shared_ptr<const TlsClient>> make_tls_client(TlsClientSettings settings) {
  auto parts = std::make_unique<TlsClient::Parts>();
  parts->context.reset(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* context = parts->context.get();
  LBD_CHECK(context != nullptr);
  SSL_CTX_set_app_data(context, parts.get());
  set_protocol(context, TlsPolicy::intermediate);
  // A response that ends with its connection is whole only after a close_notify (RFC 9112 §9.8).
  SSL_CTX_clear_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  if (const auto set = set_trust(context, settings); !set) return set.error();
  if (settings.certificate != nullptr) {
    const TlsCertificate::Parts& its = settings.certificate->parts();
    if (SSL_CTX_use_cert_and_key(context, its.leaf.get(), its.key.get(), its.chain.get(), 1) != 1) {
      return failure("the certificate for targets cannot be used: " + openssl_error());
    }
  }
  const std::string alpn = static_cast<char>(settings.alpn.size()) + settings.alpn;
  LBD_CHECK(SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(alpn.data()),
                                    static_cast<unsigned int>(alpn.size())) == 0);
  if (settings.alpn != "http/1.1") parts->wanted_alpn = settings.alpn;
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, &on_session);
  parts->verify = settings.verify;
  parts->server_name = std::move(settings.server_name);
  parts->certificate = std::move(settings.certificate);
  return std::make_shared<const TlsClient>(std::move(parts));
}

Outcome<void> read_trust_file(const std::string& path) {
  const Owned<X509_STORE, X509_STORE_free> store(X509_STORE_new());
  LBD_CHECK(store != nullptr);
  if (X509_STORE_load_file(store.get(), path.c_str()) == 1) return {};
  return failure(fmt::format("no authorities can be read from {}: {}", path, openssl_error()));
}

std::string system_trust_file() {
  const char* given = std::getenv(X509_get_default_cert_file_env());
  if (given != nullptr && *given != '\0') return given;
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", X509_get_default_cert_file()}) {
    const Owned<BIO, BIO_free_all> file(BIO_new_file(path, "r"));
    if (file) return path;
    ERR_clear_error();
  }
  return {};
}

}  // namespace lbd::net
