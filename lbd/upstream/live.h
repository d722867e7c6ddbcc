// Live state of targets, groups and routes: what requests change. It lives beside the snapshot,
// keyed by (target group, target) or (listener, rule), is made by the control plane, survives every
// swap, and is freed with its last user.
//
// Each object holds one slot per worker. A slot is written by its worker alone and read by anyone
// (Relaxed).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lbd/base/histogram.h"
#include "lbd/base/relaxed.h"
#include "lbd/base/result.h"
#include "lbd/net/proxy_protocol.h"
#include "lbd/net/tls.h"
#include "lbd/upstream/class_durations.h"
#include "lbd/upstream/flight_table.h"
#include "lbd/upstream/rate_table.h"
#include "lbd/upstream/retry_budget.h"

namespace lbd::upstream {

class Connection;
class H2Connection;
class Waiting;

/// One worker's share of a target's state.
struct alignas(64) TargetLoad {
  Relaxed<std::uint32_t> in_flight;
  Relaxed<std::uint64_t> requests;  // attempts finished, well or not
  std::array<Relaxed<std::uint64_t>, 6>
      responses;                            // by first digit of the target's status; [0] unused
  Relaxed<std::uint64_t> connects;          // successful
  Relaxed<std::uint64_t> connect_failures;  // refused, timed out
  Relaxed<std::uint64_t> broken;            // reset, bad response, no response in time
  // Streaks as totals: failures since the last success = total - at_success.
  Relaxed<std::uint64_t> connect_failures_at_success;
  Relaxed<std::uint64_t> errors;  // 5xx and broken, in all
  Relaxed<std::uint64_t> errors_at_success;
  Relaxed<float> latency_us;        // EWMA of time to response head, see kLatencyDecay
  Relaxed<float> latency_floor_us;  // the lowest that average was, drifting up slowly
  LatencyHistogram response;        // time to response head
  LatencyHistogram connect;
  Relaxed<std::uint32_t> reported_cpu_permille;  // ORCA, last reported
  Relaxed<std::int64_t> reported_cpu_at_us;      // steady clock; 0: never
  /// Since when the oldest request here waits for its response's head (steady clock); 0: none does.
  Relaxed<std::int64_t> waiting_since_us;
  // Private to the worker: requests that wait for a response's head, oldest first (waiting.h).
  Waiting* waiting = nullptr;
  Waiting* waiting_last = nullptr;
  // And its idle connections, newest first.
  Connection* idle = nullptr;
  std::uint32_t idle_count = 0;
  bool idle_listed = false;                  // in IdleConnections::targets_
  H2Connection* http2 = nullptr;             // those with HTTP/2, busy or not
  Relaxed<std::uint32_t> http2_connections;  // their number

  /// A connection was made, in so many microseconds.
  void note_connect(std::uint64_t took_us) noexcept {
    connects.add(1);
    connect.record(took_us);
    connect_failures_at_success.set(connect_failures.get());
  }
};

/// A target as the data plane knows it, whatever snapshots come and go.
class LiveTarget {
 public:
  LiveTarget(std::string group, std::string address, std::string zone, std::size_t workers)
      : group_(std::move(group)),
        address_(std::move(address)),
        zone_(std::move(zone)),
        loads_(workers) {}

  [[nodiscard]] const std::string& group() const noexcept { return group_; }
  [[nodiscard]] const std::string& address() const noexcept { return address_; }
  [[nodiscard]] const std::string& zone() const noexcept { return zone_; }
  /// The name it was found by; empty: by its address.
  [[nodiscard]] const std::string& host() const noexcept { return host_; }
  void set_host(std::string host) noexcept { host_ = std::move(host); }  // before anyone sees it
  [[nodiscard]] TargetLoad& load(std::size_t worker) noexcept { return loads_[worker]; }
  [[nodiscard]] const std::vector<TargetLoad>& loads() const noexcept { return loads_; }
  [[nodiscard]] std::uint32_t in_flight() const noexcept {
    std::uint32_t sum = 0;
    for (const TargetLoad& load : loads_) sum += load.in_flight.get();
    return sum;
  }

  /// Of cookies that keep clients here; the control plane's.
  std::string sticky_token;
  /// Set by the control plane when the target drains: no worker picks it again, not even a retry on
  /// an older snapshot.
  std::atomic<bool> closed{false};
  /// CPU use as the scaler knows it, 0..1000 and above; -1: unknown. Written by the control plane.
  Relaxed<std::int32_t> cpu_permille{-1};

 private:
  std::string group_;
  std::string address_;
  std::string zone_;
  std::string host_;
  std::vector<TargetLoad> loads_;
};

/// What the targets of a group and zone have done, those that are gone included: counters must not
/// go down when an instance is terminated.
struct ZoneTotals {
  std::array<std::uint64_t, 6> responses{};  // by first digit of the status
  HistogramSum response;
  HistogramSum connect;

