#include "lbd/proxy/exchange.h"

#include <algorithm>

#include "lbd/proxy/headers.h"
#include "lbd/proxy/lease.h"

namespace lbd::proxy {
namespace {

/// A request may pass through one lbd more than once on purpose (a listener whose targets are
/// another listener), but not for ever.
constexpr std::size_t kPassesMax = 3;

}  // namespace

Exchange::Exchange(WorkerContext& worker, ClientSide& client,
                   const upstream::SnapshotListener& listener, const Pinned& pinned)
    : worker_(worker),
      client_(client),
      listener_(listener),
      pinned_(pinned),
      state_(worker.take_state()),
      total_(worker.clock, this, &Exchange::total_expired) {}

Exchange::~Exchange() {
  if (encoder_ != nullptr) state_->encoded.release();
  state_->flights.clear();
  worker_.give_back(std::move(encoder_));
  worker_.give_back(std::move(state_));
  if (destroyed_ != nullptr) *destroyed_ = true;
}

Task<> Exchange::run() {
  start_record();
  const http::RequestHead& request = client_.head();
  const std::size_t rule = find_rule();
  if (rule != route::Table::kNone) {
    route_ = &listener_.routes[rule];
  } else if (listener_.otherwise) {
    route_ = &*listener_.otherwise;
  }
  const std::uint64_t body_max = body_bytes_max();
  arm_total_deadline();
  first_ = client_.buffered_body();
  if (const Fault refused = admit(); refused != Fault::none) {
    const Error error{refused, Side::client, false};
    co_await reply_error(error);
  } else if (body_max > 0 && request.framing.length > body_max) {
    const Error error{Fault::body_too_large, Side::client, false};
    co_await reply_error(error);
  } else if (request.wants_upgrade && refuses_upgrade()) {
    const Error error{Fault::unsupported, Side::client, false};
    co_await reply_error(error);
  } else if (route_ == nullptr) {
    const Error error{Fault::no_route, Side::self, false};
    co_await reply_error(error);
  } else if (std::holds_alternative<config::Forward>(route_->action)) {
    co_await forward(*route_);
  } else if (const auto* redirect = std::get_if<config::Redirect>(&route_->action)) {
    co_await reply_redirect(*redirect);
  } else {
    co_await reply_fixed(std::get<config::FixedResponse>(route_->action));
  }
  finish_record();
}

Task<> Exchange::forward(const upstream::SnapshotRoute& route) {
  const std::size_t group = choose_group(route);
  group_ = pinned_.snapshot->groups[group].get();
  turns_ = pinned_.turns[group].get();
  group_load_ = &group_->live->loads[worker_.index];
  record_.group = group_->settings.name;
  record_.action = RequestRecord::Action::forward;
  group_load_->requests.add(1);
  if (group_->fail_open) group_load_->fail_open.add(1);
  const Lease in_flight(group_load_->in_flight);
  if (times_through(client_.head(), pinned_.snapshot->via) >= kPassesMax) {
    const Error looped{Fault::loop_detected, Side::self, false};
    co_await reply_error(looped);
    co_return;
  }
  compose_request(route);
  if (route.mirror) begin_mirror(*route.mirror);
  for (;;) {
    const Choice choice = choose_target();
    Error error{choice.why_not, Side::self, false};
    if (choice.target != nullptr) error = co_await attempt(choice);
    if (error.fault == Fault::none) break;
    if (choice.target == nullptr || !may_try_again(error)) {
      co_await reply_error(error);
      break;
    }
    tried_.add(choice.target->live.get(), choice.target->zone);
    take_newest_group();
    group_load_->retries.add(1);
  }
}

/// What failed here may be known by now: another try goes by the newest snapshot, if the group is
/// still in it.
void Exchange::take_newest_group() {
  const auto& groups = worker_.pinned->snapshot->groups;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (groups[i]->live != group_->live) continue;
    const Pinned* held = newer_.empty() ? &pinned_ : newer_.back().get();
    if (worker_.pinned.get() == held) return;
    newer_.push_back(worker_.pinned);
    turns_ = worker_.pinned->turns[i].get();
    group_ = groups[i].get();
    return;
  }
}

RetryAnswer Exchange::ask_retry(const Error& error) const noexcept {
  config::Retries retries = group_settings().retries;
  retries.attempts = route_->attempts.value_or(retries.attempts);
  return may_retry({.error = error,
                    .method = client_.head().method,
                    .body_replayable = !uploading_,  // `first_` is kept, the rest not yet read
                    .response_started = response_started_,
                    .attempts_made = record_.attempt_count,
                    .in_budget = group_load_->retry_budget.allows(
                        {group_load_->requests.get(), group_load_->in_flight.get()}, retries,
                        worker_.clock.now())},
                   retries);
}

