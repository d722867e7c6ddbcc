// Why handshakes fail, in a word for metrics and in words for people.
#include <fmt/format.h>
#include <openssl/err.h>

#include <array>

#include "lbd/net/tls_parts.h"

namespace lbd::net {
namespace {

TlsFault fault_of_alert(const SSL& ssl, int code) noexcept {
  if (SSL_is_server(&ssl) == 1) return TlsFault::peer_alert;
  if (code == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION) return TlsFault::version;
  if (code == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL) return TlsFault::alpn;
  return tls_wants_other_certificate(ERR_PACK(ERR_LIB_SSL, 0, code)) ? TlsFault::client_certificate
                                                                     : TlsFault::peer_alert;
}

}  // namespace

bool tls_wants_other_certificate(unsigned long reason) noexcept {
  if (ERR_GET_LIB(reason) != ERR_LIB_SSL) return false;
  switch (ERR_GET_REASON(reason) - SSL_AD_REASON_OFFSET) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
      return true;
    default:
      return false;
  }
}

TlsFault tls_fault_of(const SSL& ssl, int error, unsigned long reason) noexcept {
  if (error != SSL_ERROR_SSL || reason == 0) return TlsFault::closed;
  if (ERR_GET_LIB(reason) != ERR_LIB_SSL) return TlsFault::other;
  const int code = ERR_GET_REASON(reason);
  if (code >= SSL_AD_REASON_OFFSET) return fault_of_alert(ssl, code);
  switch (code) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_BAD_PACKET_LENGTH:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_UNEXPECTED_MESSAGE:
      return TlsFault::not_tls;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
      return TlsFault::version;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
      return TlsFault::cipher;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_BAD_SIGNATURE:
      return SSL_is_server(&ssl) == 1 ? TlsFault::client_certificate : TlsFault::certificate;
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      return TlsFault::closed;
    default:
      return TlsFault::other;
  }
}

std::string tls_failure_words(SSL& ssl, unsigned long reason) {
  std::string words = openssl_error();
  const long verified = SSL_get_verify_result(&ssl);
  if (ERR_GET_REASON(reason) != SSL_R_CERTIFICATE_VERIFY_FAILED || verified == X509_V_OK) {
    return words;
  }
  const std::string why = X509_verify_cert_error_string(verified);
  X509_VERIFY_PARAM* wanted = SSL_get0_param(&ssl);
  if (verified == X509_V_ERR_HOSTNAME_MISMATCH) {
    return fmt::format("{}: {}, wanted {}", words, why, X509_VERIFY_PARAM_get0_host(wanted, 0));
  }
  if (verified == X509_V_ERR_IP_ADDRESS_MISMATCH) {
    char* ip = X509_VERIFY_PARAM_get1_ip_asc(wanted);
    std::string all = fmt::format("{}: {}, wanted {}", words, why, ip != nullptr ? ip : "it");
    OPENSSL_free(ip);
    return all;
  }
  return fmt::format("{}: {}", words, why);
}

std::string_view tls_fault_name(TlsFault fault) noexcept {
  constexpr std::array<std::string_view, static_cast<std::size_t>(TlsFault::kCount)> kNames{
      "none",        "timeout", "closed",     "not_tls",
      "version",     "cipher",  "peer_alert", "client_certificate",
      "certificate", "alpn",    "other"};
  return kNames[static_cast<std::size_t>(fault)];
}

}  // namespace lbd::net