  void add(const LiveTarget& target) noexcept;
};

/// Handshakes by how they ended: what the metrics of both sides are made of.
struct HandshakeCounts {
  std::array<Relaxed<std::uint64_t>, static_cast<std::size_t>(net::TlsKind::kCount)> made;
  std::array<Relaxed<std::uint64_t>, static_cast<std::size_t>(net::TlsFault::kCount)> failed;
};

/// The last handshake that failed with a target of a group, for the log. Thread: any.
class TlsTrouble {
 public:
  struct Note {
    std::string target;
    std::string reason;  // tls_fault_name
    std::string detail;  // OpenSSL's words
  };
  void tell(Note note) {
    const std::lock_guard lock(mutex_);
    note_ = std::move(note);
  }
  /// Nothing when there was none since.
  [[nodiscard]] std::optional<Note> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(note_, std::nullopt);
  }

 private:
  std::mutex mutex_;
  std::optional<Note> note_;
};

/// What becomes of a copy for another group (proxy/mirror.h).
enum class MirrorOutcome : std::uint8_t {
  answered,
  connect_failed,
  timed_out,
  failed,  // what came of it was no whole answer
  no_target,
  body_too_large,
  body_cut,  // the client's request was never whole
  overload,  // too many copies at once
  kCount,
};
inline constexpr std::size_t kMirrorOutcomes = static_cast<std::size_t>(MirrorOutcome::kCount);
[[nodiscard]] std::string_view mirror_outcome_name(MirrorOutcome outcome) noexcept;

/// gRPC's status codes, and last what is none of them.
inline constexpr std::size_t kGrpcStatuses = 18;

/// One worker's share of a group's counters.
struct alignas(64) GroupLoad {
  Relaxed<std::uint32_t> in_flight;
  std::array<Relaxed<std::uint64_t>, static_cast<std::size_t>(Fault::kCount)>
      failures;  // requests, by reason
  Relaxed<std::uint64_t> requests;
  Relaxed<std::uint64_t> retries;          // attempts after the first
  Relaxed<std::uint64_t> retries_refused;  // wanted, but over the budget
  Relaxed<std::uint64_t> fail_open;        // sent although no target was healthy
  Relaxed<std::uint64_t> cross_zone;       // sent outside the node's zone
  Relaxed<std::uint64_t> sticky_kept;      // sent where their cookie says
  Relaxed<std::uint64_t> sticky_new;       // without a cookie that is known
  Relaxed<std::uint64_t> sticky_moved;     // their target could not serve
  Relaxed<std::uint64_t>
      trouble;  // failed attempts and 5xx at any target: tells when to look for outliers
  HandshakeCounts handshakes;                                    // with targets
  std::array<Relaxed<std::uint64_t>, kGrpcStatuses> grpc;        // responses to gRPC requests
  std::array<Relaxed<std::uint64_t>, kMirrorOutcomes> mirrored;  // copies it got, or should have
  RetryBudget retry_budget;                                      // private
};

struct LiveGroup {
  LiveGroup(std::string group_name, std::size_t workers)
      : name(std::move(group_name)), loads(workers) {}
  std::string name;
  std::vector<GroupLoad> loads;
  TlsTrouble tls_trouble;
};

/// Counts by (status, method, who made it): a small open-addressed table, so that a route costs 1
/// KiB, not 8.
class StatusCounts {
 public:
  static constexpr std::size_t kSlots = 64;
  static constexpr std::uint32_t kOther = 1;  // key of what found no slot

  /// `key` > kOther.
  void add(std::uint32_t key) noexcept {
    for (std::size_t probe = 0; probe < kSlots - 1; ++probe) {
      Slot& slot = slots_[(key + probe) % (kSlots - 1)];
      if (slot.key.get() == 0) slot.key.set(key);
      if (slot.key.get() == key) {
        slot.count.add(1);
        return;
      }
    }
    slots_[kSlots - 1].key.set(kOther);
    slots_[kSlots - 1].count.add(1);
  }
  template <class Visit>
  void each(Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.key.get() != 0) visit(slot.key.get(), slot.count.get());
    }
  }

 private:
  struct Slot {
    Relaxed<std::uint32_t> key;
    Relaxed<std::uint64_t> count;
  };
  std::array<Slot, kSlots> slots_;
};

struct alignas(64) RouteLoad {
  StatusCounts counts;  // key: see status_key
  ClassDurations duration;
  Relaxed<std::uint64_t> request_bytes;   // bodies; at layer 4 all that clients sent
  Relaxed<std::uint64_t> response_bytes;  // bodies; at layer 4 all that went to clients
  Relaxed<std::uint64_t> connections;     // at layer 4
};

/// Packs what `lbd_requests_total` is labelled with. method < 16, status < 1000.
[[nodiscard]] constexpr std::uint32_t status_key(int status, std::uint32_t method,
                                                 bool by_target) noexcept {
  return (static_cast<std::uint32_t>(status) << 5) | (method << 1) | (by_target ? 1U : 0U);
}

struct LiveRoute {
  LiveRoute(std::string of_listener, std::string of_rule, std::size_t workers)
      : listener(std::move(of_listener)), rule(std::move(of_rule)), loads(workers) {}
  std::string listener;
  std::string rule;  // "default" for the listener's default, "none" for no match
  std::vector<RouteLoad> loads;
};

