// TLS of listeners.
#include "config/tables.h"

namespace lbd::config {
namespace {

using namespace std::chrono_literals;

Table certificate_table(CertificateFiles& files) {
  return {.doc = "A certificate and its key.",
          .fields =
              {
                  {"chain", required_text(files.chain, "a path"),
                   "PEM file: the certificate, then its chain.", true},
                  {"key", required_text(files.key, "a path"),
                   "PEM file of its private key, without a password.", true},
              },
          .later = {},
          .after = {}};
}

Table client_certificates_table(ClientCertificates& clients) {
  return {.doc = "Certificates that clients show (mutual TLS).",
          .fields =
              {
                  {"verify",
                   word(clients.verify, {.words = {"off", "optional", "required"}, .later = {}}),
                   "Whether clients are asked for one, and whether they must have it."},
                  {"trust", required_text(clients.trust, "a path"),
                   "PEM file of the authorities that sign them."},
              },
          .later = {"headers"},
          .after = {}};
}

}  // namespace

Table listener_tls_table(ListenerTls& tls) {
  return {.doc = "TLS of a listener.",
          .fields =
              {
                  {"policy", word(tls.policy, {.words = {"intermediate", "modern"}, .later = {}}),
                   "Mozilla's profile: intermediate is TLS 1.2 and 1.3, modern 1.3 only."},
                  {"certificates", objects(tls.certificates, &certificate_table),
                   "Shown by the name that the client wants; the first to all others. Their files "
                   "are read again when they change.",
                   true},
                  {"client_certificates",
                   object([&tls] { return client_certificates_table(tls.client_certificates); }),
                   "Certificates that clients show."},
                  {"session_tickets", flag(tls.session_tickets),
                   "Whether sessions are resumed; the keys change every twelve hours."},
                  {"handshake_timeout", duration(tls.handshake_timeout, {.least = 1ms}),
                   "From accepting a connection to the end of its handshake."},
              },
          .later = {"alpn", "acme"},
          .after = {}};
}

}  // namespace lbd::config