bool Exchange::may_try_again(const Error& error) {
  if (called_off_ != Fault::none) return false;
  if (std::exchange(moved_, false)) return true;  // asked when it was called off
  const RetryAnswer answer = ask_retry(error);
  if (answer == RetryAnswer::over_budget) group_load_->retries_refused.add(1);
  if (answer == RetryAnswer::yes && !error.retry_safe) group_load_->retry_budget.spend();
  return answer == RetryAnswer::yes;
}

bool Exchange::leave_target(TimePoint now) noexcept {
  if (current_ == nullptr || connecting_ || moved_ || called_off_ != Fault::none ||
      current_->answered() || waiting_.load() == nullptr) {
    return false;
  }
  const RetryAnswer answer = ask_retry({Fault::target_down, Side::upstream, false});
  if (answer == RetryAnswer::no) return false;
  // A target that fails its checks may well be answering still: it gets the time it usually needs.
  const Duration patience = upstream::overdue_after(waiting_.load()->latency_us.get());
  if (answer == RetryAnswer::over_budget || now - waiting_.since() < patience) return true;
  moved_ = true;
  group_load_->retry_budget.spend();
  current_->abort();
  return false;
}

/// One target, tried once; or twice when a kept connection turns out to have been closed under our
/// request.
Task<Error> Exchange::attempt(const Choice& choice) {
  upstream::LiveTarget& live = *choice.target->live;
  const Lease in_flight(live.load(worker_.index).in_flight);
  if (choice.cross_zone) group_load_->cross_zone.add(1);
  ++record_.attempt_count;
  this_attempt() = {};
  this_attempt().target = live.address();
  this_attempt().zone = record_.zone = live.zone();
  client_.watch(&Exchange::client_gone, this);
  const config::HttpVersion version = group_settings().http_version;
  std::unique_ptr<UpstreamSide> upstream = worker_.take_upstream(version);
  Error error{};
  for (bool fresh = false;; fresh = true) {
    attempt_started_ = worker_.clock.now();
    if (first_.last) waiting_.join(live.load(worker_.index), attempt_started_);
    Result<void> connected;
    if (fresh || !take_kept(choice, *upstream)) connected = co_await connect(choice, *upstream);
    if (!connected) {
      error = connected.error();
      break;
    }
    error = co_await converse(*upstream, choice);
    const bool again = !fresh && is_stale(error, *upstream);
    if (error.fault == Fault::tls_failed) {
      note_tls(choice, {net::TlsFault::client_certificate, upstream->failure_text()});
    }
    co_await upstream->finish(error.fault == Fault::none);
    if (!again) break;
  }
  waiting_.leave();
  worker_.give_back(std::move(upstream), version);
  note_result(choice, error);
  co_return error;
}

/// It closed a kept connection under a request that it has not begun to answer.
bool Exchange::is_stale(const Error& error, const UpstreamSide& upstream) const noexcept {
  if (error.fault != Fault::target_reset || !upstream.reused() || upstream.answered() ||
      response_started_ || called_off_ != Fault::none) {
    return false;
  }
  return (error.retry_safe && !uploading_) ||
         (first_.last && http::is_idempotent(client_.head().method));
}

/// Counted over all attempts; see RequestRecord.
AttemptRecord& Exchange::this_attempt() noexcept {
  const std::uint32_t most = RequestRecord::kAttemptsMax;
  return record_.attempts[std::min(record_.attempt_count, most) - 1];
}

UpstreamTo Exchange::way_to(const Choice& choice, const net::ProxyHeader& greeting) const noexcept {
  const TimePoint deadline =
      std::min(attempt_started_ + group_settings().timeouts.connect, total_due_);
  return {worker_, *choice.target, *group_, greeting.view(), deadline};
}

/// A connection that is there, if there is one.
bool Exchange::take_kept(const Choice& choice, UpstreamSide& upstream) {
  if (called_off_ != Fault::none) return false;
  const net::ProxyHeader greeting = proxy_header();
  return upstream.take_kept(way_to(choice, greeting));
}

Task<Result<void>> Exchange::connect(const Choice& choice, UpstreamSide& upstream) {
  if (called_off_ != Fault::none) co_return called_off_error();
  const net::ProxyHeader greeting = proxy_header();
  const UpstreamTo to = way_to(choice, greeting);
  co_return co_await dial(to, choice, upstream);
}

