#include "lbd/proxy/headers.h"

#include <algorithm>
#include <charconv>

#include "lbd/base/check.h"
#include "lbd/http/target.h"

namespace lbd::proxy {
namespace {

using http::Header;
using http::HeaderId;

bool is_hop_by_hop(HeaderId id) noexcept {
  switch (id) {
    case HeaderId::connection:
    case HeaderId::keep_alive:
    case HeaderId::proxy_authenticate:
    case HeaderId::proxy_authorization:
    case HeaderId::proxy_connection:
    case HeaderId::te:
    case HeaderId::transfer_encoding:
    case HeaderId::upgrade:
      return true;
    default:
      return false;
  }
}

/// Says what the trailers of a chunked body will be; of no use without one.
bool announces_nothing(const Header& header, const http::Framing& framing) noexcept {
  return header.id == HeaderId::trailer && framing.kind != http::Framing::Kind::chunked;
}

/// True when a Connection field names this header (other than the options it always may hold).
bool is_nominated(const std::vector<Header>& headers, const Header& header) noexcept {
  for (const Header& each : headers) {
    if (each.id == HeaderId::connection && http::list_has(each.value, header.name)) return true;
  }
  return false;
}

/// True when a Connection field holds anything but close and keep-alive.
bool names_fields(const std::vector<Header>& headers) noexcept {
  for (const Header& each : headers) {
    if (each.id == HeaderId::connection && !http::equals_ignoring_case(each.value, "close") &&
        !http::equals_ignoring_case(each.value, "keep-alive")) {
      return true;
    }
  }
  return false;
}

/// Writes text into scratch (reserved beforehand, so that earlier views hold) and returns it.
class Scribe {
 public:
  explicit Scribe(Buffer& scratch) : scratch_(scratch), start_(scratch.size()) {}
  Scribe& operator<<(std::string_view text) {
    scratch_.append(text);
    return *this;
  }
  [[nodiscard]] std::string_view text() const { return scratch_.view().substr(start_); }

 private:
  Buffer& scratch_;
  std::size_t start_;
};

/// The values of all fields of one id, joined, then `ours`.
std::string_view appended(const std::vector<Header>& headers, HeaderId id, std::string_view ours,
                          Buffer& scratch) {
  Scribe scribe(scratch);
  for (const Header& header : headers) {
    if (header.id == id && !header.value.empty()) scribe << header.value << ", ";
  }
  scribe << ours;
  return scribe.text();
}

/// The second word of a member of Via: "1.1 name (comment)".
std::string_view received_by(std::string_view member) noexcept {
  for (int word = 0;; ++word) {
    member.remove_prefix(std::min(member.find_first_not_of(" \t"), member.size()));
    const std::string_view found = member.substr(0, member.find_first_of(" \t"));
    if (word == 1) return found;
    member.remove_prefix(found.size());
  }
}

void tell_certificate(const ClientInfo& client, std::vector<Header>& out) {
  if (client.tls == nullptr || client.tls->client_certificate == nullptr) return;
  constexpr auto kId = HeaderId::client_certificate;
  const net::ClientCertificate& shown = *client.tls->client_certificate;
  out.push_back({"X-Amzn-Mtls-Clientcert-Serial-Number", shown.serial_number, kId});
  out.push_back({"X-Amzn-Mtls-Clientcert-Issuer", shown.issuer, kId});
  out.push_back({"X-Amzn-Mtls-Clientcert-Subject", shown.subject, kId});
  out.push_back({"X-Amzn-Mtls-Clientcert-Validity", shown.validity, kId});
  out.push_back({"X-Amzn-Mtls-Clientcert-Leaf", shown.leaf, kId});
}

struct Writer {
  const http::RequestHead& request;
  const ClientInfo& client;
  const config::ForwardedHeaders& policy;
  std::string_view self;  // for Via
  Buffer& scratch;
  std::vector<Header>& out;

  void x_forwarded_for() {
    using config::ForwardedMode;
    if (policy.x_forwarded_for == ForwardedMode::remove) return;
    if (policy.x_forwarded_for == ForwardedMode::preserve) {
      for (const Header& header : request.headers) {
        if (header.id == HeaderId::x_forwarded_for) out.push_back(header);
      }
      return;
    }
    const bool append = policy.x_forwarded_for == ForwardedMode::append;
    out.push_back(
        {"X-Forwarded-For",
         append ? appended(request.headers, HeaderId::x_forwarded_for, client.peer_ip, scratch)
                : std::string_view(client.peer_ip),
         HeaderId::x_forwarded_for});
  }

  /// Proto, Port and Host say how the first proxy was reached: an earlier trusted one knows better.
  void x_forwarded_rest() {
    const std::string_view proto = http::first_value(request.headers, HeaderId::x_forwarded_proto);
    const std::string_view port = http::first_value(request.headers, HeaderId::x_forwarded_port);
    out.push_back({"X-Forwarded-Proto", client.trusted && !proto.empty() ? proto : client.scheme,
                   HeaderId::x_forwarded_proto});
    if (client.trusted && !port.empty()) {
      out.push_back({"X-Forwarded-Port", port, HeaderId::x_forwarded_port});
    } else {
      Scribe scribe(scratch);
      scratch.append_decimal(client.local.port());
      out.push_back({"X-Forwarded-Port", scribe.text(), HeaderId::x_forwarded_port});
    }
    if (client.trusted) {
      for (const Header& header : request.headers) {
        if (header.id == HeaderId::x_forwarded_host) out.push_back(header);
      }
    }
  }

