// The snapshot: everything the data plane needs to know, immutable, swapped whole. The control
// plane compiles it; each worker adopts it; a request pins the one it started with.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "lbd/base/rng.h"
#include "lbd/net/address.h"
#include "lbd/net/tls.h"
#include "lbd/route/changes.h"
#include "lbd/route/compression.h"
#include "lbd/route/networks.h"
#include "lbd/route/table.h"
#include "lbd/route/template.h"
#include "lbd/upstream/live.h"
#include "lbd/upstream/sticky.h"

namespace lbd::upstream {

enum class TargetState : std::uint8_t {
  initial,  // not yet passed its first check
  healthy,
  unhealthy,  // active checks fail
  ejected,    // passive: outlier, for a while
  draining,   // no new requests
};
[[nodiscard]] std::string_view state_name(TargetState state) noexcept;

struct SnapshotTarget {
  net::Endpoint address;
  std::uint32_t weight = 1;
  std::uint32_t zone = 0;  // index into SnapshotGroup::zones
  TargetState state = TargetState::healthy;
  std::shared_ptr<LiveTarget> live;
};

struct SnapshotGroup {
  config::TargetGroup settings;
  std::vector<std::string> zones;
  std::uint32_t own_zone = UINT32_MAX;  // the node's, when the group has targets there
  std::vector<SnapshotTarget> targets;
  std::vector<std::vector<std::uint32_t>>
      usable;                           // per zone: indices of targets that may be picked
  std::vector<std::uint32_t> heaviest;  // per zone: the largest weight in `usable`, at least 1
  /// Per zone: the sum of weights in `usable` up to and including each position.
  std::vector<std::vector<std::uint64_t>> weight_sums;
  std::shared_ptr<const StickyTokens> sticky;  // by position in `targets`; null: not sticky
  bool fail_open = false;  // nobody is healthy: `usable` holds everyone not draining
  std::shared_ptr<LiveGroup> live;
  std::shared_ptr<const net::TlsClient> tls;  // null: plain
};

/// One token bucket for each key.
struct SnapshotRate {
  config::RateKey by;
  std::string name;
  Rate rate;
  std::shared_ptr<RateTable> live;
};
/// How many requests of each key may be under way.
struct SnapshotFlights {
  config::RateKey by;
  std::string name;
  std::uint32_t most = 1;
  std::shared_ptr<FlightTable> live;
};
/// Who may come in, how many at once, and how often.
struct SnapshotGate {
  explicit SnapshotGate(const config::AccessList& list) : access(list) {}
  [[nodiscard]] bool open() const noexcept {
    return access.empty() && rates.empty() && flights.empty();
  }
  route::AccessList access;
  std::vector<SnapshotFlights> flights;
  std::vector<SnapshotRate> rates;
};

/// Where copies of requests go.
struct SnapshotMirror {
  std::size_t group = 0;  // into Snapshot::groups
  double share = 1;
  std::uint64_t body_bytes_max = 0;
  config::milliseconds timeout{};
};

/// What a rule does, with its groups resolved.
struct SnapshotRoute {
  explicit SnapshotRoute(const config::Rule& rule)
      : action(rule.then),
        rewrite(rule.rewrite),
        request_headers(rule.request_headers),
        response_headers(rule.response_headers),
        gate(rule.access) {}

  /// One share of a weighted forward: lots below `lots_end` that no share before it has.
  struct Share {
    std::uint32_t lots_end = 0;
    std::size_t group = 0;
  };
  /// The position in `shares` of this request's group, by lot; there are several.
  [[nodiscard]] std::uint32_t draw_share(Rng& rng) const noexcept;

  config::Action action;
  std::size_t group = 0;      // into Snapshot::groups, of a forward to one
  std::vector<Share> shares;  // of a forward to several; groups of weight 0 are left out
  std::shared_ptr<const StickyTokens> sticky;  // by position in `shares`; null: not sticky
  std::optional<SnapshotMirror> mirror;        // of a forward
  route::Rewrite rewrite;
  route::HeaderEdits request_headers;
  route::HeaderEdits response_headers;
  SnapshotGate gate;
  std::optional<config::milliseconds> total_timeout;  // 0: no limit
  std::optional<config::milliseconds> response_head_timeout;
  std::optional<std::uint32_t> attempts;
  std::uint64_t body_bytes_max = 0;  // the smaller of the rule's and the listener's; 0: no limit
  std::shared_ptr<LiveRoute> live;
};

struct SnapshotListener {
  SnapshotListener(config::Listener listener, route::Table compiled)
      : settings(std::move(listener)),
        table(std::move(compiled)),
        error_pages(settings.error_pages),
        gate(settings.access) {
    if (settings.compression) compression.emplace(*settings.compression);
  }
  config::Listener settings;
  route::Table table;
  route::ErrorPages error_pages;
  SnapshotGate gate;
  std::optional<route::Compression> compression;
  std::vector<SnapshotRoute> routes;       // one per rule
  std::optional<SnapshotRoute> otherwise;  // the listener's default
  std::shared_ptr<LiveRoute> no_route;
  std::shared_ptr<LiveListener> live;
  std::vector<std::pair<net::SocketAddress, int>> trusted;  // networks and prefix lengths
  std::vector<std::pair<net::SocketAddress, int>> proxies;  // that may send a PROXY header
  std::shared_ptr<const net::TlsServer> tls;                // null: plain
};

struct Snapshot {
  std::uint64_t serial = 0;      // of this snapshot, counts every publication
  std::uint64_t generation = 0;  // of the config it was made from
  /// What this process adds to Via: "1.1 " and a name no other has (RFC 9110 §7.6.3).
  std::string via = "1.1 lbd";
  std::vector<std::shared_ptr<const SnapshotListener>> listeners;
  std::vector<std::shared_ptr<const SnapshotGroup>> groups;
};

/// A target as the control plane sees it when it compiles: where it is and whether it may serve.
struct TargetInput {
  config::Address address;
  std::string zone;
  std::uint32_t weight = 1;
  TargetState state = TargetState::initial;
  std::string host = {};  // the name it was found by
};

/// Where connections to it go. Nothing for what is no address.
[[nodiscard]] std::optional<net::Endpoint> endpoint_of(const config::Address& address);
/// Pure but for the live state it looks up or makes. `tls` is left to the caller.
[[nodiscard]] std::shared_ptr<SnapshotGroup> compile_group(const config::TargetGroup& settings,
                                                           const std::vector<TargetInput>& targets,
                                                           const std::string& own_zone,
                                                           LiveState& live);
/// `group_index`: position of each target group in Snapshot::groups. `tls`: null when it is plain.
[[nodiscard]] std::shared_ptr<const SnapshotListener> compile_listener(
    const config::Listener& settings, const std::map<std::string, std::size_t>& group_index,
    LiveState& live, std::shared_ptr<const net::TlsServer> tls = nullptr);

}  // namespace lbd::upstream