/// What connections of this request's begin with; each client has its own.
net::ProxyHeader Exchange::proxy_header() const noexcept {
  const config::ProxyVersion version = group_settings().proxy_protocol;
  if (version == config::ProxyVersion::off) return {};
  const ClientInfo& client = client_.client();
  return {static_cast<net::ProxyVersion>(version), client.peer, client.local};
}

Task<Result<void>> Exchange::dial(const UpstreamTo& to, const Choice& choice,
                                  UpstreamSide& upstream) {
  client_.look_ahead();
  current_ = &upstream;
  connecting_ = true;
  const Result<bool, net::DialFailure> dialled = co_await upstream.dial(to);
  current_ = nullptr;
  connecting_ = false;
  if (called_off_ != Fault::none) {
    if (dialled) co_await upstream.finish(false);
    co_return called_off_error();
  }
  if (!dialled) {
    // At the same moment as its timer: whichever comes first.
    if (worker_.clock.now() >= total_due_) called_off_ = Fault::target_timeout;
    if (called_off_ != Fault::none) co_return called_off_error();
    if (dialled.error().fault == Fault::tls_failed) note_tls(choice, dialled.error().tls);
    const bool ours = dialled.error().fault == Fault::overload_shed;
    co_return Error{dialled.error().fault, ours ? Side::self : Side::upstream, true};
  }
  if (!*dialled) co_return Result<void>();
  if (group_->tls != nullptr) {
    group_load_->handshakes.made[static_cast<std::size_t>(upstream.tls_kind())].add(1);
  }
  const Duration took = worker_.clock.now() - attempt_started_;
  choice.target->live->load(worker_.index).note_connect(micros(took));
  this_attempt().connect_us = std::max(short_micros(took), 1U);
  co_return Result<void>();
}

/// Why the request ends although neither side failed. The target is to blame for the total deadline
/// when the whole time was its own: nothing else was waited for.
Error Exchange::called_off_error() const noexcept {
  const bool of_client = called_off_ == Fault::client_gone ||
                         called_off_ == Fault::client_protocol ||
                         called_off_ == Fault::client_timeout;
  if (of_client) return {called_off_, Side::client, false};
  const bool waited_for_target = called_off_ == Fault::target_timeout &&
                                 record_.attempt_count == 1 && !response_started_ &&
                                 (!uploading_ || uploaded_);
  return {called_off_, waited_for_target ? Side::upstream : Side::self, false};
}

void Exchange::client_gone(void* self, Fault why) { static_cast<Exchange*>(self)->call_off(why); }

/// Ends the wait under way, whatever it is for. The exchange, and its session, may be over on
/// return.
void Exchange::call_off(Fault why) noexcept {
  if (called_off_ == Fault::none) called_off_ = why;
  if (current_ != nullptr) current_->abort();
}

void Exchange::total_expired(void* self) {
  auto* exchange = static_cast<Exchange*>(self);
  bool destroyed = false;
  exchange->destroyed_ = &destroyed;
  exchange->call_off(exchange->tunnelling_ ? Fault::tunnel_timeout : Fault::target_timeout);
  if (destroyed) return;
  exchange->destroyed_ = nullptr;
  exchange->client_.abort();
}

void Exchange::note_tls(const Choice& choice, net::TlsFailure failure) {
  group_load_->handshakes.failed[static_cast<std::size_t>(failure.fault)].add(1);
  group_->live->tls_trouble.tell({choice.target->live->address(),
                                  std::string(net::tls_fault_name(failure.fault)),
                                  std::move(failure.detail)});
}

void Exchange::note_result(const Choice& choice, const Error& error) {
  upstream::TargetLoad& load = choice.target->live->load(worker_.index);
  load.requests.add(1);
  if (error.fault != Fault::none) {
    this_attempt().failed_us = short_micros(worker_.clock.now() - attempt_started_);
  }
  if (error.fault == Fault::overload_shed || error.fault == Fault::target_down) {
    this_attempt().fault = error.fault;
  }
  if (error.side != Side::upstream || error.fault == Fault::none) return;
  group_load_->trouble.add(1);
  this_attempt().fault = error.fault;
  const bool never_connected = error.fault == Fault::connect_failed ||
                               error.fault == Fault::connect_timeout ||
                               (error.fault == Fault::tls_failed && this_attempt().connect_us == 0);
  if (never_connected) {
    load.connect_failures.add(1);
  } else {
    load.broken.add(1);
    load.errors.add(1);
  }
}

}  // namespace lbd::proxy
