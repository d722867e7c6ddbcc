// What lbd answers itself: redirects, fixed responses and errors. The only place that turns a Fault
// into a response; and the bookkeeping at a request's two ends.
#include <fmt/format.h>

#include <iterator>
#include <string>
#include <tuple>

#include "lbd/proxy/exchange.h"
#include "lbd/proxy/grpc.h"
#include "lbd/proxy/headers.h"
#include "lbd/proxy/request_id.h"
#include "lbd/proxy/trace.h"

namespace lbd::proxy {
namespace {

void compose(WorkerContext& worker, const LocalReply& local, std::vector<http::Header>& headers) {
  headers.clear();
  headers.push_back({"Date", worker.date(), http::HeaderId::date});
  if (!local.content_type.empty()) {
    headers.push_back({"Content-Type", local.content_type, http::HeaderId::content_type});
  }
  if (!local.location.empty())
    headers.push_back({"Location", local.location, http::HeaderId::other});
  if (!local.reason.empty())
    headers.push_back({"x-lbd-reason", local.reason, http::HeaderId::other});
  if (!local.id.empty())
    headers.push_back({"x-request-id", local.id, http::HeaderId::x_request_id});
  if (!local.retry_after.empty())
    headers.push_back({"Retry-After", local.retry_after, http::HeaderId::other});
  if (local.status >= 500) headers.push_back({"Cache-Control", "no-store", http::HeaderId::other});
}

Task<Result<void>> send(ClientSide& client, LocalReply local,
                        const std::vector<http::Header>& headers) {
  const bool bodiless = local.status == 204 || local.status == 304;
  ResponseOut out;
  out.status = local.status;
  out.headers = &headers;
  out.body = {bodiless ? http::Framing::Kind::none : http::Framing::Kind::length,
              local.body.size()};
  BodyPiece first{bodiless ? std::string_view() : local.body, true};
  if (client.head().method == http::Method::head && !bodiless) {
    out.body.kind = http::Framing::Kind::none;
    out.state_length = true;
    first.bytes = {};
  }
  co_return co_await client.send_head(out, first);
}

struct ErrorBody {
  std::string_view content_type = "text/plain; charset=utf-8";
  std::string text;
};

/// The listener's page for the error's status, or a few plain words.
ErrorBody error_body(const upstream::SnapshotListener& listener, Fault fault, std::string_view id) {
  const int status = fault_status(fault);
  ErrorBody body;
  if (const route::ErrorPage* page = listener.error_pages.find(status)) {
    const std::string number = std::to_string(status);
    route::Variables variables;
    variables[static_cast<std::size_t>(config::Variable::status)] = number;
    variables[static_cast<std::size_t>(config::Variable::reason)] = fault_name(fault);
    variables[static_cast<std::size_t>(config::Variable::request_id)] = id;
    BufferPool pool;
    Buffer text(pool);
    page->body.append(variables, route::Encoding::html, text);
    body.content_type = page->content_type;
    body.text = text.view();
    return body;
  }
  body.text =
      fmt::format("{} {}\nreason: {}\n", status, http::reason_phrase(status), fault_name(fault));
  if (!id.empty()) body.text += fmt::format("request id: {}\n", id);
  return body;
}

std::string expand(std::string_view pattern, const route::Variables& values) {
  BufferPool pool;
  Buffer text(pool);
  route::Template(pattern).append(values, route::Encoding::line, text);
  return std::string(text.view());
}

void count_desync(http::DesyncReason reason, upstream::ListenerLoad& load) noexcept {
  static_assert(static_cast<std::size_t>(http::DesyncReason::kCount) <=
                std::tuple_size_v<decltype(load.desync)>);
  if (reason != http::DesyncReason::none) load.desync[static_cast<std::size_t>(reason)].add(1);
}

}  // namespace

void Exchange::start_record() {
  const http::RequestHead& request = client_.head();
  started_ = worker_.clock.now();
  grpc_ = is_grpc(request);
  if (client_.client().trusted) record_.id = given_request_id(request);
  if (record_.id.empty()) record_.id = new_id(worker_.rng, id_storage_);
  if (worker_.records != nullptr) record_.started = worker_.clock.wall();
}

void Exchange::finish_record() {
  const http::RequestHead& request = client_.head();
  record_.duration_us = micros(worker_.clock.now() - started_);
  if (!uploading_) record_.request_bytes = first_.bytes.size();
  const std::shared_ptr<upstream::LiveRoute>& live =
      route_ != nullptr ? route_->live : listener_.no_route;
  upstream::RouteLoad& load = live->loads[worker_.index];
  load.counts.add(upstream::status_key(record_.status, static_cast<std::uint32_t>(request.method),
                                       record_.by_target));
  if (!tunnelling_) load.duration.record(record_.status, record_.duration_us);
  load.request_bytes.add(record_.request_bytes);
  load.response_bytes.add(record_.response_bytes);
  if (record_.reason != Fault::none) {
    const auto reason = static_cast<std::size_t>(record_.reason);
    if (group_load_ != nullptr) {
      group_load_->failures[reason].add(1);
    } else {
      listener_.live->loads[worker_.index].failures[reason].add(1);
    }
  }
  if (grpc_ && group_load_ != nullptr) count_grpc();
  record_.desync = request.desync;
  count_desync(request.desync, listener_.live->loads[worker_.index]);
  record_.tunnel = tunnelling_;
  const bool notable =
      is_notable(record_, worker_.slow_us) || (grpc_ && is_grpc_failure(record_.grpc_status));
  if (worker_.records == nullptr) {
    if (!notable) return;
    record_.started = worker_.clock.wall() - std::chrono::microseconds(record_.duration_us);
  }
  record_.client_ip = client_.client().peer_ip;
  record_.client_port = client_.client().peer.port();
  record_.listener = listener_.settings.name;
  record_.rule = live->rule;
  record_.version = request.version;
  record_.method = request.method_text;
  record_.authority = request.authority;
  record_.target = request.target;
  record_.generation = pinned_.snapshot->generation;
  if (const net::TlsInfo* tls = client_.client().tls.get()) {
    record_.tls_version = tls->version;
    record_.tls_cipher = tls->cipher;
    record_.server_name = tls->server_name;
  }
  describe_request();
  worker_.write(record_, notable);
}

void Exchange::count_grpc() noexcept {
  const std::size_t none = group_load_->grpc.size() - 1;
  const int status = record_.grpc_status;
  group_load_->grpc[status < 0 ? none : static_cast<std::size_t>(status)].add(1);
}

/// What only the log asks for.
void Exchange::describe_request() {
  const http::RequestHead& request = client_.head();
  record_.local_port = client_.client().local.port();
  for (const http::Header& header : request.headers) {
    if (header.id == http::HeaderId::user_agent) record_.user_agent = header.value;
    if (header.id == http::HeaderId::referer) record_.referer = header.value;
  }
  const bool forwarded = outgoing_ != nullptr;
  for (const http::Header& header : forwarded ? state_->upstream_headers : request.headers) {
    if (header.id == http::HeaderId::traceparent) record_.trace_id = trace_id_of(header.value);
    if (header.id == http::HeaderId::x_amzn_trace_id) record_.amzn_trace_id = header.value;
  }
  if (route_ == nullptr) return;
  const bool otherwise = listener_.otherwise && route_ == &*listener_.otherwise;
  record_.rule_number =
      otherwise ? 0 : static_cast<std::int32_t>(route_ - listener_.routes.data()) + 1;
}

/// An answer of our own that the client did not take.
void Exchange::note_unsent(const Error& error) noexcept {
  record_.reason = called_off_ != Fault::none ? called_off_ : error.fault;
  if (record_.reason == Fault::cancelled) record_.reason = Fault::drain_deadline;
  record_.cut = true;
}

Task<Result<void>> Exchange::reply(LocalReply local) {
  compose(worker_, local, state_->client_headers);
  edit_response();
  co_return co_await send(client_, local, state_->client_headers);
}

Task<> Exchange::reply_fixed(const config::FixedResponse& fixed) {
  record_.action = RequestRecord::Action::fixed_response;
  record_.status = fixed.status;
  const LocalReply local{
      .status = fixed.status, .content_type = fixed.content_type, .body = fixed.body};
  const Result<void> sent = co_await reply(local);
  record_.response_bytes = fixed.body.size();
  if (!sent) note_unsent(sent.error());
}

Task<> Exchange::reply_redirect(const config::Redirect& redirect) {
  const route::Variables values = variables();
  const std::string protocol = expand(redirect.protocol, values);
  const std::string port = expand(redirect.port, values);
  const std::string query = expand(redirect.query, values);
  const bool usual_port =
      (protocol == "http" && port == "80") || (protocol == "https" && port == "443");
  Buffer& location = state_->url;
  location.clear();
  location.append(protocol);
  location.append("://");
  route::Template(redirect.host).append(values, route::Encoding::line, location);
  if (!usual_port && !port.empty()) {
    location.append(':');
    location.append(port);
  }
  route::Template(redirect.path).append(values, route::Encoding::line, location);
  if (!query.empty()) {
    location.append('?');
    location.append(query);
  }
  record_.action = RequestRecord::Action::redirect;
  record_.status = redirect.status;
  record_.redirect_url = location.view();
  const LocalReply local{.status = redirect.status, .location = location.view()};
  const Result<void> sent = co_await reply(local);
  if (!sent) note_unsent(sent.error());
}

/// A client of gRPC looks for its status in what looks like a success ("trailers-only").
Task<Result<void>> Exchange::reply_grpc(int status) {
  record_.status = 200;
  record_.grpc_status = grpc_status_of(status);
  const std::string number = std::to_string(record_.grpc_status);
  const std::string message = fmt::format("lbd: {}", fault_name(record_.reason));
  LocalReply local{.status = 200, .content_type = "application/grpc", .id = record_.id};
  if (listener_.settings.reason_header) local.reason = fault_name(record_.reason);
  compose(worker_, local, state_->client_headers);
  state_->client_headers.push_back({"grpc-status", number, http::HeaderId::other});
  state_->client_headers.push_back({"grpc-message", message, http::HeaderId::other});
  edit_response();
  ResponseOut out;
  out.headers = &state_->client_headers;
  const BodyPiece nothing{{}, true};
  co_return co_await client_.send_head(out, nothing);
}

Task<> Exchange::reply_error(Error error) {
  record_.reason = called_off_ != Fault::none ? called_off_ : error.fault;
  if (record_.reason == Fault::cancelled) record_.reason = Fault::drain_deadline;
  if (response_started_) {
    // The session closes the connection, so the client sees that it is not whole.
    record_.cut = true;
    co_return;
  }
  const int status = fault_status(record_.reason);
  record_.status = status;
  if (record_.reason == Fault::client_gone) co_return;
  if (grpc_) {
    const Result<void> told = co_await reply_grpc(status);
    if (!told) record_.cut = true;
    co_return;
  }
  const ErrorBody body = error_body(listener_, record_.reason, record_.id);
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(retry_after_).count();
  const std::string retry_after =
      fault_status(record_.reason) == 429 ? std::to_string(seconds) : std::string();
  const LocalReply local{
      .status = status,
      .content_type = body.content_type,
      .body = body.text,
      .reason = listener_.settings.reason_header ? fault_name(record_.reason) : std::string_view(),
      .id = record_.id,
      .retry_after = retry_after};
  const Result<void> sent = co_await reply(local);
  record_.response_bytes = body.text.size();
  if (!sent) record_.cut = true;
}

namespace {

struct Refused {
  WorkerContext& worker;
  ClientSide& client;
  const upstream::SnapshotListener& listener;
  Fault fault;
};
struct RefusalSent {
  int status = 0;
  std::size_t bytes = 0;
  std::string_view id;
  bool cut = false;
};

void log_refusal(const Refused& refused, const RefusalSent& sent) {
  const auto& [worker, client, listener, fault] = refused;
  RequestRecord record;
  record.started = worker.clock.wall();
  record.id = sent.id;
  record.generation = worker.pinned->snapshot->generation;
  record.version = client.head().version;
  record.method = client.head().method_text;
  record.target = client.head().target;
  record.response_bytes = sent.bytes;
  record.client_ip = client.client().peer_ip;
  record.client_port = client.client().peer.port();
  record.listener = listener.settings.name;
  record.rule = "none";
  record.status = sent.status;
  record.reason = fault;
  record.desync = client.head().desync;
  record.cut = sent.cut;
  worker.write(record, true);
}

}  // namespace

void note_refusal(WorkerContext& worker, ClientSide& client,
                  const upstream::SnapshotListener& listener, Fault fault) {
  IdStorage storage{};
  upstream::ListenerLoad& load = listener.live->loads[worker.index];
  load.failures[static_cast<std::size_t>(fault)].add(1);
  count_desync(client.head().desync, load);
  log_refusal({worker, client, listener, fault}, {.id = new_id(worker.rng, storage)});
}

Task<> refuse_request(WorkerContext& worker, ClientSide& client,
                      const upstream::SnapshotListener& listener, Fault fault) {
  std::unique_ptr<ExchangeState> state = worker.take_state();
  const int status = fault_status(fault);
  IdStorage storage{};
  const std::string_view id = new_id(worker.rng, storage);
  const ErrorBody body = error_body(listener, fault, id);
  listener.live->loads[worker.index].failures[static_cast<std::size_t>(fault)].add(1);
  count_desync(client.head().desync, listener.live->loads[worker.index]);
  upstream::RouteLoad& load = listener.no_route->loads[worker.index];
  load.counts.add(
      upstream::status_key(status, static_cast<std::uint32_t>(http::Method::other), false));
  const LocalReply local{
      .status = status,
      .content_type = body.content_type,
      .body = body.text,
      .reason = listener.settings.reason_header ? fault_name(fault) : std::string_view(),
      .id = id};
  compose(worker, local, state->client_headers);
  const Result<void> sent = co_await send(client, local, state->client_headers);
  log_refusal({worker, client, listener, fault}, {status, body.text.size(), id, !sent});
  worker.give_back(std::move(state));
}

}  // namespace lbd::proxy
