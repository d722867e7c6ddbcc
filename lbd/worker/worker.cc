#include "lbd/worker/worker.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <list>
#include <thread>

#include "lbd/base/check.h"
#include "lbd/net/acceptor.h"
#include "lbd/net/loop.h"
#include "lbd/net/proxy_accept.h"
#include "lbd/net/tcp_stream.h"
#include "lbd/net/tls.h"
#include "lbd/proxy/believed.h"
#include "lbd/proxy/exchange.h"
#include "lbd/proxy/h1_session.h"
#include "lbd/proxy/h2_session.h"
#include "lbd/proxy/l4_session.h"
#include "lbd/proxy/preface.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::worker {
namespace {

using proxy::GroupTurns;
using proxy::Pinned;
using proxy::Session;

constexpr std::chrono::milliseconds kHeartbeat{500};
/// How often requests at a target that is down are asked whether they can go elsewhere now.
constexpr std::chrono::milliseconds kRescue{50};

}  // namespace

Descriptor::~Descriptor() { ::close(fd_); }

struct Worker::Inside {
  explicit Inside(Worker& worker)
      : owner(worker),
        context(worker.settings_.index, loop, worker.settings_.seed),
        heartbeat(loop.clock(), this, &Inside::beat),
        rescue_again(loop.clock(), this, &Inside::rescue),
        openings_end(loop.clock(), this, &Inside::end_openings) {
    context.records = worker.settings_.records;
    context.notable = &recent;
    context.slow_us =
        static_cast<std::uint64_t>(std::chrono::microseconds(worker.settings_.slow).count());
  }

  struct Open {
    ListenSocket socket;  // its listener changes when a reload gives the address to another
    std::unique_ptr<net::Acceptor> acceptor;
  };

  void adopt(std::shared_ptr<const upstream::Snapshot> snapshot, std::vector<ListenSocket> sockets);
  void repin(std::shared_ptr<const upstream::Snapshot> snapshot);
  void purge_idle();
  void listen(std::vector<ListenSocket> sockets, const boost::local_shared_ptr<Pinned>& before);
  void accepted(int fd, const std::shared_ptr<upstream::LiveListener>& listener);
  void link(Session& session) noexcept;
  void unlink(Session& session) noexcept;
  static Task<> serve(Inside& inside, std::unique_ptr<Session> session,
                      std::shared_ptr<upstream::LiveListener> listener);
  /// Where a connection came in. A reload may take its listener away before it has a session: then
  /// it goes by the snapshot it was accepted under.
  struct Entrance {
    std::shared_ptr<upstream::LiveListener> listener;
    boost::local_shared_ptr<Pinned> pinned;
  };
  [[nodiscard]] static const upstream::SnapshotListener* find(
      const upstream::LiveListener& listener, const Pinned& pinned) noexcept;
  [[nodiscard]] const upstream::SnapshotListener& settings_of(const Entrance& at) const;
  void open(int fd, proxy::ClientInfo client, const Entrance& at);
  static Task<> hear_proxy(Inside& inside, std::unique_ptr<net::ProxyAccept> proxy,
                           std::pair<proxy::ClientInfo, TimePoint> client, Entrance at);
  void start_session(std::unique_ptr<net::Stream> stream, proxy::ClientInfo client,
                     const Entrance& at);
  static Task<> shake_hands(Inside& inside, std::unique_ptr<net::TlsHandshake> handshake,
                            std::pair<proxy::ClientInfo, TimePoint> client, Entrance at);
  void link(net::Opening& opening) noexcept;
  void unlink(net::Opening& opening) noexcept;
  void drain(Duration idle_grace);
  void kill_all();
  void check_drained();
  static void beat(void* self);
  static void rescue(void* self);
  static void end_openings(void* self);
  static Task<> end(Inside& inside);

  Worker& owner;
  Recent recent;
  net::Loop loop;
  proxy::WorkerContext context;
  std::list<Open> acceptors;
  net::Opening* openings = nullptr;  // under way: PROXY headers, handshakes
  std::uint32_t opening_count = 0;
  Timer heartbeat;
  Timer rescue_again;
  Timer openings_end;  // while draining: who has said nothing by then has nothing to say
  TaskGroup ending;
  std::thread thread;
  bool stopping = false;
};

Worker::Worker(WorkerSettings settings)
    : settings_(settings), inside_(std::make_unique<Inside>(*this)) {}

Worker::~Worker() { stop(); }

void Worker::start() {
  inside_->thread = std::thread([this] { run(); });
}

void Worker::run() {
  ::pthread_setname_np(::pthread_self(), ("lbd-worker-" + std::to_string(settings_.index)).c_str());
  Inside::beat(inside_.get());
  inside_->loop.run();
}

