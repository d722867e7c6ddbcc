#include "lbd/proxy/l4_session.h"

#include <algorithm>

#include "lbd/net/client_hello.h"
#include "lbd/proxy/lease.h"
#include "lbd/proxy/retry.h"
#include "lbd/proxy/tunnel.h"

namespace lbd::proxy {
namespace {

constexpr std::size_t kFirstCapacity = 4096;
constexpr std::size_t kCapacityMax = 64 * 1024;
constexpr std::chrono::milliseconds kLinger{1000};
constexpr std::size_t kLingerBytesMax = 1 << 20;

/// RFC 8446 §6.2; 0: it ends without a word.
std::uint8_t alert_of(Fault fault) noexcept {
  switch (fault) {
    case Fault::none:
    case Fault::client_gone:
    case Fault::client_timeout:
    case Fault::drain_deadline:
      return 0;
    case Fault::client_protocol:
      return 50;  // decode_error
    case Fault::access_denied:
      return 49;  // access_denied
    case Fault::no_route:
      return 112;  // unrecognized_name
    default:
      return 80;  // internal_error
  }
}

}  // namespace

L4Session::L4Session(WorkerContext& worker, std::unique_ptr<net::Stream> stream, ClientInfo client,
                     std::shared_ptr<upstream::LiveListener> listener)
    : Session(worker, std::move(listener)),
      stream_(std::move(stream)),
      client_(std::move(client)),
      in_(worker.buffers),
      upstream_(worker.buffers),
      watchdog_(worker.clock, this, &L4Session::expired) {}

L4Session::~L4Session() = default;

Task<> L4Session::run() {
  started_ = worker_.clock.now();
  record_.id = new_id(worker_.rng, id_storage_);
  record_.started = worker_.clock.wall();
  source_ = route::ip_bytes(client_.peer_ip);
  in_.reserve(kFirstCapacity);
  Fault fault = co_await hear_hello();
  if (fault == Fault::none) fault = route();
  if (fault == Fault::none) fault = co_await forward();
  co_await close(fault);
  finish_record(fault);
}

/// Of TLS that is passed through: who is asked for. The bytes stay.
Task<Fault> L4Session::hear_hello() {
  const upstream::SnapshotListener* listener = find_listener(*pinned()->snapshot);
  if (listener == nullptr) co_return Fault::no_route;
  passthrough_ = listener->settings.protocol == config::ListenerProtocol::tls;
  if (client_.tls != nullptr) server_name_ = client_.tls->server_name;
  if (!passthrough_) co_return Fault::none;
  watchdog_.set(worker_.clock.now() + listener->settings.timeouts.request_head);
  net::ClientHelloReader hello;
  while (hello.state() == net::ClientHelloReader::State::reading) {
    if (in_.space().empty()) in_.reserve(std::min(4 * in_.capacity(), kCapacityMax));
    const std::span<char> room = in_.space();
    const net::IoResult got = co_await stream_->read(room);
    if (why_ != Fault::none) co_return why_;
    if (!got.ok()) co_return Fault::client_gone;
    hello.step({reinterpret_cast<const std::uint8_t*>(room.data()), got.bytes});
    in_.commit(got.bytes);
  }
  watchdog_.cancel();
  if (hello.state() == net::ClientHelloReader::State::bad) co_return Fault::client_protocol;
  server_name_ = hello.server_name();
  co_return Fault::none;
}

/// By the snapshot of now, which is held until it is connected.
Fault L4Session::route() {
  held_ = pinned();
  listener_ = find_listener(*held_->snapshot);
  if (listener_ == nullptr) return Fault::no_route;
  const config::ListenerTimeouts& timeouts = listener_->settings.timeouts;
  idle_ = timeouts.tunnel_idle;
  if (timeouts.tunnel_total.count() > 0) {
    total_due_ = started_ + timeouts.tunnel_total;
  }
  record_.generation = held_->snapshot->generation;
  route::Request question{.server_name = server_name_, .source = source_};
  if (listener_->table.uses_draw()) question.draw = worker_.rng.next();
  const std::size_t rule = listener_->table.find(question);
  if (rule != route::Table::kNone) {
    route_ = &listener_->routes[rule];
    record_.rule_number = static_cast<std::int32_t>(rule) + 1;
  } else if (listener_->otherwise) {
    route_ = &*listener_->otherwise;
    record_.rule_number = 0;
  }
  live_route_ = route_ != nullptr ? route_->live : listener_->no_route;
  live_route_->loads[worker_.index].connections.add(1);
  Fault refused = admit(listener_->gate);
  if (refused == Fault::none && route_ != nullptr) refused = admit(route_->gate);
  if (refused != Fault::none) return refused;
  // Anything but a forward: a reload has just made the listener one of HTTP.
  const bool forwards =
      route_ != nullptr && std::holds_alternative<config::Forward>(route_->action);
  return forwards ? Fault::none : Fault::no_route;
}

Fault L4Session::admit(const upstream::SnapshotGate& gate) {
  using Entry = upstream::FlightTable::Entry;
  if (gate.open()) return Fault::none;
  if (!gate.access.admits(source_)) return Fault::access_denied;
  const auto key_by = [this](config::RateKey by) {
    const bool alike = by == config::RateKey::all || !source_;
    return alike ? std::string_view() : route::client_key(*source_);
  };
  for (const upstream::SnapshotFlights& each : gate.flights) {
    upstream::FlightLease lease;
    const Entry entry = each.live->enter(key_by(each.by), each.most, lease);
    if (entry == Entry::refused) return Fault::in_flight_limited;
    if (entry == Entry::counted) flights_.push_back({each.live, std::move(lease)});
    if (entry == Entry::uncounted) live_->loads[worker_.index].flights_uncounted.add(1);
  }
  for (const upstream::SnapshotRate& each : gate.rates) {
    const Duration wait = each.live->take(key_by(each.by), each.rate, started_);
    if (wait > Duration::zero()) return Fault::rate_limited;
  }
  return Fault::none;
}

Task<Fault> L4Session::forward() {
  const std::size_t group = route_->shares.empty()
                                ? route_->group
                                : route_->shares[route_->draw_share(worker_.rng)].group;
  group_ = held_->snapshot->groups[group].get();
  turns_ = held_->turns[group].get();
  live_group_ = group_->live;
  record_.action = RequestRecord::Action::forward;
  upstream::GroupLoad& load = live_group_->loads[worker_.index];
  load.requests.add(1);
  if (group_->fail_open) load.fail_open.add(1);
  const Lease in_flight(load.in_flight);
  config::Retries retries = group_->settings.retries;
  retries.attempts = route_->attempts.value_or(retries.attempts);
  for (Tried tried;;) {
    const Choice choice = pick_target(worker_, *group_, *turns_, tried);
    if (choice.target == nullptr) co_return choice.why_not;
    if (choice.cross_zone) load.cross_zone.add(1);
    const Error error = co_await attempt(choice);
    if (connected_ || why_ != Fault::none) co_return why_;
    const RetryQuestion question{.error = error, .attempts_made = record_.attempt_count};
    if (may_retry(question, retries) != RetryAnswer::yes) co_return error.fault;
    tried.add(choice.target->live.get(), choice.target->zone);
    take_newest_group();
    load.retries.add(1);
  }
}

/// What failed here may be known by now. The targets that were tried are held by `targets_`.
void L4Session::take_newest_group() {
  const auto& groups = worker_.pinned->snapshot->groups;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (groups[i]->live != live_group_) continue;
    held_ = worker_.pinned;
    group_ = groups[i].get();
    turns_ = held_->turns[i].get();
    return;
  }
}

