#include "lbd/upstream/snapshot.h"

#include <algorithm>

#include "lbd/base/check.h"

namespace lbd::upstream {
namespace {

std::uint32_t zone_index(std::vector<std::string>& zones, const std::string& zone) {
  const auto found = std::find(zones.begin(), zones.end(), zone);
  if (found != zones.end()) return static_cast<std::uint32_t>(found - zones.begin());
  zones.push_back(zone);
  return static_cast<std::uint32_t>(zones.size() - 1);
}

/// Fills `usable` with the targets that satisfy `may_serve`; true when there is one.
template <class MayServe>
bool collect_usable(SnapshotGroup& group, const std::string& only_zone, MayServe may_serve) {
  group.usable.assign(group.zones.size(), {});
  group.heaviest.assign(group.zones.size(), 1);
  group.weight_sums.assign(group.zones.size(), {});
  bool any = false;
  for (std::uint32_t i = 0; i < group.targets.size(); ++i) {
    const SnapshotTarget& target = group.targets[i];
    if (target.weight == 0 || !may_serve(target.state)) continue;
    if (!only_zone.empty() && group.zones[target.zone] != only_zone) continue;
    group.usable[target.zone].push_back(i);
    std::vector<std::uint64_t>& sums = group.weight_sums[target.zone];
    sums.push_back((sums.empty() ? 0 : sums.back()) + target.weight);
    group.heaviest[target.zone] = std::max(group.heaviest[target.zone], target.weight);
    any = true;
  }
  return any;
}

std::size_t index_of(const std::string& group,
                     const std::map<std::string, std::size_t>& group_index) {
  const auto found = group_index.find(group);
  LBD_CHECK(found != group_index.end());  // validate.cc refuses unknown groups
  return found->second;
}

/// What tells one limit of an owner from its others, whatever is changed about the limit itself or
/// those before it.
template <class Limit>
std::string key_of(const Limit& limit, const std::string& owner, std::map<std::string, int>& same) {
  std::string key = owner + '\n' + std::to_string(static_cast<int>(limit.by)) + '\n' + limit.name +
                    '\n' + std::to_string(limit.keys_max);
  return key + '\n' + std::to_string(same[key]++);
}

/// `owner`: whose limits these are. What a bucket holds outlives a reload that changes how fast it
/// fills.
std::vector<SnapshotRate> compile_rates(const std::vector<config::RateLimit>& limits,
                                        const std::string& owner, LiveState& live) {
  std::vector<SnapshotRate> rates;
  std::map<std::string, int> same;
  for (const config::RateLimit& each : limits) {
    const std::string key = key_of(each, owner, same);
    const Rate rate{each.requests, each.per, each.burst > 0 ? each.burst : each.requests};
    rates.push_back({each.by, each.name, rate, live.rates(key, each.keys_max)});
  }
  return rates;
}

/// What is under way is counted on through a reload.
std::vector<SnapshotFlights> compile_flights(const std::vector<config::InFlightLimit>& limits,
                                             const std::string& owner, LiveState& live) {
  std::vector<SnapshotFlights> flights;
  std::map<std::string, int> same;
  for (const config::InFlightLimit& each : limits) {
    const std::string key = key_of(each, owner, same);
    flights.push_back({each.by, each.name, each.requests, live.flights(key, each.keys_max)});
  }
  return flights;
}

SnapshotRoute compile_route(const config::Rule& rule, const config::Listener& listener,
                            const std::map<std::string, std::size_t>& group_index,
                            const LiveState& live) {
  SnapshotRoute route(rule);
  if (const auto* forward = std::get_if<config::Forward>(&rule.then)) {
    if (forward->weighted.empty()) route.group = index_of(forward->target_group, group_index);
    std::uint32_t lots_end = 0;
    std::vector<std::string> tokens;
    for (const config::WeightedGroup& each : forward->weighted) {
      const std::size_t group = index_of(each.target_group, group_index);
      lots_end += each.weight;
      if (each.weight == 0) continue;
      route.shares.push_back({lots_end, group});
      tokens.push_back(sticky_token(live.cookie_key(), "\n", each.target_group));
    }
    if (const auto& mirror = forward->mirror) {
      route.mirror = {index_of(mirror->target_group, group_index), mirror->share,
                      mirror->body_bytes_max, mirror->timeout};
    }
    if (forward->sticky) {
      route.sticky = std::make_shared<const StickyTokens>(
          *forward->sticky, "lbd-group-" + rule.name, std::move(tokens));
    }
  }
  route.total_timeout = rule.total_timeout;
  route.response_head_timeout = rule.response_head_timeout;
  route.attempts = rule.attempts;
  route.body_bytes_max = rule.body_bytes_max.value_or(listener.limits.body_bytes_max);
  return route;
}

std::vector<std::pair<net::SocketAddress, int>> networks_of(
    const std::vector<config::Cidr>& networks) {
  std::vector<std::pair<net::SocketAddress, int>> found;
  for (const config::Cidr& network : networks) {
    const auto address = net::SocketAddress::parse(network.ip, 0);
    if (address) found.emplace_back(*address, network.prefix_bits);
  }
  return found;
}

}  // namespace

std::optional<net::Endpoint> endpoint_of(const config::Address& address) {
  if (!address.path.empty()) return net::Endpoint::of_unix(address.path);
  const auto found = net::SocketAddress::parse(address.ip, address.port);
  if (!found) return std::nullopt;
  return *found;
}

std::string_view state_name(TargetState state) noexcept {
  switch (state) {
    case TargetState::initial:
      return "initial";
    case TargetState::healthy:
      return "healthy";
    case TargetState::unhealthy:
      return "unhealthy";
    case TargetState::ejected:
      return "ejected";
    case TargetState::draining:
      return "draining";
  }
  return "unknown";
}

std::uint32_t SnapshotRoute::draw_share(Rng& rng) const noexcept {
  const std::uint32_t lot = rng.below(shares.back().lots_end);
  const auto drawn = std::find_if(shares.begin(), shares.end(),
                                  [lot](const Share& share) { return lot < share.lots_end; });
  return static_cast<std::uint32_t>(drawn - shares.begin());
}

std::shared_ptr<SnapshotGroup> compile_group(const config::TargetGroup& settings,
                                             const std::vector<TargetInput>& targets,
                                             const std::string& own_zone, LiveState& live) {
  auto group = std::make_shared<SnapshotGroup>();
  group->settings = settings;
  group->live = live.group(settings.name);
  for (const TargetInput& input : targets) {
    const auto address = endpoint_of(input.address);
    if (!address) continue;  // parse.cc and the providers check addresses
    SnapshotTarget target;
    target.address = input.host.empty() ? *address : address->named(input.host);
    target.weight = input.weight;
    target.zone = zone_index(group->zones, input.zone);
    target.state = input.state;
    target.live = live.target(settings.name, input.address.text(), input.zone, input.host);
    target.live->closed.store(input.state == TargetState::draining, std::memory_order_relaxed);
    group->targets.push_back(std::move(target));
  }
  for (std::uint32_t i = 0; i < group->zones.size(); ++i) {
    if (!own_zone.empty() && group->zones[i] == own_zone) group->own_zone = i;
  }
  const std::string only_zone =
      settings.zones == config::ZonePreference::strict ? own_zone : std::string();
  if (!collect_usable(*group, only_zone, [](TargetState s) { return s == TargetState::healthy; }) &&
      settings.fail_open) {
    group->fail_open =
        collect_usable(*group, only_zone, [](TargetState s) { return s != TargetState::draining; });
  }
  if (settings.stickiness) {
    std::vector<std::string> tokens;
    for (const SnapshotTarget& target : group->targets) {
      tokens.push_back(live.sticky_token(*target.live));
    }
    group->sticky = std::make_shared<const StickyTokens>(settings.stickiness->cookie,
                                                         "lbd-" + settings.name, std::move(tokens));
  }
  return group;
}

std::shared_ptr<const SnapshotListener> compile_listener(
    const config::Listener& settings, const std::map<std::string, std::size_t>& group_index,
    LiveState& live, std::shared_ptr<const net::TlsServer> tls) {
  auto listener = std::make_shared<SnapshotListener>(settings, route::Table(settings.rules));
  listener->tls = std::move(tls);
  for (const config::Rule& rule : settings.rules) {
    listener->routes.push_back(compile_route(rule, settings, group_index, live));
    listener->routes.back().live = live.route(settings.name, rule.name);
    SnapshotGate& gate = listener->routes.back().gate;
    const std::string owner = settings.name + '\n' + rule.name;
    gate.flights = compile_flights(rule.in_flight_limits, owner, live);
    gate.rates = compile_rates(rule.rate_limits, owner, live);
  }
  if (settings.otherwise) {
    config::Rule rule;
    rule.name = "default";
    rule.then = *settings.otherwise;
    listener->otherwise = compile_route(rule, settings, group_index, live);
    listener->otherwise->live = live.route(settings.name, "default");
  }
  listener->no_route = live.route(settings.name, "none");
  listener->live = live.listener(settings.name);
  listener->gate.flights = compile_flights(settings.in_flight_limits, settings.name, live);
  listener->gate.rates = compile_rates(settings.rate_limits, settings.name, live);
  listener->trusted = networks_of(settings.forwarded_headers.trusted_proxies);
  listener->proxies = networks_of(settings.proxy_protocol.trusted);
  return listener;
}

}  // namespace lbd::upstream
