// What a rule asks of an exchange: which one it is, and what it changes on the way.
#include <algorithm>
#include <charconv>

#include "lbd/http/target.h"
#include "lbd/proxy/believed.h"
#include "lbd/proxy/exchange.h"
#include "lbd/proxy/headers.h"
#include "lbd/proxy/trace.h"

namespace lbd::proxy {
namespace {

/// A client that is told that too many of its requests are under way may come again so soon; when
/// one of them ends is not known.
constexpr std::chrono::seconds kAgainAfter{1};

}  // namespace

std::size_t Exchange::find_rule() {
  const http::RequestHead& request = client_.head();
  const ClientInfo& client = client_.client();
  route::Request question{.authority = request.authority,
                          .path = request.path,
                          .query = request.query,
                          .method = request.method_text,
                          .scheme = believed_scheme(client, request),
                          .headers = &request.headers};
  if (client.tls != nullptr) question.server_name = client.tls->server_name;
  if (listener_.table.uses_source()) {
    source_ = route::ip_bytes(believed_address(client, request, listener_.trusted));
    question.source = source_;
  }
  if (listener_.table.uses_draw()) question.draw = worker_.rng.next();
  return listener_.table.find(question);
}

/// By the listener first, then by the rule: a request that the one refuses takes no token of the
/// other, and one that is refused is in no count of those under way.
Fault Exchange::admit() {
  const bool open = listener_.gate.open() && (route_ == nullptr || route_->gate.open());
  if (open) return Fault::none;
  if (!source_) {
    source_ =
        route::ip_bytes(believed_address(client_.client(), client_.head(), listener_.trusted));
  }
  Fault refused = admit_to(listener_.gate);
  if (refused == Fault::none && route_ != nullptr) refused = admit_to(route_->gate);
  if (refused != Fault::none) state_->flights.clear();
  return refused;
}

Fault Exchange::admit_to(const upstream::SnapshotGate& gate) {
  using Entry = upstream::FlightTable::Entry;
  if (!gate.access.admits(source_)) return Fault::access_denied;
  for (const upstream::SnapshotFlights& each : gate.flights) {
    upstream::FlightLease lease;
    const Entry entry = each.live->enter(limit_key(each.by, each.name), each.most, lease);
    if (entry == Entry::counted) state_->flights.push_back(std::move(lease));
    if (entry == Entry::uncounted) {
      listener_.live->loads[worker_.index].flights_uncounted.add(1);
    }
    if (entry != Entry::refused) continue;
    retry_after_ = kAgainAfter;
    return Fault::in_flight_limited;
  }
  for (const upstream::SnapshotRate& each : gate.rates) {
    retry_after_ = each.live->take(limit_key(each.by, each.name), each.rate, started_);
    if (retry_after_ > Duration::zero()) return Fault::rate_limited;
  }
  return Fault::none;
}

std::string_view Exchange::limit_key(config::RateKey by, const std::string& name) const noexcept {
  const std::vector<http::Header>& headers = client_.head().headers;
  switch (by) {
    case config::RateKey::all:
      return {};
    case config::RateKey::header:
      return route::first_field(headers, name);
    case config::RateKey::cookie:
      return route::first_cookie(headers, name);
    case config::RateKey::source_ip:
      break;
  }
  return source_ ? route::client_key(*source_) : std::string_view();
}

/// Views that hold as long as the request's head.
route::Variables Exchange::variables() noexcept {
  using config::Variable;
  const http::RequestHead& request = client_.head();
  const ClientInfo& client = client_.client();
  route::Variables values;
  const auto set = [&values](Variable variable, std::string_view value) {
    values[static_cast<std::size_t>(variable)] = value;
  };
  const auto port = std::to_chars(port_storage_.data(), port_storage_.data() + port_storage_.size(),
                                  client.local.port());
  set(Variable::protocol, client.scheme);
  set(Variable::host, http::host_of(request.authority));
  set(Variable::port,
      {port_storage_.data(), static_cast<std::size_t>(port.ptr - port_storage_.data())});
  set(Variable::path, request.path.substr(std::min<std::size_t>(1, request.path.size())));
  set(Variable::query, request.query);
  set(Variable::method, request.method_text);
  set(Variable::client_ip, believed_address(client, request, listener_.trusted));
  set(Variable::request_id, record_.id);
  if (client.tls != nullptr) {
    set(Variable::sni, client.tls->server_name);
    set(Variable::tls_version, client.tls->version);
    set(Variable::tls_cipher, client.tls->cipher);
  }
  return values;
}

/// The head that targets get, the same for every attempt.
void Exchange::compose_request(const upstream::SnapshotRoute& route) {
  const http::RequestHead& request = client_.head();
  outgoing_ = &request;
  if (!route.rewrite.empty()) {
    const route::Rewritten url = route.rewrite.apply(request, variables(), state_->url);
    state_->rewritten = request;
    state_->rewritten.authority = url.authority;
    state_->rewritten.target = url.target;
    state_->rewritten.path = url.path;
    state_->rewritten.query = url.query;
    outgoing_ = &state_->rewritten;
  }
  const RequestSource source{
      request,    client_.client(),      listener_.settings.forwarded_headers,
      record_.id, pinned_.snapshot->via, outgoing_->authority};
  request_headers(source, state_->scratch, state_->upstream_headers);
  edit_trace({listener_.settings.trace, record_.id, worker_.clock, worker_.rng}, state_->trace,
             state_->upstream_headers);
  if (!route.request_headers.empty()) {
    route.request_headers.apply(variables(), state_->request_text, state_->upstream_headers);
  }
}

/// By lot. Tunnels are not mirrored.
void Exchange::begin_mirror(const upstream::SnapshotMirror& mirror) {
  const http::RequestHead& request = client_.head();
  if (request.wants_upgrade || !request.upgrade.empty()) return;
  if (mirror.share < 1 && worker_.rng.unit() >= mirror.share) return;
  mirror_ = MirrorCopy::make(worker_, {mirror, *pinned_.snapshot->groups[mirror.group], *outgoing_,
                                       state_->upstream_headers, client_.client()});
  if (mirror_ != nullptr) feed_mirror(first_);
}

/// Of a body that is whole the copy goes its own way.
void Exchange::feed_mirror(BodyPiece piece) {
  if (!mirror_->add(piece.bytes)) {
    mirror_.reset();
  } else if (piece.last) {
    MirrorCopy::send(std::move(mirror_));
  }
}

void Exchange::edit_response() {
  if (route_ == nullptr || route_->response_headers.empty()) return;
  route_->response_headers.apply(variables(), state_->response_text, state_->client_headers);
}

Duration Exchange::response_head_timeout() const noexcept {
  return route_->response_head_timeout.value_or(group_settings().timeouts.response_head);
}

/// 0: no limit.
std::uint64_t Exchange::body_bytes_max() const noexcept {
  return route_ != nullptr ? route_->body_bytes_max : listener_.settings.limits.body_bytes_max;
}

void Exchange::arm_total_deadline() {
  config::milliseconds total = listener_.settings.timeouts.total;
  if (route_ != nullptr) total = route_->total_timeout.value_or(total);
  if (total.count() == 0) return;
  total_due_ = started_ + total;
  total_.set(total_due_);
}

}  // namespace lbd::proxy