/// One target. Once it is connected the connection is its own, to the end.
Task<Error> L4Session::attempt(const Choice& choice) {
  upstream::LiveTarget& live = *targets_.emplace_back(choice.target->live);
  upstream::TargetLoad& load = live.load(worker_.index);
  const Lease in_flight(load.in_flight);
  ++record_.attempt_count;
  this_attempt() = {};
  this_attempt().target = live.address();
  record_.zone = this_attempt().zone = live.zone();
  const Result<void> connected = co_await connect(choice);
  Error error = connected ? Error{} : connected.error();
  if (connected) {
    held_.reset();  // and with it `choice`, and what is a pointer into it
    const Fault fault = co_await tunnel();
    if (fault != Fault::none) upstream_.reset();
    co_await upstream_.finish(false);
  } else if (error.side == Side::upstream) {
    live_group_->loads[worker_.index].trouble.add(1);
    load.connect_failures.add(1);
    this_attempt().fault = error.fault;
  }
  load.requests.add(1);
  co_return error;
}

Task<Result<void>> L4Session::connect(const Choice& choice) {
  const config::TargetGroup& settings = group_->settings;
  const auto version = static_cast<net::ProxyVersion>(settings.proxy_protocol);
  const net::ProxyHeader greeting = version == net::ProxyVersion::off
                                        ? net::ProxyHeader()
                                        : net::ProxyHeader(version, client_.peer, client_.local);
  const TimePoint began = worker_.clock.now();
  const UpstreamTo to{worker_, *choice.target, *group_, greeting.view(),
                      began + settings.timeouts.connect};
  phase_ = Phase::dialling;
  const Result<bool, net::DialFailure> dialled = co_await upstream_.dial(to);
  if (why_ != Fault::none) {
    phase_ = Phase::closing;
    if (dialled) co_await upstream_.finish(false);
    co_return Error{why_, Side::self, false};
  }
  if (!dialled) {
    const bool ours = dialled.error().fault == Fault::overload_shed;
    co_return Error{dialled.error().fault, ours ? Side::self : Side::upstream, true};
  }
  connected_ = true;
  const Duration took = worker_.clock.now() - began;
  choice.target->live->load(worker_.index).note_connect(micros(took));
  this_attempt().connect_us = std::max(short_micros(took), 1U);
  record_.ttfb_us = micros(worker_.clock.now() - started_);
  co_return Result<void>();
}

