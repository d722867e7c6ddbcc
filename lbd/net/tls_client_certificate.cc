// A client's certificate in the words of AWS's Application Load Balancer.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <ctime>

#include "lbd/net/tls_parts.h"

namespace lbd::net {
namespace {

using Text = Owned<BIO, BIO_free_all>;

std::string_view view_of(const Text& text) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(text.get(), &bytes);
  return size > 0 ? std::string_view(bytes, static_cast<std::size_t>(size)) : std::string_view();
}

/// Visible ASCII whatever the name holds: RFC 2253 escapes the rest.
std::string name_text(const X509_NAME* name) {
  const Text text(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(text.get(), name, 0, XN_FLAG_RFC2253);
  return std::string(view_of(text));
}

std::string serial_text(const X509& certificate) {
  const Owned<BIGNUM, BN_free> number(
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(&certificate), nullptr));
  char* hex = number ? BN_bn2hex(number.get()) : nullptr;
  std::string text = hex != nullptr ? hex : "";
  OPENSSL_free(hex);
  return text;
}

std::string time_text(const ASN1_TIME* time) {
  std::tm utc{};
  if (ASN1_TIME_to_tm(time, &utc) != 1) return "";
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", utc);
}

/// PEM needs no more than this of URL encoding; `+=/` stay as they are.
std::string pem_text(X509& certificate) {
  const Text text(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(text.get(), &certificate);
  std::string encoded;
  for (const char c : view_of(text)) {
    if (c == '\n') {
      encoded += "%0A";
    } else if (c == ' ') {
      encoded += "%20";
    } else {
      encoded += c;
    }
  }
  return encoded;
}

}  // namespace

std::unique_ptr<const ClientCertificate> describe_client(X509& certificate) {
  ClientCertificate text;
  text.serial_number = serial_text(certificate);
  text.issuer = name_text(X509_get_issuer_name(&certificate));
  text.subject = name_text(X509_get_subject_name(&certificate));
  text.validity =
      fmt::format("NotBefore={};NotAfter={}", time_text(X509_get0_notBefore(&certificate)),
                  time_text(X509_get0_notAfter(&certificate)));
  text.leaf = pem_text(certificate);
  ERR_clear_error();
  return std::make_unique<const ClientCertificate>(std::move(text));
}

}  // namespace lbd::net
