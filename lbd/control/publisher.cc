#include "lbd/control/publisher.h"

#include <algorithm>

#include "lbd/net/acceptor.h"

namespace lbd::control {

Publisher::Publisher(upstream::LiveState& live,
                     std::vector<std::unique_ptr<worker::Worker>>& workers,
                     const Certificates& certificates, std::string via)
    : live_(live), via_(std::move(via)), workers_(workers), certificates_(certificates) {}

Outcome<void> Publisher::prepare(const config::Config& config) {
  for (const auto& [name, listener] : config.listeners) {
    for (const config::Address& address : listener.listen) {
      if (sockets_.contains(address.text())) continue;
      const auto wanted = net::SocketAddress::parse(address.ip, address.port);
      if (!wanted) return failure("listener " + name + ": not an IP address: " + address.ip);
      Socket socket{name, address.text(), {}, {}};
      net::SocketAddress bind_to = *wanted;
      for (std::size_t i = 0; i < workers_.size(); ++i) {
        const Outcome<int> fd = net::listen_tcp(bind_to);
        if (!fd) {
          rollback();
          return failure("listener " + name + ": " + fd.error().message);
        }
        socket.descriptors.push_back(std::make_shared<const worker::Descriptor>(*fd));
        bind_to = net::SocketAddress::local_of(*fd);  // port 0: the others share the first one's
      }
      socket.bound = bind_to.text();
      prepared_.emplace(address.text(), std::move(socket));
    }
  }
  return {};
}

void Publisher::rollback() { prepared_.clear(); }

void Publisher::commit(std::shared_ptr<const config::Config> config, std::uint64_t generation,
                       std::string own_zone) {
  config_ = std::move(config);
  generation_ = generation;
  own_zone_ = std::move(own_zone);
  sockets_.merge(prepared_);
  prepared_.clear();
  std::map<std::string, std::string> owner;  // address → listener
  for (const auto& [name, listener] : config_->listeners) {
    for (const config::Address& address : listener.listen) owner[address.text()] = name;
  }
  std::erase_if(sockets_, [&](const auto& entry) { return !owner.contains(entry.first); });
  for (auto& [address, socket] : sockets_) socket.listener = owner[address];
  std::map<std::string, std::size_t> index;
  for (const auto& [name, group] : config_->target_groups) index.emplace(name, index.size());
  listeners_.clear();
  for (const auto& [name, listener] : config_->listeners) {
    listeners_.push_back(
        upstream::compile_listener(listener, index, live_, certificates_.find(name)));
  }
  groups_.clear();
}

void Publisher::publish(const Targets& targets, const std::set<std::string>& groups) {
  auto snapshot = std::make_shared<upstream::Snapshot>();
  snapshot->serial = ++serial_;
  snapshot->generation = generation_;
  snapshot->via = via_;
  snapshot->listeners = listeners_;
  for (const auto& [name, settings] : config_->target_groups) {
    std::shared_ptr<const upstream::SnapshotGroup>& group = groups_[name];
    if (!group || groups.contains(name)) {
      const std::shared_ptr<upstream::SnapshotGroup> compiled =
          upstream::compile_group(settings, targets.inputs(name), own_zone_, live_);
      if (settings.protocol == config::TargetProtocol::https) {
        compiled->tls = certificates_.find_client(name);
      }
      group = compiled;
    }
    snapshot->groups.push_back(group);
  }
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    std::vector<worker::ListenSocket> sockets;
    for (const auto& [address, socket] : sockets_) {
      sockets.push_back({live_.listener(socket.listener), socket.bound, socket.descriptors[i]});
    }
    workers_[i]->adopt(snapshot, std::move(sockets));
  }
}

bool Publisher::await_adoption(TimePoint until) {
  return std::all_of(workers_.begin(), workers_.end(),
                     [&](const auto& worker) { return worker->await_adoption(serial_, until); });
}

std::uint64_t Publisher::adopted() const noexcept {
  std::uint64_t oldest = UINT64_MAX;
  for (const auto& worker : workers_) oldest = std::min(oldest, worker->adopted());
  return oldest;
}

std::vector<std::string> Publisher::bound() const {
  std::vector<std::string> all;
  for (const auto& [address, socket] : sockets_)
    all.push_back(socket.listener + " " + socket.bound);
  return all;
}

}  // namespace lbd::control