/// Counted over all attempts; see RequestRecord.
AttemptRecord& L4Session::this_attempt() noexcept {
  const std::uint32_t most = RequestRecord::kAttemptsMax;
  return record_.attempts[std::min(record_.attempt_count, most) - 1];
}

/// `none` when both sides have ended.
Task<Fault> L4Session::tunnel() {
  phase_ = Phase::open;
  upstream_.begin_tunnel();
  if (total_due_ != TimePoint::max()) watchdog_.set(total_due_);
  note_use();
  const Flow down{upstream_, *this, &L4Session::moved_down, this, &over_};
  upload_.spawn(pump_up());
  const Error error = co_await pump(down);
  if (error.fault != Fault::none) end(error.fault);
  co_await upload_.join();
  watchdog_.cancel();
  phase_ = Phase::closing;
  co_return why_;
}

Task<> L4Session::pump_up() {
  const Flow up{*this, upstream_, &L4Session::moved_up, this, &over_};
  const Error error = co_await pump(up);
  if (error.fault != Fault::none) end(error.fault);
}

void L4Session::moved_up(void* self, std::size_t bytes) {
  auto* session = static_cast<L4Session*>(self);
  session->record_.request_bytes += bytes;
  session->live_route_->loads[session->worker_.index].request_bytes.add(bytes);
  session->note_use();
}

void L4Session::moved_down(void* self, std::size_t bytes) {
  auto* session = static_cast<L4Session*>(self);
  session->record_.response_bytes += bytes;
  session->live_route_->loads[session->worker_.index].response_bytes.add(bytes);
  session->note_use();
}

/// Each piece, either way, moves the idle deadline; the total one stays.
void L4Session::note_use() noexcept {
  if (idle_.count() > 0) watchdog_.set(std::min(total_due_, worker_.clock.now() + idle_));
}

/// Ends the wait under way, whatever it is for; the first to say why is right. The session may be
/// over on return.
void L4Session::end(Fault why) noexcept {
  if (why_ == Fault::none) why_ = why;
  over_ = true;
  if (phase_ == Phase::dialling) return upstream_.abort();
  if (phase_ == Phase::open) upstream_.abort();
  stream_->cancel();
}

void L4Session::expired(void* self) {
  auto* session = static_cast<L4Session*>(self);
  if (session->phase_ == Phase::closing) return session->stream_->cancel();
  session->end(session->phase_ == Phase::hello ? Fault::client_timeout : Fault::tunnel_timeout);
}