/// Of http::DesyncReason.
inline constexpr std::size_t kDesyncReasonsMax = 32;

inline constexpr std::size_t kHttp2Floods = 4;

inline constexpr std::size_t kCodings = 4;  // of http::Coding

struct CompressionCounts {
  std::array<Relaxed<std::uint64_t>, kCodings> responses;
  std::array<Relaxed<std::uint64_t>, kCodings> bytes_in;
  std::array<Relaxed<std::uint64_t>, kCodings> bytes_out;
  Relaxed<std::uint64_t> skipped;  // too many at once
};

struct alignas(64) ListenerLoad {
  Relaxed<std::uint32_t> connections;  // open now
  Relaxed<std::uint32_t> tunnels;      // open now
  Relaxed<std::uint64_t> accepted;
  Relaxed<std::uint64_t> tunnels_opened;
  Relaxed<std::uint64_t> shed;               // closed at once: too many connections
  Relaxed<std::uint64_t> flights_uncounted;  // requests that found no place in a FlightTable
  std::array<Relaxed<std::uint64_t>, static_cast<std::size_t>(Fault::kCount)>
      failures;  // before a route was known
  std::array<Relaxed<std::uint64_t>, kDesyncReasonsMax>
      desync;  // by http::DesyncReason; [0] unused
  HandshakeCounts handshakes;
  std::array<Relaxed<std::uint64_t>, static_cast<std::size_t>(net::ProxyFault::kCount)>
      proxy_refused;
  CompressionCounts compression;
  Relaxed<std::uint64_t> http2_connections;
  std::array<Relaxed<std::uint64_t>, kHttp2Floods> http2_floods;  // by http::H2Flood
};

struct LiveListener {
  LiveListener(std::string listener_name, std::size_t workers)
      : name(std::move(listener_name)), loads(workers) {}
  std::string name;
  std::vector<ListenerLoad> loads;
};

/// Finds or makes live state by key. Thread: the control plane's.
class LiveState {
 public:
  /// `seed`: of the hashes of rate limits.
  explicit LiveState(std::size_t workers, std::uint64_t seed = 0)
      : workers_(workers), seed_(seed) {}

  [[nodiscard]] std::size_t workers() const noexcept { return workers_; }
  std::shared_ptr<LiveTarget> target(const std::string& group, const std::string& address,
                                     const std::string& zone, const std::string& host = {});
  std::shared_ptr<LiveGroup> group(const std::string& name);
  /// Before the first token; tokens do not change with it.
  void set_cookie_key(std::string key) { cookie_key_ = std::move(key); }
  [[nodiscard]] const std::string& cookie_key() const noexcept { return cookie_key_; }
  /// A target's sticky token, made once.
  const std::string& sticky_token(LiveTarget& target) const;
  std::shared_ptr<LiveRoute> route(const std::string& listener, const std::string& rule);
  std::shared_ptr<LiveListener> listener(const std::string& name);
  /// The buckets of one rate limit, by whatever tells it from others: the name of its listener, a
  /// line feed, and more.
  std::shared_ptr<RateTable> rates(const std::string& key, std::size_t keys_max);
  /// The counts of one limit of requests in flight, likewise.
  std::shared_ptr<FlightTable> flights(const std::string& key, std::size_t keys_max);
  /// Forgets what nobody but this registry holds (targets gone from every snapshot). A target's
  /// totals stay with its group and zone; the series of a group, route or listener end.
  void collect_garbage();
  /// RateTable::evictions() by listener, for those that have rate limits. A limit that a reload
  /// removes takes its count with it, as a restart does.
  [[nodiscard]] std::map<std::string, std::uint64_t> rate_evictions() const;
  /// By group and zone.
  [[nodiscard]] std::map<std::pair<std::string, std::string>, ZoneTotals> zone_totals() const;

  [[nodiscard]] const auto& targets() const noexcept { return targets_; }
  [[nodiscard]] const auto& groups() const noexcept { return groups_; }
  [[nodiscard]] const auto& routes() const noexcept { return routes_; }
  [[nodiscard]] const auto& listeners() const noexcept { return listeners_; }

 private:
  using Key = std::pair<std::string, std::string>;
  std::size_t workers_;
  std::uint64_t seed_;
  std::string cookie_key_;
  std::map<Key, std::shared_ptr<LiveTarget>> targets_;  // (group, address)
  std::vector<std::shared_ptr<LiveTarget>> replaced_;   // another machine has the address now
  std::map<Key, ZoneTotals> gone_;                      // (group, zone)
  std::map<std::string, std::shared_ptr<LiveGroup>> groups_;
  std::map<Key, std::shared_ptr<LiveRoute>> routes_;
  std::map<std::string, std::shared_ptr<LiveListener>> listeners_;
  std::map<std::string, std::shared_ptr<RateTable>> rates_;
  std::map<std::string, std::shared_ptr<FlightTable>> flights_;
};

}  // namespace lbd::upstream
