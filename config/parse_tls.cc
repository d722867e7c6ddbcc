// TLS of listeners and towards targets.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

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
          .after = [&files](Decoder&, const Cursor& at) { files.origin = origin_of(at); }};
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
                  {"headers", flag(clients.headers),
                   "Whether targets are told whose certificate it was, in "
                   "X-Amzn-Mtls-Clientcert-*; holds for connections made from then on."},
              },
          .later = {},
          .after = {}};
}

/// A DNS name, or an IP address.
Kind server_name(std::string& out) {
  Kind kind = required_text(out, "a host name");
  kind.read = [&out](Decoder& decoder, const Cursor& at) {
    const auto* found = scalar_of(decoder, at, "a host name");
    if (found == nullptr) return;
    const bool fits = !found->empty() && found->size() <= 253 && !found->starts_with('.') &&
                      std::all_of(found->begin(), found->end(), [](unsigned char c) {
                        return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == ':';
                      });
    if (!fits) return decoder.expected(at, "a host name such as app.internal");
    out = *found;
  };
  return kind;
}

}  // namespace

Table upstream_tls_table(UpstreamTls& tls) {
  return {.doc = "TLS towards targets.",
          .fields =
              {
                  {"verify", flag(tls.verify), "Whether a target's certificate must be trusted."},
                  {"trust", required_text(tls.trust, "a path"),
                   "PEM file of the authorities that sign them. Default: the system's."},
                  {"server_name", server_name(tls.server_name),
                   "Name that is asked for (SNI) and that certificates must be good for. Default: "
                   "the target's `name`; of one by address, none is asked for, and they must name "
                   "the IP address; of a Unix socket, `localhost`."},
                  {"certificate", object([&tls] {
                     tls.certificate.emplace();
                     return certificate_table(*tls.certificate);
                   }),
                   "Shown to targets that want one (mutual TLS). The files are read again when "
                   "they change, `trust` too."},
              },
          .later = {"policy"},
          .after = {}};
}

void check_upstream_tls(const TargetGroup& group, Decoder& decoder, const Cursor& at) {
  const auto tls = member_of(at, "tls");
  if (!tls) return;
  if (!uses_tls(group)) {
    decoder.error(tls->label, "E3040",
                  fmt::format("target group '{}' has 'tls' but speaks {}", group.name,
                              group.protocol == TargetProtocol::tcp ? "tcp" : "plain http"),
                  group.protocol == TargetProtocol::tcp ? "it is for https health checks"
                                                        : "add 'protocol: https'");
  }
  const auto trust = member_of(*tls, "trust");
  if (trust && !group.tls.verify) {
    decoder.error(trust->label, "E3041", "'trust' has no effect with 'verify: false'",
                  "remove one of them");
  }
}

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
