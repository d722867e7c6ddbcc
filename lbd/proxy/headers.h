// Which header fields go on, which are ours to write: the same for every protocol.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "lbd/base/buffer.h"
#include "lbd/http/message.h"
#include "lbd/proxy/sides.h"

namespace lbd::proxy {

/// For rules, of a head that has just been read: takes out what the client says about a certificate
/// (X-Amzn-Mtls-Clientcert and its kin), and puts in what the handshake told of one, if the
/// listener passes that on. The views hold as long as `client`.
void vouch_for_certificate(const ClientInfo& client, http::RequestHead& head);

/// What the fields for an upstream are made from.
struct RequestSource {
  const http::RequestHead& request;
  const ClientInfo& client;
  const config::ForwardedHeaders& policy;
  std::string_view id;
  std::string_view via;                       // Snapshot::via
  std::optional<std::string_view> host = {};  // instead of the request's
};

/// The request's end-to-end fields for the upstream, Host first: hop-by-hop fields, those that
/// Connection names, Content-Length and look-alikes (http::is_lookalike) are left out (framing is
/// the upstream side's business);
/// X-Forwarded-For/-Proto/-Port, Forwarded (RFC 7239), Via and x-request-id are set by the policy.
/// So are those about the client's certificate, whatever the head says of one. X-Lbd-Mirror is
/// believed of a trusted peer only.
/// Views point into the request and into `scratch`, which is cleared.
void request_headers(const RequestSource& source, Buffer& scratch, std::vector<http::Header>& out);

/// How often a request has passed the proxy that adds `via`.
[[nodiscard]] std::size_t times_through(const http::RequestHead& request,
                                        std::string_view via) noexcept;

/// The response's end-to-end fields for the client, with the id by which `lbd why` and the log know
/// the request. `via`: Snapshot::via, or empty to add none.
void response_headers(const http::ResponseHead& response, std::string_view via,
                      std::string_view request_id, std::vector<http::Header>& out);

/// The id a trusted peer sent, when it is one: 1 to 128 visible characters.
[[nodiscard]] std::string_view given_request_id(const http::RequestHead& request) noexcept;

}  // namespace lbd::proxy
