// CPU of instances that run a node_exporter (or anything that speaks its format): seconds old
// instead of minutes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/clock.h"
#include "lbd/base/task.h"
#include "lbd/net/http_client.h"
#include "scaler/provider.h"

namespace lbd::scaler {

/// CPU seconds since boot, summed over all CPUs.
struct CpuTimes {
  double idle = 0;  // modes idle and iowait
  double total = 0;
};

/// Pure. Reads node_cpu_seconds_total from exposition text; nothing when it has none with both idle
/// and busy modes.
[[nodiscard]] std::optional<CpuTimes> parse_node_cpu(std::string_view text);

/// Pure. The busy share between two scrapes, 0..1; nothing when no time passed or the counters went
/// back (a reboot).
[[nodiscard]] std::optional<double> cpu_ratio(const CpuTimes& before, const CpuTimes& after);

struct ScrapeTarget {
  std::string instance;
  std::string address;  // IPv4 or IPv6
  friend bool operator==(const ScrapeTarget&, const ScrapeTarget&) = default;
};

struct NodeExporterParts {
  Clock& clock;
  net::HttpClient& http;
  std::uint16_t port = 9100;
  std::string path = "/metrics";
  /// Called on the loop, outside of `tick`, with each new figure.
  std::function<void(const CpuSample&)> report;
};

/// Scrapes each target every 5 s within 2 s; one that fails is asked less and less, down to once a
/// minute. Thread: the control loop. Lifetime: destroyed only when `calls()` is empty: `stop`, then
/// join (or close the HTTP client, which ends them).
class NodeExporterScraper {
 public:
  explicit NodeExporterScraper(NodeExporterParts parts) : parts_(std::move(parts)) {}

  /// The group's instances as they are now; those that stay keep their past.
  void set_targets(const std::vector<ScrapeTarget>& targets);
  /// Starts what is due. Call it once a second or more often.
  void tick();
  /// Nothing is started or reported any more.
  void stop() noexcept { stopped_ = true; }
  [[nodiscard]] TaskGroup& calls() noexcept { return calls_; }

 private:
  struct Watched {
    std::string address;
    TimePoint next{};
    std::uint32_t failures = 0;
    bool running = false;
    std::optional<CpuTimes> last;
  };

  Task<> scrape(ScrapeTarget target);
  void learn(const ScrapeTarget& target, std::optional<CpuTimes> times);

  NodeExporterParts parts_;
  std::map<std::string, Watched> watched_;  // by instance
  TaskGroup calls_;
  bool stopped_ = false;
};

}  // namespace lbd::scaler
