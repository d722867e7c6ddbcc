// Active health checks of all targets, and what they say: the board.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "config/config.h"
#include "health/probe.h"
#include "health/streak.h"
#include "lbd/base/rng.h"
#include "lbd/base/task.h"
#include "lbd/net/loop.h"

namespace lbd::health {

/// (target group, target address): two groups never share a verdict about one address (caddy
/// #7870).
using TargetKey = std::pair<std::string, std::string>;

struct Verdict {
  bool up = false;
  bool checked = false;  // at least one check has ended
  CheckResult last;
  TimePoint last_at{};        // when that check ended
  WallTime since{};           // of `up` as it is
  std::uint32_t against = 0;  // results in a row against the verdict
  std::uint64_t checks = 0;
  std::uint64_t failures = 0;
};

/// Checks that ended, since lbd started.
struct CheckCounts {
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;
};

/// What to check.
struct CheckedTarget {
  TargetKey key;
  net::Endpoint address;  // of the check: the target's, with the check's own port
  config::HealthCheck settings;
  std::shared_ptr<const net::TlsClient> tls = nullptr;  // of https checks
  std::string greeting = {};                            // sent first
};

/// Thread: the control loop. `stop` must have run, and its tasks ended, before it is destroyed.
class Checker {
 public:
  using OnChange = std::function<void(const TargetKey&, const Verdict&)>;

  /// `on_change` is called when a verdict flips, and when a target's first check ends.
  Checker(net::Loop& loop, Rng rng, OnChange on_change);
  ~Checker();
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  /// Checks exactly these from now on. A target that stays keeps its verdict and its turn; a new
  /// one is checked at once (a crowd of new ones spread over their interval); settings may change
  /// under a verdict.
  void apply(const std::vector<CheckedTarget>& targets);
  /// Brings a target's next check forward to now, ahead of any others that wait for their turn.
  void check_now(const TargetKey& key);
  /// Requests to the target say that it may be down: checks it at once and with little patience.
  /// Once a second at most; a check that is under way will do.
  void doubt(const TargetKey& key);
  /// Nothing for a target that is not checked.
  [[nodiscard]] const Verdict* find(const TargetKey& key) const;
  [[nodiscard]] const TaskGroup& tasks() const noexcept { return tasks_; }
  [[nodiscard]] bool first_round_done() const;
  /// By target group; one that was ever checked stays.
  [[nodiscard]] const std::map<std::string, CheckCounts>& counts() const noexcept {
    return counts_;
  }
  /// Checks that could not be made because lbd itself was short of something. They gave no
  /// verdict.
  [[nodiscard]] std::uint64_t shortages() const noexcept { return shortages_; }
  /// Starts no further check and calls off those under way; `co_await join()` for their end.
  void stop();
  [[nodiscard]] TaskGroup::Join join() noexcept { return tasks_.join(); }

 private:
  struct Entry;
  /// Targets that do not answer hold their probe for the whole timeout. So that they hold up one
  /// another only, each kind of target has probes of its own.
  enum class Lane : std::uint8_t { steady, fresh, failing, kCount };
  static constexpr std::size_t kLanes = static_cast<std::size_t>(Lane::kCount);
  /// Probes at a time. Steady: the last check passed. Fresh: never checked. Failing: the rest.
  static constexpr std::array<std::size_t, kLanes> kProbesMax{256, 128, 256};
  /// Who waits for a probe: the urgent first, then by when the check was due.
  using Rank = std::pair<bool, TimePoint>;
  using Line = std::multimap<Rank, std::shared_ptr<Entry>>;

  void due(Entry& entry);
  void advance(Entry& entry);
  void wait_in_line(Entry& entry);
  [[nodiscard]] Line& line_of(const Entry& entry) noexcept;
  void start_waiting();
  static Task<> check(Checker& checker, std::shared_ptr<Entry> entry);
  void record(Entry& entry, CheckResult result);
  [[nodiscard]] Duration next_delay(const Entry& entry);

  net::Loop& loop_;
  Rng rng_;
  OnChange on_change_;
  std::map<TargetKey, std::shared_ptr<Entry>> entries_;
  std::array<Line, kLanes> waiting_;
  std::array<std::size_t, kLanes> running_{};
  TaskGroup tasks_;
  std::map<std::string, CheckCounts> counts_;
  std::uint64_t shortages_ = 0;
  bool stopped_ = false;
};

}  // namespace lbd::health
