// TLS (docs/adr/0006): certificates, the sides of listeners and of target groups, and streams.
// OpenSSL underneath, which stays out of this header.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/clock.h"
#include "lbd/base/result.h"
#include "lbd/base/task.h"
#include "lbd/net/loop.h"
#include "lbd/net/opening.h"
#include "lbd/net/stream.h"

namespace lbd::net {

/// Mozilla's server side TLS profiles, version 6.0. Intermediate: TLS 1.2 with forward secrecy and
/// AEAD, and 1.3. Modern: 1.3 only.
enum class TlsPolicy : std::uint8_t { intermediate, modern };

/// A certificate with its chain and key, checked to belong together. Immutable; any thread.
class TlsCertificate {
 public:
  struct Parts;
  explicit TlsCertificate(std::unique_ptr<Parts> parts);
  ~TlsCertificate();
  TlsCertificate(const TlsCertificate&) = delete;
  TlsCertificate& operator=(const TlsCertificate&) = delete;

  /// DNS names it is good for, lower case: those of subjectAltName, else the common name.
  [[nodiscard]] const std::vector<std::string>& names() const noexcept;
  [[nodiscard]] WallTime not_before() const noexcept;
  [[nodiscard]] WallTime not_after() const noexcept;
  /// "EC", "RSA", "ED25519".
  [[nodiscard]] std::string_view key_type() const noexcept;
  [[nodiscard]] const Parts& parts() const noexcept { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
};

/// Reads PEM files: the certificate first, then its chain; and its key. The sentence of a failure
/// names the file. Blocks on the disk: control plane only.
[[nodiscard]] Outcome<std::shared_ptr<const TlsCertificate>> load_certificate(
    const std::string& chain_file, const std::string& key_file);

/// The keys that seal session tickets; shared by all listeners and kept over reloads. Thread: any.
class TlsTicketKeys {
 public:
  TlsTicketKeys();
  ~TlsTicketKeys();
  TlsTicketKeys(const TlsTicketKeys&) = delete;
  TlsTicketKeys& operator=(const TlsTicketKeys&) = delete;

  /// A new key seals from now on; the two before it still open.
  void rotate();
  struct Ring;
  [[nodiscard]] Ring& ring() noexcept { return *ring_; }

 private:
  std::unique_ptr<Ring> ring_;
};

enum class ClientCertificates : std::uint8_t { off, optional, required };

struct TlsServerSettings {
  TlsPolicy policy = TlsPolicy::intermediate;
  /// The first is shown to clients that name no host, or one that no certificate has.
  std::vector<std::shared_ptr<const TlsCertificate>> certificates;
  std::vector<std::string> alpn{"http/1.1"};  // in order of preference
  ClientCertificates client_certificates = ClientCertificates::off;
  std::string client_trust_file;   // PEM: who may have signed them
  bool describes_clients = false;  // TlsInfo::client_certificate
  /// What a ticket is good for: sessions of another listener are not resumed.
  std::string session_context;
  std::shared_ptr<TlsTicketKeys> tickets;  // null: no resumption
};

/// A listener's side of TLS. Immutable, shared by all workers.
class TlsServer {
 public:
  struct Parts;
  explicit TlsServer(std::unique_ptr<Parts> parts);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;
  [[nodiscard]] const Parts& parts() const noexcept { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
};

/// Fails when there is no certificate, or the trust file cannot be read. Blocks on the disk.
[[nodiscard]] Outcome<std::shared_ptr<const TlsServer>> make_tls_server(TlsServerSettings settings);

struct TlsClientSettings {
  bool verify = true;
  std::string trust_file;  // PEM: who may have signed what targets show; not used without verify
  /// Asked for (SNI), and what the certificate must name. Empty: nothing is asked for, and it must
  /// name the target's IP address.
  std::string server_name;
  std::shared_ptr<const TlsCertificate> certificate;  // shown to targets that want one; may be null
  /// The protocol asked for by ALPN. One but "http/1.1" must be chosen by the target.
  std::string alpn = "http/1.1";
};

/// A target group's side of TLS. Immutable but for the sessions it keeps to resume, which live and
/// die with it; shared by all workers.
class TlsClient {
 public:
  struct Parts;
  explicit TlsClient(std::unique_ptr<Parts> parts);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;
  [[nodiscard]] const Parts& parts() const noexcept { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
};

/// Fails when the trust file cannot be read; the sentence names it. Blocks on the disk.
[[nodiscard]] Outcome<std::shared_ptr<const TlsClient>> make_tls_client(TlsClientSettings settings);

/// Fails when no authority can be read from the PEM file; the sentence names it. Blocks on disk.
[[nodiscard]] Outcome<void> read_trust_file(const std::string& path);

/// Where the authorities that this machine trusts are; empty when it has no such file.
[[nodiscard]] std::string system_trust_file();

/// A certificate that was verified, as header fields have it: visible ASCII and spaces.
struct ClientCertificate {
  std::string serial_number;  // hexadecimal, whole bytes
  std::string issuer;         // RFC 2253, as is the subject
  std::string subject;
  std::string validity;  // "NotBefore=2026-01-31T00:00:00Z;NotAfter=2027-01-31T00:00:00Z"
  std::string leaf;      // its PEM, URL-encoded, with '+', '=' and '/' as they are
};

/// What the handshake agreed on.
struct TlsInfo {
  std::string_view version;  // "TLSv1.3"; static
  std::string_view cipher;   // "TLS_AES_128_GCM_SHA256"; static
  std::string server_name;   // SNI, lower case; empty when the client sent none
  std::string alpn;
  TlsKind kind = TlsKind::none;
  bool resumed = false;
  /// Null when the client showed none, or TlsServerSettings does not ask for it.
  std::unique_ptr<const ClientCertificate> client_certificate;
};

/// Why a handshake failed: a word for metrics.
enum class TlsFault : std::uint8_t {
  none,
  timeout,             // not over within its deadline
  closed,              // the peer went away
  not_tls,             // bytes that are no TLS, as HTTP in the clear
  version,             // no version in common
  cipher,              // no cipher, group or signature algorithm in common
  peer_alert,          // the peer refused, as for an unknown authority
  client_certificate,  // missing, or not to be trusted; with targets: they want another
  certificate,         // the target's is not to be trusted
  alpn,                // the target does not choose the protocol that its group speaks
  other,
  kCount,
};
[[nodiscard]] std::string_view tls_fault_name(TlsFault fault) noexcept;

struct TlsFailure {
  TlsFault fault = TlsFault::other;
  std::string detail;  // OpenSSL's words
};

struct TlsAccepted {
  std::unique_ptr<Stream> stream;
  TlsInfo info;
};

/// A handshake with a client that was accepted. Thread: the loop's.
class TlsHandshake : public Opening {
 public:
  /// Once.
  [[nodiscard]] virtual Task<Result<TlsAccepted, TlsFailure>> run(TimePoint deadline) = 0;
};

/// Takes over the descriptor, whatever comes of it. `server` is kept as long as the stream lives.
[[nodiscard]] std::unique_ptr<TlsHandshake> accept_tls(Loop& loop, int fd,
                                                       std::shared_ptr<const TlsServer> server);

}  // namespace lbd::net
