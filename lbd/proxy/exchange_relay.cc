// The conversation with one target: the request out, the response back, at the same time.
#include <algorithm>

#include "lbd/proxy/exchange.h"
#include "lbd/proxy/grpc.h"
#include "lbd/proxy/headers.h"

namespace lbd::proxy {
namespace {

/// Weight of a new sample in a target's latency average, and how fast the average's floor follows
/// it upwards.
constexpr float kLatencyDecay = 0.2F;
constexpr float kFloorDrift = 0.001F;
/// Interim responses to one request.
constexpr std::uint32_t kInterimMax = 64;

void note_latency(upstream::TargetLoad& load, float sample) noexcept {
  const float before = load.latency_us.get();
  const float average = before > 0 ? before + kLatencyDecay * (sample - before) : sample;
  const float floor = load.latency_floor_us.get();
  load.latency_us.set(average);
  load.latency_floor_us.set(
      floor <= 0 || average < floor ? average : floor + kFloorDrift * (average - floor));
}

bool is_interim(const http::ResponseHead& head) noexcept {
  return head.status < 200 && head.status != 101;
}

/// A response without a Date gets one on its way (RFC 9110 §6.6.1).
void add_date(std::vector<http::Header>& headers, WorkerContext& worker) {
  const bool has = std::any_of(headers.begin(), headers.end(), [](const http::Header& each) {
    return each.id == http::HeaderId::date;
  });
  if (!has) headers.push_back({"Date", worker.date(), http::HeaderId::date});
}

}  // namespace

/// Sends the request and relays the response. `none` when the client has it whole.
Task<Error> Exchange::converse(UpstreamSide& upstream, const Choice& choice) {
  current_ = &upstream;
  upstream.set_deadline(worker_.clock.now() + response_head_timeout());
  if (!first_.last) {
    const Result<void> told = co_await client_.send_continue();
    if (!told) {
      current_ = nullptr;
      co_return called_off_ != Fault::none ? called_off_error() : told.error();
    }
  }
  const Result<void> sent =
      co_await upstream.send_head(*outgoing_, state_->upstream_headers, first_);
  if (sent && !first_.last) start_upload(upstream);
  // A target may answer and close before it has read everything: whatever became of the sending,
  // read.
  Error error{};
  Result<void> received = co_await upstream.read_head(state_->response);
  if (received && is_interim(state_->response)) received = co_await pass_interims(upstream);
  if (received) note_head(choice);
  if (!received) {
    error = sent ? received.error() : sent.error();
  } else if (state_->response.status == 101) {
    error = co_await tunnel(upstream, choice);
  } else {
    error = co_await relay(upstream, choice);
  }
  if (upload_.running() > 0) co_await end_upload(upstream);
  current_ = nullptr;
  if (called_off_ != Fault::none) co_return called_off_error();
  if (moved_) co_return Error{Fault::target_down, Side::self, false};
  if (error.fault != Fault::none && upload_error_.fault != Fault::none &&
      upload_error_.fault != Fault::cancelled) {
    co_return upload_error_;
  }
  co_return error;
}

/// From the interim response that has come to the head of the final one. They are passed on, but
/// for 100, which we gave ourselves.
Task<Result<void>> Exchange::pass_interims(UpstreamSide& upstream) {
  for (std::uint32_t interim = 0; is_interim(state_->response); ++interim) {
    if (interim == kInterimMax) co_return Error{Fault::bad_response, Side::upstream, false};
    if (state_->response.status != 100) {
      response_headers(state_->response, via(), record_.id, state_->client_headers);
      const ResponseOut out{
          state_->response.status, state_->response.reason, &state_->client_headers, {}, false};
      const Result<void> sent = co_await client_.send_interim(out);
      if (!sent) co_return sent;
    }
    const Result<void> got = co_await upstream.read_head(state_->response);
    if (!got) co_return got;
  }
  co_return Result<void>();
}

Task<Error> Exchange::relay(UpstreamSide& upstream, const Choice& choice) {
  const http::ResponseHead& response = state_->response;
  Result<BodyPiece> piece = upstream.buffered_body();
  if (!piece) co_return piece.error();
  response_headers(response, via(), record_.id, state_->client_headers);
  add_date(state_->client_headers, worker_);
  set_sticky_cookies(choice);
  ResponseOut out{response.status, response.reason, &state_->client_headers, response.framing,
                  false};
  if (out.body.kind == http::Framing::Kind::none && response.status != 204) {
    out.state_length = std::any_of(
        response.headers.begin(), response.headers.end(),
        [](const http::Header& each) { return each.id == http::HeaderId::content_length; });
  }
  start_encoding(out);
  edit_response();
  response_started_ = true;
  record_.status = response.status;
  record_.by_target = true;
  if (grpc_ && piece->last) note_grpc(choice, piece->trailers);
  Result<BodyPiece> outgoing = encoded(*piece);
  if (!outgoing) co_return outgoing.error();
  Result<void> sent = co_await client_.send_head(out, *outgoing);
  while (sent && !piece->last) {
    upstream.set_deadline(worker_.clock.now() + group_settings().timeouts.body_idle);
    piece = co_await upstream.read_body();
    if (!piece) co_return piece.error();
    if (grpc_ && piece->last) note_grpc(choice, piece->trailers);
    outgoing = encoded(*piece);
    if (!outgoing) co_return outgoing.error();
    sent = co_await client_.send_body(*outgoing);
  }
  if (!sent) co_return sent.error();
  co_return Error{};
}

void Exchange::start_upload(UpstreamSide& upstream) {
  uploading_ = true;
  upload_.spawn(upload(upstream));
}

Task<> Exchange::end_upload(UpstreamSide& upstream) {
  upload_over_ = true;  // an operation that has ended already cannot be called off any more
  upstream.abort();
  client_.abort();
  co_await upload_.join();
}

/// Runs beside receive and relay: the rest of the request's body.
Task<> Exchange::upload(UpstreamSide& upstream) {
  record_.request_bytes += first_.bytes.size();
  const Duration body_idle = group_settings().timeouts.body_idle;
  const Duration patience = listener_.settings.timeouts.body_idle;
  for (;;) {
    // It is the client's turn, and its side ends the wait when it takes too long: not the target's
    // fault.
    const Duration answer = response_started_ ? body_idle : response_head_timeout();
    upstream.set_deadline(worker_.clock.now() + patience + answer);
    const Result<BodyPiece> piece = co_await client_.read_body();
    if (!piece) {
      upload_error_ = piece.error();
      upstream.abort();
      co_return;
    }
    record_.request_bytes += piece->bytes.size();
    if (upload_over_) co_return;
    if (mirror_ != nullptr) feed_mirror(*piece);
    if (body_bytes_max() > 0 && record_.request_bytes > body_bytes_max()) {
      upload_error_ = {Fault::body_too_large, Side::client, false};
      upstream.abort();
      co_return;
    }
    upstream.set_deadline(worker_.clock.now() + answer);
    const Result<void> sent = co_await upstream.send_body(*piece);
    if (upload_over_) co_return;
    if (!sent) co_return;  // the response, if any, tells why
    if (piece->last) {
      uploaded_ = true;
      upstream.set_deadline(worker_.clock.now() + answer);
      client_.watch(&Exchange::client_gone, this);
      co_return;
    }
  }
}

/// A response of the target is there, and says whether it failed.
void Exchange::note_success(upstream::TargetLoad& load, bool failed) {
  if (failed) {
    load.errors.add(1);
    group_load_->trouble.add(1);
  } else {
    load.errors_at_success.set(load.errors.get());
  }
}

/// The response is whole: its status stands in the trailers, or, without a body, in the head.
void Exchange::note_grpc(const Choice& choice, const std::vector<http::Header>* trailers) {
  int status = trailers != nullptr ? grpc_status(*trailers) : -1;
  if (status < 0) status = grpc_status(state_->response.headers);
  record_.grpc_status = status;
  if (state_->response.status == 200) {
    note_success(choice.target->live->load(worker_.index), is_grpc_failure(status));
  }
}

void Exchange::note_head(const Choice& choice) {
  waiting_.leave();
  upstream::TargetLoad& load = choice.target->live->load(worker_.index);
  const http::ResponseHead& response = state_->response;
  const TimePoint now = worker_.clock.now();
  const Duration took = now - attempt_started_;
  record_.ttfb_us = micros(now - started_);
  const std::uint32_t took_us = short_micros(took);
  const std::uint32_t response_us = took_us - std::min(took_us, this_attempt().connect_us);
  load.response.record(response_us);
  load.responses[static_cast<std::size_t>(std::min(response.status / 100, 5))].add(1);
  note_latency(load, static_cast<float>(micros(took)));
  // What a 200 of gRPC means comes with its status.
  if (!grpc_ || response.status != 200) note_success(load, response.status >= 500);
  this_attempt().status = response.status;
  this_attempt().response_us = std::max(response_us, 1U);
  for (const http::Header& header : response.headers) {
    if (header.id != http::HeaderId::endpoint_load_metrics) continue;
    const double cpu = http::orca_cpu(header.value);
    if (cpu < 0) continue;
    load.reported_cpu_permille.set(static_cast<std::uint32_t>(std::min(cpu * 1000, 1e6)));
    load.reported_cpu_at_us.set(
        std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count());
  }
}

}  // namespace lbd::proxy
