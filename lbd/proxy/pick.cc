#include "lbd/proxy/pick.h"

#include <algorithm>

#include "lbd/balance/pick.h"

namespace lbd::proxy {
namespace {

using upstream::SnapshotGroup;
using upstream::SnapshotTarget;

constexpr std::chrono::milliseconds kSharesFor{100};
/// Up to this many targets in a zone, each is a candidate; of more, candidates are drawn.
constexpr std::size_t kCandidatesMax = 16;

/// How full a target is, 0..1 and above: its CPU when known; else requests in flight against its
/// limit; else what its latency tells: in an M/M/1 queue a response takes 1/(1-ρ) times as long as
/// on an idle server.
double fullness(const SnapshotTarget& target, const config::UpstreamLimits& limits,
                std::size_t worker) noexcept {
  const std::int32_t cpu = target.live->cpu_permille.get();
  if (cpu >= 0) return cpu / 1000.0;
  const std::uint32_t in_flight = target.live->in_flight();
  if (limits.requests_per_target_max > 0)
    return static_cast<double>(in_flight) / limits.requests_per_target_max;
  const upstream::TargetLoad& load = target.live->loads()[worker];
  const float latency = load.latency_us.get();
  if (in_flight < 2 || latency <= 0) return 0;
  return 1 - static_cast<double>(load.latency_floor_us.get()) / static_cast<double>(latency);
}

void refresh_shares(const SnapshotGroup& group, GroupTurns& turns, WorkerContext& worker,
                    TimePoint now) {
  const std::size_t zones = group.zones.size();
  std::vector<balance::ZoneLoad>& loads = turns.loads;
  loads.assign(zones, {});
  double capacity = 0;
  for (std::size_t zone = 0; zone < zones; ++zone) {
    balance::ZoneLoad& load = loads[zone];
    for (const std::uint32_t index : group.usable[zone]) {
      const SnapshotTarget& target = group.targets[index];
      load.capacity += target.weight;
      load.fullness += target.weight * fullness(target, group.settings.limits, worker.index);
    }
    if (load.capacity > 0) load.fullness /= load.capacity;
    capacity += load.capacity;
  }
  turns.shares.resize(zones);
  turns.round_robin.resize(zones);
  const bool prefer = group.settings.zones != config::ZonePreference::off && group.own_zone < zones;
  if (prefer && capacity > 0 && now >= turns.shares_until) {
    const balance::ZoneLoad& own = loads[group.own_zone];
    turns.own_share =
        balance::next_own_share(turns.own_share, own.fullness, own.capacity / capacity);
  }
  balance::zone_shares(loads, prefer ? group.own_zone : zones, turns.own_share, turns.shares);
  turns.shares_of = &group;
  if (now >= turns.shares_until) turns.shares_until = now + kSharesFor;
}

std::size_t draw_zone(const GroupTurns& turns, Rng& rng) noexcept {
  double draw = rng.unit();
  std::size_t last = 0;
  for (std::size_t zone = 0; zone < turns.shares.size(); ++zone) {
    if (turns.shares[zone] <= 0) continue;
    last = zone;
    if (draw < turns.shares[zone]) return zone;
    draw -= turns.shares[zone];
  }
  return last;
}

/// One pick under way.
struct Search {
  const SnapshotGroup& group;
  const Tried& tried;
  WorkerContext& worker;
  bool full = false;  // someone was left out because all its slots are taken
};

struct Pool {
  std::array<balance::Candidate, kCandidatesMax> candidates{};
  std::size_t count = 0;
};

float latency_of(const upstream::LiveTarget& target, std::size_t worker) noexcept {
  return target.loads()[worker].latency_us.get();
}

/// The target as a candidate; weight 0 when it cannot take the request.
balance::Candidate look_at(Search& search, std::uint32_t index) {
  const SnapshotTarget& target = search.group.targets[index];
  if (target.live->closed.load(std::memory_order_relaxed) || search.tried.has(target.live.get()))
    return {index, 0, 0, 0};
  const std::uint32_t most = search.group.settings.limits.requests_per_target_max;
  const std::uint32_t in_flight = target.live->in_flight();
  if (most > 0 && in_flight >= most) {
    search.full = true;
    return {index, 0, 0, 0};
  }
  return {index, target.weight, in_flight, latency_of(*target.live, search.worker.index)};
}

/// How the candidates of a large zone are drawn, so that each of its targets has the same chance
/// whatever its neighbours: by weight when the draw decides, evenly when an algorithm compares
/// them.
struct Draw {
  std::size_t zone;
  std::size_t wanted;
  bool by_weight;
};

std::uint32_t draw_index(const Search& search, const Draw& draw) {
  const std::vector<std::uint32_t>& usable = search.group.usable[draw.zone];
  Rng& rng = search.worker.rng;
  if (!draw.by_weight) return usable[rng.below(static_cast<std::uint32_t>(usable.size()))];
  const std::vector<std::uint64_t>& sums = search.group.weight_sums[draw.zone];
  const auto found = std::upper_bound(sums.begin(), sums.end(), rng.next() % sums.back());
  return usable[static_cast<std::size_t>(found - sums.begin())];
}

/// Reservoir sampling over the whole zone: exact, and as slow as the zone is large.
void draw_from_all(Search& search, const Draw& draw, Pool& pool) {
  std::uint64_t seen = 0;
  pool.count = 0;
  for (const std::uint32_t index : search.group.usable[draw.zone]) {
    const balance::Candidate candidate = look_at(search, index);
    if (candidate.weight == 0) continue;
    const std::uint64_t share = draw.by_weight ? candidate.weight : 1;
    seen += share;
    if (pool.count < draw.wanted) {
      pool.candidates[pool.count++] = candidate;
    } else if (const std::uint64_t place = search.worker.rng.next() % seen / share;
               place < draw.wanted) {
      pool.candidates[place] = candidate;
    }
  }
}

/// Draws until enough can take the request; when most cannot, looks at all.
void draw_candidates(Search& search, const Draw& draw, Pool& pool) {
  constexpr int kDrawsMax = 16;
  for (int i = 0; i < kDrawsMax && pool.count < draw.wanted; ++i) {
    const balance::Candidate candidate = look_at(search, draw_index(search, draw));
    const bool twice = pool.count > 0 && pool.candidates[0].index == candidate.index;
    if (candidate.weight > 0 && !twice) pool.candidates[pool.count++] = candidate;
  }
  if (pool.count < draw.wanted) draw_from_all(search, draw, pool);
}

void add_candidates(Search& search, std::size_t zone, Pool& pool) {
  const SnapshotGroup& group = search.group;
  if (group.usable[zone].size() > kCandidatesMax) {
    const bool by_weight = group.settings.balance == config::Balance::random;
    draw_candidates(search, {zone, by_weight ? std::size_t{1} : std::size_t{2}, by_weight}, pool);
    return;
  }
  for (const std::uint32_t index : group.usable[zone]) {
    const balance::Candidate candidate = look_at(search, index);
    if (candidate.weight > 0) pool.candidates[pool.count++] = candidate;
  }
}

std::size_t choose(const SnapshotGroup& group, const Pool& pool, std::uint64_t& turn,
                   Rng& rng) noexcept {
  const std::span<const balance::Candidate> candidates(pool.candidates.data(), pool.count);
  switch (group.settings.balance) {
    case config::Balance::round_robin:
      return balance::round_robin(candidates, turn);
    case config::Balance::random:
      return balance::random(candidates, rng);
    case config::Balance::least_requests:
      return balance::least_requests(candidates, rng);
    case config::Balance::least_latency:
      return balance::least_latency(candidates, rng);
  }
  return balance::kNobody;
}

/// Round robin over a zone with more targets than candidates: the turn walks the targets
/// themselves, a target of weight w in w of every `heaviest` rounds (balance::round_robin). When
/// two rounds find nobody (the heavy ones are full or failed), anyone who can take it.
const SnapshotTarget* large_round_robin(Search& search, std::size_t zone, std::uint64_t& turn) {
  const SnapshotGroup& group = search.group;
  const std::vector<std::uint32_t>& usable = group.usable[zone];
  const std::uint64_t heaviest = group.heaviest[zone];
  for (std::size_t step = 0; step < 3 * usable.size(); ++step, ++turn) {
    const std::size_t position = turn % usable.size();
    const SnapshotTarget& target = group.targets[usable[position]];
    const std::uint64_t offset = position * (heaviest / 2);
    const std::uint64_t share = target.weight * (turn / usable.size()) + offset;
    if (step < 2 * usable.size() && share % heaviest < heaviest - target.weight) continue;
    if (look_at(search, usable[position]).weight == 0) continue;
    ++turn;
    return &target;
  }
  return nullptr;
}

}  // namespace

Kept look_at_kept(const SnapshotGroup& group, std::uint32_t index, const Tried& tried) noexcept {
  using upstream::TargetState;
  const SnapshotTarget& target = group.targets[index];
  // Not yet checked, as after a restart: who knows it was served by it.
  const bool may_serve = target.state == TargetState::healthy ||
                         target.state == TargetState::initial ||
                         (group.fail_open && target.state != TargetState::draining);
  const bool elsewhere =
      group.settings.zones == config::ZonePreference::strict && target.zone != group.own_zone;
  if (!may_serve || elsewhere || target.live->closed.load(std::memory_order_relaxed) ||
      tried.has(target.live.get())) {
    return Kept::gone;
  }
  const std::uint32_t most = group.settings.limits.requests_per_target_max;
  return most > 0 && target.live->in_flight() >= most ? Kept::full : Kept::serves;
}

Choice pick_target(WorkerContext& worker, const SnapshotGroup& group, GroupTurns& turns,
                   const Tried& tried) {
  const TimePoint now = worker.clock.now();
  if (turns.shares_of != &group || turns.shares.size() != group.zones.size() ||
      now >= turns.shares_until) {
    refresh_shares(group, turns, worker, now);
  }
  if (turns.shares.empty()) return {nullptr, Fault::no_healthy_target, false};
  std::size_t drawn = draw_zone(turns, worker.rng);
  // After a failure another zone first: what failed may be the zone.
  for (std::size_t step = 0; step < turns.shares.size(); ++step) {
    const std::size_t zone = (drawn + step) % turns.shares.size();
    const bool failed = zone < Tried::kZonesKnown && ((tried.zones >> zone) & 1U) != 0;
    if (!failed && !group.usable[zone].empty()) {
      drawn = zone;
      break;
    }
  }
  Search search{group, tried, worker};
  // The drawn zone first; then the others, so that a full or failed zone never costs a request.
  for (std::size_t step = 0; step < turns.shares.size(); ++step) {
    const std::size_t zone = (drawn + step) % turns.shares.size();
    const bool cross = group.own_zone < turns.shares.size() && zone != group.own_zone;
    if (group.settings.balance == config::Balance::round_robin &&
        group.usable[zone].size() > kCandidatesMax) {
      if (const auto* target = large_round_robin(search, zone, turns.round_robin[zone])) {
        return {target, Fault::none, cross};
      }
      continue;
    }
    Pool pool;
    add_candidates(search, zone, pool);
    const std::size_t chosen = choose(group, pool, turns.round_robin[zone], worker.rng);
    if (chosen != balance::kNobody) {
      return {&group.targets[pool.candidates[chosen].index], Fault::none, cross};
    }
  }
  if (tried.count > 0)
    return pick_target(worker, group, turns, Tried{});  // all were tried: any is better than none
  return {nullptr, search.full ? Fault::queue_full : Fault::no_healthy_target, false};
}

}  // namespace lbd::proxy