void Worker::adopt(std::shared_ptr<const upstream::Snapshot> snapshot,
                   std::vector<ListenSocket> sockets) {
  inside_->loop.post(
      [this, snapshot = std::move(snapshot), sockets = std::move(sockets)]() mutable {
        inside_->adopt(std::move(snapshot), std::move(sockets));
      });
}

void Worker::drain(Duration idle_grace) {
  inside_->loop.post([this, idle_grace] { inside_->drain(idle_grace); });
}

void Worker::recall(std::string id, std::size_t most, Tell tell) {
  inside_->loop.post([this, id = std::move(id), most, tell = std::move(tell)] {
    tell(inside_->recent.find(id, most));
  });
}

void Worker::stop() {
  if (!inside_->thread.joinable()) return;
  inside_->loop.post([this] {
    inside_->kill_all();
    inside_->stopping = true;
    inside_->check_drained();
  });
  inside_->thread.join();
}

void Worker::Inside::beat(void* self) {
  auto* inside = static_cast<Inside*>(self);
  inside->owner.heartbeat_.add(1);
  inside->heartbeat.set(inside->loop.clock().now() + kHeartbeat);
}

void Worker::Inside::adopt(std::shared_ptr<const upstream::Snapshot> snapshot,
                           std::vector<ListenSocket> sockets) {
  const std::uint64_t serial = snapshot->serial;
  const boost::local_shared_ptr<Pinned> before = context.pinned;
  repin(std::move(snapshot));
  purge_idle();
  rescue(this);
  listen(std::move(sockets), before);
  {
    const std::lock_guard lock(owner.adopting_);
    owner.adopted_.store(serial, std::memory_order_release);
  }
  owner.adoption_.notify_all();
}

bool Worker::await_adoption(std::uint64_t serial, TimePoint until) {
  std::unique_lock lock(adopting_);
  return adoption_.wait_until(lock, until, [&] { return adopted() >= serial; });
}

void Worker::Inside::repin(std::shared_ptr<const upstream::Snapshot> snapshot) {
  auto pinned = boost::make_local_shared<Pinned>();
  for (const auto& group : snapshot->groups) {
    boost::local_shared_ptr<GroupTurns>& turns = context.turns[group->live.get()];
    if (!turns) turns = boost::make_local_shared<GroupTurns>();
    pinned->turns.push_back(turns);
  }
  pinned->snapshot = std::move(snapshot);
  // Groups that are gone: their turns live on in the snapshots that still use them.
  std::erase_if(context.turns, [&](const auto& entry) {
    return std::none_of(pinned->snapshot->groups.begin(), pinned->snapshot->groups.end(),
                        [&](const auto& group) { return group->live.get() == entry.first; });
  });
  context.pinned = std::move(pinned);
}

/// Targets that are down: what waits for them and may go elsewhere, does.
void Worker::Inside::rescue(void* self) {
  auto& inside = *static_cast<Inside*>(self);
  proxy::WorkerContext& context = inside.context;
  const TimePoint now = context.clock.now();
  bool again = false;
  for (const auto& group : context.pinned->snapshot->groups) {
    if (group->fail_open || group->live->loads[context.index].in_flight.get() == 0) continue;
    for (const upstream::SnapshotTarget& target : group->targets) {
      const bool down = target.state == upstream::TargetState::unhealthy ||
                        target.state == upstream::TargetState::ejected;
      if (!down) continue;
      upstream::Waiting* waiting = target.live->load(context.index).waiting;
      for (; waiting != nullptr; waiting = waiting->next()) {
        again |= static_cast<proxy::Exchange*>(waiting->request())->leave_target(now);
      }
    }
  }
  if (again) inside.rescue_again.set(now + kRescue);
}

void Worker::Inside::purge_idle() {
  if (context.idle.size() == 0 && context.http2.empty()) return;
  std::vector<const upstream::LiveTarget*> kept;
  for (const auto& group : context.pinned->snapshot->groups) {
    for (const upstream::SnapshotTarget& target : group->targets) kept.push_back(target.live.get());
  }
  std::sort(kept.begin(), kept.end());
  context.idle.purge(kept);
  context.http2.purge(kept);
}