  /// RFC 7239: for and proto, and host, quoted where needed; IPv6 in brackets and quotes.
  void forwarded() {
    if (!policy.forwarded) return;
    Scribe scribe(scratch);
    if (client.trusted) {
      for (const Header& header : request.headers) {
        if (header.id == HeaderId::forwarded && !header.value.empty())
          scribe << header.value << ", ";
      }
    }
    const bool v6 = client.peer_ip.find(':') != std::string::npos;
    scribe << "for=" << (v6 ? "\"[" : "") << client.peer_ip << (v6 ? "]\"" : "")
           << ";proto=" << client.scheme;
    if (!request.authority.empty()) {
      const bool plain = http::is_token(request.authority);
      scribe << ";host=" << (plain ? "" : "\"") << request.authority << (plain ? "" : "\"");
    }
    out.push_back({"Forwarded", scribe.text(), HeaderId::forwarded});
  }

  void via() {
    if (!policy.via) {
      for (const Header& header : request.headers) {
        if (header.id == HeaderId::via) out.push_back(header);
      }
      return;
    }
    Scribe scribe(scratch);
    for (const Header& header : request.headers) {
      if (header.id == HeaderId::via && !header.value.empty()) scribe << header.value << ", ";
    }
    // "1.1", and "2" for HTTP/2.0 (RFC 9110 §7.6.3).
    const std::string_view version = http::version_name(request.version).substr(5);
    scribe << (version.ends_with(".0") && version != "1.0" ? version.substr(0, 1) : version)
           << self.substr(3);
    out.push_back({"Via", scribe.text(), HeaderId::via});
  }
};

}  // namespace

void vouch_for_certificate(const ClientInfo& client, http::RequestHead& head) {
  std::erase_if(head.headers,
                [](const Header& each) { return each.id == HeaderId::client_certificate; });
  tell_certificate(client, head.headers);
}

void request_headers(const RequestSource& source, Buffer& scratch, std::vector<http::Header>& out) {
  const auto& [request, client, policy, request_id, via, host] = source;
  out.clear();
  scratch.clear();
  // Everything written below is our own text plus copies of the peer's: reserve it once, so that no
  // view moves.
  std::size_t room = 512 + 2 * client.peer_ip.size() + request.authority.size();
  for (const Header& header : request.headers) {
    if (header.id == HeaderId::x_forwarded_for || header.id == HeaderId::forwarded ||
        header.id == HeaderId::via) {
      room += header.value.size() + 2;
    }
  }
  scratch.reserve(room);
  // Even an empty one: an HTTP/1.1 request without Host is malformed (RFC 9112 §3.2).
  out.push_back({"Host", host.value_or(request.authority), HeaderId::host});
  const bool nominates = names_fields(request.headers);
  for (const Header& header : request.headers) {
    if (request.lookalikes && header.id == HeaderId::other && http::is_lookalike(header.name)) {
      continue;
    }
    switch (header.id) {
      case HeaderId::client_certificate:
      case HeaderId::host:
      case HeaderId::content_length:
      case HeaderId::expect:
      case HeaderId::x_forwarded_for:
      case HeaderId::x_forwarded_host:
      case HeaderId::x_forwarded_port:
      case HeaderId::x_forwarded_proto:
      case HeaderId::x_request_id:
      case HeaderId::forwarded:
      case HeaderId::via:
        continue;
      default:
        break;
    }
    if (header.id == HeaderId::mirror && !client.trusted) continue;
    if (is_hop_by_hop(header.id) || announces_nothing(header, request.framing) ||
        (nominates && is_nominated(request.headers, header))) {
      continue;
    }
    out.push_back(header);
  }
  if (request.takes_trailers) out.push_back({"TE", "trailers", HeaderId::te});
  Writer writer{request, client, policy, via, scratch, out};
  writer.x_forwarded_for();
  writer.x_forwarded_rest();
  writer.forwarded();
  writer.via();
  tell_certificate(client, out);
  out.push_back({"x-request-id", request_id, HeaderId::x_request_id});
}

std::size_t times_through(const http::RequestHead& request, std::string_view via) noexcept {
  std::string_view self;
  std::size_t times = 0;
  for (const Header& header : request.headers) {
    if (header.id != HeaderId::via) continue;
    if (self.empty()) self = received_by(via);
    std::string_view rest = header.value;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      if (http::equals_ignoring_case(received_by(rest.substr(0, comma)), self)) ++times;
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  return times;
}

void response_headers(const http::ResponseHead& response, std::string_view via,
                      std::string_view request_id, std::vector<http::Header>& out) {
  out.clear();
  const bool nominates = names_fields(response.headers);
  for (const Header& header : response.headers) {
    if (is_hop_by_hop(header.id) || header.id == HeaderId::content_length ||
        header.id == HeaderId::endpoint_load_metrics || header.id == HeaderId::x_request_id) {
      continue;
    }
    if (announces_nothing(header, response.framing)) continue;
    if (nominates && is_nominated(response.headers, header)) continue;
    out.push_back(header);
  }
  if (!via.empty()) out.push_back({"Via", via, HeaderId::via});
  out.push_back({"x-request-id", request_id, HeaderId::x_request_id});
}

std::string_view given_request_id(const http::RequestHead& request) noexcept {
  const std::string_view id = http::first_value(request.headers, HeaderId::x_request_id);
  if (id.empty() || id.size() > 128) return {};
  const bool visible =
      std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c < 0x7f; });
  return visible ? id : std::string_view();
}

}  // namespace lbd::proxy