void L4Session::kill() noexcept {
  killed_ = true;
  if (phase_ == Phase::closing) return stream_->close(true);
  end(Fault::drain_deadline);
}

void L4Session::begin_drain() noexcept {
  if (phase_ != Phase::hello) return;
  const TimePoint due = worker_.clock.now() + std::max<Duration>(kLastLook, worker_.drain_grace);
  if (!watchdog_.is_set() || due < watchdog_.due()) watchdog_.set(due);
}

Task<Result<BodyPiece>> L4Session::read_body() {
  in_.consume(std::exchange(given_, 0));
  if (in_.empty()) {
    in_.clear();
    if (filled_ && in_.capacity() < kCapacityMax) {
      in_.reserve(std::min(4 * in_.capacity(), kCapacityMax));
    }
    const std::span<char> room = in_.space();
    const net::IoResult got = co_await stream_->read(room);
    if (got.fault == Fault::closed) co_return BodyPiece{{}, true};
    if (!got.ok()) co_return Error{Fault::client_gone, Side::client, false};
    in_.commit(got.bytes);
    filled_ = got.bytes == room.size();
  }
  given_ = in_.size();
  co_return BodyPiece{in_.view(), false};
}

Task<Result<void>> L4Session::send_body(BodyPiece piece) {
  if (!piece.bytes.empty()) {
    const iovec bytes{const_cast<char*>(piece.bytes.data()), piece.bytes.size()};
    const net::IoResult sent = co_await stream_->write({&bytes, 1});
    if (!sent.ok()) co_return Error{Fault::client_gone, Side::client, false};
  }
  if (piece.last) stream_->shutdown_write();
  co_return Result<void>();
}

/// A failure must not look like the end of what was sent: the peer sees a reset.
Task<> L4Session::close(Fault fault) {
  phase_ = Phase::closing;
  held_.reset();
  const bool told = passthrough_ && !connected_ && !killed_ && alert_of(fault) != 0;
  if (told) co_await say_why(fault);
  stream_->close(fault != Fault::none && !told);
}

/// A fatal alert; what the client still sends is dropped, lest it be a reset that it sees.
Task<> L4Session::say_why(Fault fault) {
  const std::array<char, 7> alert{21, 3, 1, 0, 2, 2, static_cast<char>(alert_of(fault))};
  const iovec bytes{const_cast<char*>(alert.data()), alert.size()};
  watchdog_.set(worker_.clock.now() + kLinger);
  const net::IoResult sent = co_await stream_->write({&bytes, 1});
  if (!sent.ok()) co_return;
  stream_->shutdown_write();
  for (std::size_t dropped = 0; !killed_ && dropped < kLingerBytesMax;) {
    in_.clear();
    const net::IoResult got = co_await stream_->read(in_.space());
    if (!got.ok()) break;
    dropped += got.bytes;
  }
  watchdog_.cancel();
}

void L4Session::finish_record(Fault fault) {
  record_.duration_us = micros(worker_.clock.now() - started_);
  record_.reason = fault;
  record_.cut = fault != Fault::none;
  if (fault != Fault::none) {
    const auto reason = static_cast<std::size_t>(fault);
    if (live_group_ != nullptr) {
      live_group_->loads[worker_.index].failures[reason].add(1);
    } else {
      live_->loads[worker_.index].failures[reason].add(1);
    }
  }
  flights_.clear();
  record_.tunnel = true;
  const bool notable = is_notable(record_, worker_.slow_us);
  if (worker_.records == nullptr && !notable) return;
  record_.layer4 = passthrough_ ? "tls" : "tcp";
  record_.client_ip = client_.peer_ip;
  record_.client_port = client_.peer.port();
  record_.local_port = client_.local.port();
  record_.listener = live_->name;
  record_.rule = live_route_ != nullptr ? std::string_view(live_route_->rule) : "none";
  if (live_group_ != nullptr) record_.group = live_group_->name;
  record_.server_name = server_name_;
  if (client_.tls != nullptr) {
    record_.tls_version = client_.tls->version;
    record_.tls_cipher = client_.tls->cipher;
  }
  worker_.write(record_, notable);
}

}  // namespace lbd::proxy