void Worker::Inside::listen(std::vector<ListenSocket> sockets,
                            const boost::local_shared_ptr<Pinned>& before) {
  const auto wanted = [&](const Open& open) {
    return std::any_of(sockets.begin(), sockets.end(), [&](const ListenSocket& socket) {
      return socket.descriptor == open.socket.descriptor;
    });
  };
  for (Open& open : acceptors) {
    if (!wanted(open)) open.acceptor->close();
  }
  std::erase_if(acceptors, [&](const Open& open) { return !wanted(open); });
  for (Session* session = context.sessions; session != nullptr;) {
    Session* next = session->next;
    const bool stays = std::any_of(sockets.begin(), sockets.end(), [&](const ListenSocket& socket) {
      return socket.listener.get() == session->listener();
    });
    if (!stays) session->drain(before);
    session = next;
  }
  for (ListenSocket& socket : sockets) {
    const auto known = std::find_if(acceptors.begin(), acceptors.end(), [&](const Open& each) {
      return each.socket.descriptor == socket.descriptor;
    });
    if (known != acceptors.end()) {
      known->socket = std::move(socket);
    } else if (!context.draining) {
      Open& open = acceptors.emplace_back(Open{std::move(socket), nullptr});
      open.acceptor = std::make_unique<net::Acceptor>(
          loop, open.socket.descriptor->fd(),
          [this, &open](int client) { accepted(client, open.socket.listener); });
    }
  }
}

const upstream::SnapshotListener* Worker::Inside::find(const upstream::LiveListener& listener,
                                                       const Pinned& pinned) noexcept {
  for (const auto& each : pinned.snapshot->listeners) {
    if (each->live.get() == &listener) return each.get();
  }
  return nullptr;
}

const upstream::SnapshotListener& Worker::Inside::settings_of(const Entrance& at) const {
  const upstream::SnapshotListener* settings = find(*at.listener, *context.pinned);
  if (settings == nullptr) settings = find(*at.listener, *at.pinned);
  LBD_CHECK(settings != nullptr);  // `accepted` has found it
  return *settings;
}

void Worker::Inside::accepted(int fd, const std::shared_ptr<upstream::LiveListener>& listener) {
  upstream::ListenerLoad& load = listener->loads[context.index];
  load.accepted.add(1);
  const upstream::SnapshotListener* settings = find(*listener, *context.pinned);
  const bool full = context.session_count + opening_count >= owner.settings_.connections_max;
  if (full) load.shed.add(1);
  if (full || settings == nullptr) {
    ::close(fd);
    return;
  }
  const Entrance at{listener, context.pinned};
  proxy::ClientInfo client;
  client.peer = net::SocketAddress::peer_of(fd);
  client.local = net::SocketAddress::local_of(fd);
  if (!settings->settings.proxy_protocol.enabled) {
    open(fd, std::move(client), at);
  } else if (!proxy::is_trusted(client.peer, settings->proxies)) {
    load.proxy_refused[static_cast<std::size_t>(net::ProxyFault::untrusted)].add(1);
    ::close(fd);
  } else {
    const TimePoint due = loop.clock().now() + settings->settings.timeouts.request_head;
    context.tasks.spawn(hear_proxy(*this, std::make_unique<net::ProxyAccept>(loop, fd),
                                   {std::move(client), due}, at));
  }
}

Task<> Worker::Inside::hear_proxy(Inside& inside, std::unique_ptr<net::ProxyAccept> proxy,
                                  std::pair<proxy::ClientInfo, TimePoint> client, Entrance at) {
  inside.link(*proxy);
  const auto heard = co_await proxy->run(client.second);
  inside.unlink(*proxy);
  if (!heard) {
    upstream::ListenerLoad& load = at.listener->loads[inside.context.index];
    load.proxy_refused[static_cast<std::size_t>(heard.error())].add(1);
  } else {
    if (const std::optional<net::ProxyEndpoints>& stated = *heard) {
      client.first.peer = stated->source;
      client.first.local = stated->destination;
    }
    inside.open(proxy->release(), std::move(client.first), at);
  }
  proxy.reset();
  inside.check_drained();
}

/// What follows is the client's: TLS, or a session.
void Worker::Inside::open(int fd, proxy::ClientInfo client, const Entrance& at) {
  const upstream::SnapshotListener& settings = settings_of(at);
  client.peer_ip = client.peer.ip();
  if (!settings.tls) {
    start_session(net::adopt_tcp(loop, fd), std::move(client), at);
    return;
  }
  client.scheme = "https";
  const TimePoint due = loop.clock().now() + settings.settings.tls->handshake_timeout;
  context.tasks.spawn(
      shake_hands(*this, net::accept_tls(loop, fd, settings.tls), {std::move(client), due}, at));
}

