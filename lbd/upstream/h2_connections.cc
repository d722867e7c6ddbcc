#include "lbd/upstream/h2_connections.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace lbd::upstream {

/// A connection under way, and who waits for it.
struct H2Opening {
  H2Opening(net::Loop& loop, const H2Connections::Wanted& wanted)
      : address(wanted.target.address),
        target(wanted.target.live),
        tls(wanted.group.tls),
        owner(wanted.owner),
        ways(wanted.group.settings),
        connect(wanted.group.settings.timeouts.connect),
        dial(loop) {}
  /// The same again, for those whom one could not seat.
  H2Opening(net::Loop& loop, const H2Opening& other)
      : address(other.address),
        target(other.target),
        tls(other.tls),
        owner(other.owner),
        ways(other.ways),
        connect(other.connect),
        dial(loop) {}

  [[nodiscard]] bool takes(const LiveTarget& wanted, const ConnectionUse& use) const noexcept {
    return target.get() == &wanted && tls.get() == use.tls && owner == use.owner &&
           seats.size() < ways.limits.streams_max;
  }

  net::Endpoint address;
  std::shared_ptr<LiveTarget> target;
  std::shared_ptr<const net::TlsClient> tls;
  std::string owner;
  H2Ways ways;
  Duration connect;
  TimePoint deadline{};
  net::TcpDial dial;
  std::vector<H2Seat*> seats;
};

H2Connections::H2Connections(std::size_t worker, net::Loop& loop, BufferPool& buffers,
                             TaskGroup& tasks)
    : worker_(worker), loop_(loop), buffers_(buffers), tasks_(tasks) {}

H2Connections::~H2Connections() = default;

H2Connection* H2Connections::find(LiveTarget& target, const ConnectionUse& use) {
  for (H2Connection* each = target.load(worker_).http2; each != nullptr; each = each->next_) {
    if (each->made_.stream->tls_client() != use.tls) {
      each->retire();
    } else if (each->made_.owner == use.owner && each->opening_ == nullptr && each->has_room()) {
      return each;
    }
  }
  return nullptr;
}

void H2Connections::wait(H2Seat& seat, const Wanted& wanted) {
  const ConnectionUse use{wanted.group.tls.get(), wanted.owner};
  const auto found = std::find_if(openings_.begin(), openings_.end(), [&](const auto& each) {
    return each->takes(*wanted.target.live, use);
  });
  if (found != openings_.end()) {
    seat.opening = found->get();
    seat.opening->seats.push_back(&seat);
    return;
  }
  auto opening = std::make_shared<H2Opening>(loop_, wanted);
  seat.opening = opening.get();
  opening->seats.push_back(&seat);
  start(std::move(opening));
}

void H2Connections::start(std::shared_ptr<H2Opening> opening) {
  opening->deadline = loop_.clock().now() + opening->connect;
  openings_.push_back(opening);
  tasks_.spawn(dial(*this, std::move(opening)));
}

Task<> H2Connections::dial(H2Connections& pool, std::shared_ptr<H2Opening> opening) {
  net::TcpDial::To to{opening->address, opening->tls, opening->owner};
  net::Dialled dialled = co_await opening->dial.run(std::move(to), opening->deadline);
  if (!dialled) {
    pool.fail(*opening, dialled.error());
    co_return;
  }
  auto connection = std::make_unique<H2Connection>(
      pool,
      H2Connection::Made{std::move(*dialled), opening->target, opening->owner, opening->ways});
  connection->opening_ = opening;
  connection->idle_.set(opening->deadline);
  pool.tasks_.spawn(run(pool, std::move(connection)));
}

Task<> H2Connections::run(H2Connections& pool, std::unique_ptr<H2Connection> connection) {
  TargetLoad& load = connection->made_.target->load(pool.worker_);
  pool.all_.push_back(connection.get());
  connection->next_ = load.http2;
  if (load.http2 != nullptr) load.http2->previous_ = connection.get();
  load.http2 = connection.get();
  load.http2_connections.add(1);
  co_await connection->run();
}

void H2Connections::forget(const H2Opening& opening) {
  std::erase_if(openings_, [&](const auto& each) { return each.get() == &opening; });
}

/// Those who wait are served in the order they came.
void H2Connections::opened(H2Connection& connection) {
  const std::shared_ptr<H2Opening> opening = std::exchange(connection.opening_, nullptr);
  forget(*opening);
  std::vector<H2Seat*>& seats = opening->seats;
  bool first = true;
  while (!seats.empty() && connection.has_room()) {
    H2Seat& seat = *seats.front();
    seats.erase(seats.begin());
    seat.opening = nullptr;
    seat.connection = &connection;
    seat.made = std::exchange(first, false);
    connection.reserve(seat.user);
    seat.over.set();
  }
  if (seats.empty()) return;
  if (first) return fail(*opening, {Fault::connect_failed, ECONNREFUSED, {}});
  auto next = std::make_shared<H2Opening>(loop_, *opening);
  next->seats = std::move(seats);
  for (H2Seat* seat : next->seats) seat->opening = next.get();
  start(std::move(next));
}

void H2Connections::fail(H2Opening& opening, const net::DialFailure& failure) {
  std::vector<H2Seat*> seats = std::move(opening.seats);
  opening.seats.clear();
  for (H2Seat* seat : seats) seat->opening = nullptr;
  forget(opening);
  for (H2Seat* seat : seats) {
    seat->failure = failure;
    seat->over.set();
  }
}

void H2Connections::leave(H2Seat& seat) {
  H2Opening* opening = std::exchange(seat.opening, nullptr);
  if (opening == nullptr) return;
  std::erase(opening->seats, &seat);
  if (opening->seats.empty()) {
    opening->dial.cancel();
    forget(*opening);
  }
  seat.failure = {Fault::cancelled, ECANCELED, {}};
  seat.over.set();
}

void H2Connections::closed(H2Connection& connection) {
  TargetLoad& load = connection.made_.target->load(worker_);
  if (connection.next_ != nullptr) connection.next_->previous_ = connection.previous_;
  (connection.previous_ != nullptr ? connection.previous_->next_ : load.http2) = connection.next_;
  load.http2_connections.sub(1);
  std::erase(all_, &connection);
  const std::shared_ptr<H2Opening> opening = std::exchange(connection.opening_, nullptr);
  if (opening != nullptr) fail(*opening, connection.failure());
}

void H2Connections::purge(const std::vector<const LiveTarget*>& kept) {
  for (H2Connection* each : all_) {
    const LiveTarget* target = each->made_.target.get();
    const bool stays = std::binary_search(kept.begin(), kept.end(), target);
    if (!stays || target->closed.load(std::memory_order_relaxed)) each->retire();
  }
}

void H2Connections::shut_down() {
  for (const auto& opening : openings_) opening->dial.cancel();
  for (H2Connection* each : all_) each->stop();
}

}  // namespace lbd::upstream
