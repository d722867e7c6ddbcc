#include "lbd/proxy/mirror.h"

#include <algorithm>

#include "lbd/net/next_turn.h"
#include "lbd/net/proxy_protocol.h"
#include "lbd/proxy/lease.h"

namespace lbd::proxy {
namespace {

constexpr std::string_view kMark = "X-Lbd-Mirror";
constexpr int kInterimMax = 64;

upstream::GroupLoad& load_of(WorkerContext& worker, upstream::LiveGroup& group) noexcept {
  return group.loads[worker.index];
}

MirrorCopy::Outcome outcome_of(Fault fault) noexcept {
  using Outcome = MirrorCopy::Outcome;
  switch (fault) {
    case Fault::connect_failed:
    case Fault::tls_failed:
      return Outcome::connect_failed;
    case Fault::connect_timeout:
    case Fault::target_timeout:
      return Outcome::timed_out;
    case Fault::overload_shed:
      return Outcome::overload;
    default:
      return Outcome::failed;
  }
}

}  // namespace

std::unique_ptr<MirrorCopy> MirrorCopy::make(WorkerContext& worker, const Of& of) {
  const auto refuse = [&](Outcome outcome) {
    load_of(worker, *of.group.live).mirrored[static_cast<std::size_t>(outcome)].add(1);
    return nullptr;
  };
  if (of.head.framing.length > of.mirror.body_bytes_max) return refuse(Outcome::body_too_large);
  if (worker.mirrors.copies >= kCopiesMax) return refuse(Outcome::overload);
  std::unique_ptr<MirrorCopy> copy(new MirrorCopy(worker, of));
  if (copy->take_bytes(copy->text_.size())) return copy;
  copy->count(Outcome::overload);
  return nullptr;
}

MirrorCopy::MirrorCopy(WorkerContext& worker, const Of& of)
    : worker_(worker),
      group_(of.group.live),
      timeout_(of.mirror.timeout),
      body_bytes_max_(of.mirror.body_bytes_max),
      peer_(of.client.peer),
      local_(of.client.local) {
  ++worker_.mirrors.copies;
  copy_head(of);
}

MirrorCopy::~MirrorCopy() {
  if (!counted_) count(Outcome::body_cut);
  unlink();
  --worker_.mirrors.copies;
  worker_.mirrors.bytes -= bytes_;
}

void MirrorCopy::copy_head(const Of& of) {
  const http::RequestHead& from = of.head;
  std::size_t room = from.method_text.size() + from.target.size() + from.path.size() +
                     from.query.size() + from.authority.size();
  for (const http::Header& each : of.headers) room += each.name.size() + each.value.size();
  text_.reserve(room);  // so that no view moves
  const auto keep = [this](std::string_view text) {
    const std::size_t start = text_.size();
    text_ += text;
    return std::string_view(text_).substr(start);
  };
  head_.method = from.method;
  head_.version = from.version;
  head_.method_text = keep(from.method_text);
  head_.target = keep(from.target);
  head_.path = keep(from.path);
  head_.query = keep(from.query);
  head_.authority = keep(from.authority);
  head_.framing = from.framing;
  head_.alone = from.alone;
  headers_.reserve(of.headers.size() + 1);
  for (const http::Header& each : of.headers) {
    if (each.id == http::HeaderId::trailer || each.id == http::HeaderId::mirror) continue;
    headers_.push_back({keep(each.name), keep(each.value), each.id});
  }
  headers_.push_back({kMark, "1", http::HeaderId::mirror});
}

bool MirrorCopy::take_bytes(std::size_t size) noexcept {
  if (worker_.mirrors.bytes + size > kBytesMax) return false;
  worker_.mirrors.bytes += size;
  bytes_ += size;
  return true;
}

bool MirrorCopy::add(std::string_view bytes) {
  if (bytes.empty()) return true;
  if (body_.size() + bytes.size() > body_bytes_max_) {
    count(Outcome::body_too_large);
    return false;
  }
  if (!take_bytes(bytes.size())) {
    count(Outcome::overload);
    return false;
  }
  body_ += bytes;
  return true;
}

void MirrorCopy::count(Outcome outcome) noexcept {
  counted_ = true;
  load_of(worker_, *group_).mirrored[static_cast<std::size_t>(outcome)].add(1);
}

void MirrorCopy::link() noexcept {
  linked_ = true;
  next_ = worker_.mirrors.sent;
  if (next_ != nullptr) next_->previous_ = this;
  worker_.mirrors.sent = this;
}

void MirrorCopy::unlink() noexcept {
  if (!std::exchange(linked_, false)) return;
  if (next_ != nullptr) next_->previous_ = previous_;
  (previous_ != nullptr ? previous_->next_ : worker_.mirrors.sent) = next_;
  next_ = previous_ = nullptr;
}

void MirrorCopy::abort_all(WorkerContext& worker) noexcept {
  while (MirrorCopy* copy = worker.mirrors.sent) {
    copy->unlink();
    copy->aborted_ = true;
    if (copy->current_ != nullptr) copy->current_->abort();  // the copy may be gone now
  }
}

void MirrorCopy::send(std::unique_ptr<MirrorCopy> copy) {
  if (copy->head_.framing.kind != http::Framing::Kind::none) {
    copy->head_.framing = {http::Framing::Kind::length, copy->body_.size()};
  }
  copy->link();
  TaskGroup& tasks = copy->worker_.tasks;
  tasks.spawn(run(std::move(copy)));
}

Task<> MirrorCopy::run(std::unique_ptr<MirrorCopy> copy) {
  net::NextTurn turn(copy->worker_.loop);
  co_await turn.wait();
  const Outcome outcome = co_await copy->deliver();
  copy->count(outcome);
}

/// By the newest snapshot: no copy goes to a target that drains since.
Task<MirrorCopy::Outcome> MirrorCopy::deliver() {
  due_ = worker_.clock.now() + timeout_;
  const boost::local_shared_ptr<Pinned> pinned = worker_.pinned;
  const auto& groups = pinned->snapshot->groups;
  const auto found = std::find_if(groups.begin(), groups.end(),
                                  [this](const auto& each) { return each->live == group_; });
  if (found == groups.end()) co_return Outcome::no_target;
  GroupTurns& turns = *pinned->turns[static_cast<std::size_t>(found - groups.begin())];
  const Choice choice = pick_target(worker_, **found, turns, Tried{});
  if (choice.target == nullptr) co_return Outcome::no_target;
  co_return co_await deliver_to(**found, choice);
}

/// Nothing of it is told to what looks for bad targets or counts retries; but a target that drains
/// is not done before it.
Task<MirrorCopy::Outcome> MirrorCopy::deliver_to(const upstream::SnapshotGroup& group,
                                                 const Choice& choice) {
  const Lease in_flight(choice.target->live->load(worker_.index).in_flight);
  net::ProxyHeader greeting;
  if (group.settings.proxy_protocol != config::ProxyVersion::off) {
    greeting = {static_cast<net::ProxyVersion>(group.settings.proxy_protocol), peer_, local_};
  }
  const TimePoint connected_by =
      std::min<TimePoint>(due_, worker_.clock.now() + group.settings.timeouts.connect);
  const UpstreamTo to{worker_, *choice.target, group, greeting.view(), connected_by};
  const config::HttpVersion version = group.settings.http_version;
  std::unique_ptr<UpstreamSide> upstream = worker_.take_upstream(version);
  Outcome outcome = Outcome::failed;
  for (bool fresh = false; !aborted_; fresh = true) {
    if (fresh || !upstream->take_kept(to)) {
      current_ = upstream.get();
      const Result<bool, net::DialFailure> dialled = co_await upstream->dial(to);
      current_ = nullptr;
      if (!dialled) {
        outcome = outcome_of(dialled.error().fault);
        break;
      }
    }
    current_ = upstream.get();
    upstream->set_deadline(due_);
    Result<bool> answered = Error{Fault::cancelled, Side::self, false};
    if (!aborted_) answered = co_await converse(*upstream);
    current_ = nullptr;
    const bool again = !answered && !fresh && is_stale(answered.error(), *upstream);
    outcome = answered ? Outcome::answered : outcome_of(answered.error().fault);
    co_await upstream->finish(answered && *answered);
    if (!again) break;
  }
  worker_.give_back(std::move(upstream), version);
  co_return outcome;
}

/// A kept connection was closed under it.
bool MirrorCopy::is_stale(const Error& error, const UpstreamSide& upstream) const noexcept {
  return error.fault == Fault::target_reset && upstream.reused() && !upstream.answered() &&
         (error.retry_safe || http::is_idempotent(head_.method));
}

/// True: the answer is whole.
Task<Result<bool>> MirrorCopy::converse(UpstreamSide& upstream) {
  const BodyPiece body{body_, true};
  const Result<void> sent = co_await upstream.send_head(head_, headers_, body);
  http::ResponseHead answer;
  Result<void> received = co_await upstream.read_head(answer);
  for (int interim = 0; received && answer.status < 200; ++interim) {
    if (interim == kInterimMax) co_return Error{Fault::bad_response, Side::upstream, false};
    received = co_await upstream.read_head(answer);
  }
  if (!received) co_return sent ? received.error() : sent.error();
  co_return co_await drop_answer(upstream);
}

Task<Result<bool>> MirrorCopy::drop_answer(UpstreamSide& upstream) {
  Result<BodyPiece> piece = upstream.buffered_body();
  for (std::uint64_t bytes = 0; piece && !piece->last;) {
    bytes += piece->bytes.size();
    if (bytes > kAnswerBytesMax) co_return false;
    piece = co_await upstream.read_body();
  }
  if (!piece) co_return piece.error();
  co_return true;
}

}  // namespace lbd::proxy