void Worker::Inside::start_session(std::unique_ptr<net::Stream> stream, proxy::ClientInfo client,
                                   const Entrance& at) {
  const std::shared_ptr<upstream::LiveListener>& listener = at.listener;
  const config::Listener& settings = settings_of(at).settings;
  const bool ask = !client.tls && settings.http2.cleartext;
  std::unique_ptr<Session> session;
  if (config::is_layer4(settings)) {
    session =
        std::make_unique<proxy::L4Session>(context, std::move(stream), std::move(client), listener);
  } else if (client.tls && client.tls->alpn == "h2") {
    session =
        std::make_unique<proxy::H2Session>(context, std::move(stream), std::move(client), listener);
  } else if (ask) {
    session = std::make_unique<proxy::PrefaceSession>(context, std::move(stream), std::move(client),
                                                      listener);
  } else {
    session =
        std::make_unique<proxy::H1Session>(context, std::move(stream), std::move(client), listener);
  }
  if (find(*listener, *context.pinned) == nullptr) session->drain(at.pinned);
  context.tasks.spawn(serve(*this, std::move(session), listener));
}

Task<> Worker::Inside::shake_hands(Inside& inside, std::unique_ptr<net::TlsHandshake> handshake,
                                   std::pair<proxy::ClientInfo, TimePoint> client, Entrance at) {
  inside.link(*handshake);
  auto accepted = co_await handshake->run(client.second);
  inside.unlink(*handshake);
  handshake.reset();
  upstream::HandshakeCounts& counts = at.listener->loads[inside.context.index].handshakes;
  if (!accepted) {
    counts.failed[static_cast<std::size_t>(accepted.error().fault)].add(1);
  } else {
    counts.made[static_cast<std::size_t>(accepted->info.kind)].add(1);
    client.first.tls = std::make_shared<const net::TlsInfo>(std::move(accepted->info));
    inside.start_session(std::move(accepted->stream), std::move(client.first), at);
  }
  inside.check_drained();
}

Task<> Worker::Inside::serve(Inside& inside, std::unique_ptr<Session> session,
                             std::shared_ptr<upstream::LiveListener> listener) {
  upstream::ListenerLoad& load = listener->loads[inside.context.index];
  inside.link(*session);
  load.connections.add(1);
  inside.owner.connections_.add(1);
  co_await session->run();
  load.connections.sub(1);
  inside.owner.connections_.sub(1);
  inside.unlink(*session);
  session.reset();
  inside.check_drained();
}

void Worker::Inside::link(Session& session) noexcept {
  session.next = context.sessions;
  if (context.sessions != nullptr) context.sessions->previous = &session;
  context.sessions = &session;
  ++context.session_count;
}

void Worker::Inside::unlink(Session& session) noexcept {
  if (session.next != nullptr) session.next->previous = session.previous;
  (session.previous != nullptr ? session.previous->next : context.sessions) = session.next;
  --context.session_count;
}

void Worker::Inside::link(net::Opening& opening) noexcept {
  opening.next = openings;
  if (openings != nullptr) openings->previous = &opening;
  openings = &opening;
  ++opening_count;
}

void Worker::Inside::unlink(net::Opening& opening) noexcept {
  if (opening.next != nullptr) opening.next->previous = opening.previous;
  (opening.previous != nullptr ? opening.previous->next : openings) = opening.next;
  --opening_count;
}

void Worker::Inside::drain(Duration idle_grace) {
  context.drain_grace = idle_grace;
  for (Open& open : acceptors)
    open.acceptor->close();  // takes what is queued: those clients are served too
  acceptors.clear();
  context.draining = true;
  openings_end.set(loop.clock().now() + std::max<Duration>(proxy::kLastLook, idle_grace));
  for (Session* session = context.sessions; session != nullptr;) {
    Session* next = session->next;
    session->drain();
    session = next;
  }
  check_drained();
}

void Worker::Inside::end_openings(void* self) {
  net::Opening* each = static_cast<Inside*>(self)->openings;
  for (; each != nullptr; each = each->next) each->cancel();
}

void Worker::Inside::kill_all() {
  for (Open& open : acceptors) open.acceptor->close();
  acceptors.clear();
  context.draining = true;
  end_openings(this);
  for (Session* session = context.sessions; session != nullptr;) {
    Session* next = session->next;
    session->kill();
    session = next;
  }
}

void Worker::Inside::check_drained() {
  if (!context.draining || context.session_count > 0 || opening_count > 0) return;
  owner.drained_.store(true, std::memory_order_release);
  if (!stopping) return;
  stopping = false;
  proxy::MirrorCopy::abort_all(context);
  context.idle.shut_down();
  context.http2.shut_down();
  // Posted, so that the task that called us is over by then.
  loop.post([this] { ending.spawn(end(*this)); });
}

Task<> Worker::Inside::end(Inside& inside) {
  co_await inside.context.tasks.join();
  inside.loop.stop();
}

}  // namespace lbd::worker
