#include "health/checker.h"

#include <algorithm>

namespace lbd::health {
namespace {

/// While results speak against the verdict, the next check comes this much sooner (HAProxy's
/// fastinter).
constexpr int kFastDivisor = 5;
/// From the first failure of a target that is up, the failures that take it out fit into about this
/// time, its own usual time permitting: they come closer together and wait less.
constexpr std::chrono::milliseconds kToDown{1000};
constexpr std::chrono::milliseconds kQuickTimeoutMin{250};
constexpr std::chrono::milliseconds kPauseMin{50};
/// A quick check waits at least this many times as long as a passing check has taken.
constexpr int kUsualTimes = 3;
constexpr double kUsualDecay = 0.9;
constexpr std::chrono::seconds kDoubtPause{1};
constexpr double kStartingIntervalMs = 1000;
/// New targets are first checked at this rate at most.
constexpr double kFirstChecksPerSecond = 2000;

}  // namespace

struct Checker::Entry : std::enable_shared_from_this<Checker::Entry> {
  Entry(Checker& checker, CheckedTarget checked)
      : owner(checker),
        target(std::move(checked)),
        timer(checker.loop_.clock(), this, &Entry::fire) {}
  static void fire(void* self) {
    auto* entry = static_cast<Entry*>(self);
    entry->owner.due(*entry);
  }

  Checker& owner;
  CheckedTarget target;
  Verdict verdict;
  Streak streak;
  [[nodiscard]] bool suspect() const noexcept {
    return streak.up && (doubted || streak.against > 0);
  }
  [[nodiscard]] Lane lane_now() const noexcept {
    if (!verdict.checked) return Lane::fresh;
    return streak.up && streak.against == 0 ? Lane::steady : Lane::failing;
  }

  Timer timer;
  Lane lane = Lane::fresh;  // it waits or runs in
  Rank rank;                // while waiting
  TimePoint doubted_at = TimePoint::min();
  Duration usual{};        // what a passing check takes at most, lately
  Probe* probe = nullptr;  // under way
  bool waiting = false;    // for a probe
  bool urgent = false;     // the next check is
  bool doubted = false;    // and has little patience
  bool again = false;      // check_now came during a check
  bool gone = false;       // no longer to be checked
};

namespace {

/// The settings of a check of a target that may be going down.
config::HealthCheck quick(config::HealthCheck settings, Duration usual) {
  const auto share = kToDown / std::max(1U, settings.unhealthy - 1);
  const auto patient = std::chrono::duration_cast<std::chrono::milliseconds>(kUsualTimes * usual);
  settings.timeout = std::min(settings.timeout, std::max({share, kQuickTimeoutMin, patient}));
  return settings;
}

}  // namespace

Checker::Checker(net::Loop& loop, Rng rng, OnChange on_change)
    : loop_(loop), rng_(rng), on_change_(std::move(on_change)) {}

Checker::~Checker() = default;

void Checker::apply(const std::vector<CheckedTarget>& targets) {
  std::map<TargetKey, std::shared_ptr<Entry>> next;
  std::size_t fresh = 0;
  for (const CheckedTarget& target : targets) {
    const auto found = entries_.find(target.key);
    if (found != entries_.end()) {
      Entry& entry = *found->second;
      entry.target = target;
      // A shorter interval holds from now on, not after the last one of the longer.
      const TimePoint latest = loop_.clock().now() + target.settings.interval;
      if (entry.timer.is_set() && entry.timer.due() > latest) entry.timer.set(latest);
      next.emplace(target.key, found->second);
      continue;
    }
    auto entry = std::make_shared<Entry>(*this, target);
    entry->verdict.since = loop_.clock().wall();
    const double spread = std::min(static_cast<double>(fresh++) / kFirstChecksPerSecond,
                                   static_cast<double>(target.settings.interval.count()) / 1000);
    entry->timer.set(loop_.clock().now() +
                     std::chrono::microseconds(static_cast<std::int64_t>(spread * 1e6)));
    next.emplace(target.key, std::move(entry));
  }
  for (const auto& [key, entry] : entries_) {
    if (next.contains(key)) continue;
    entry->gone = true;
    entry->timer.cancel();
  }
  entries_ = std::move(next);
}

void Checker::check_now(const TargetKey& key) {
  const auto found = entries_.find(key);
  if (found != entries_.end()) advance(*found->second);
}

void Checker::doubt(const TargetKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  Entry& entry = *found->second;
  const TimePoint now = loop_.clock().now();
  if (entry.probe != nullptr || entry.doubted_at > now - kDoubtPause) return;
  entry.doubted_at = now;
  entry.doubted = true;
  advance(entry);
}

void Checker::advance(Entry& entry) {
  if (entry.gone || stopped_) return;
  if (entry.probe != nullptr) {
    entry.again = true;
    return;
  }
  entry.urgent = true;
  if (!entry.waiting) {
    entry.timer.set(loop_.clock().now());
    return;
  }
  Line& line = line_of(entry);
  const auto [first, last] = line.equal_range(entry.rank);
  line.erase(
      std::find_if(first, last, [&](const auto& each) { return each.second.get() == &entry; }));
  wait_in_line(entry);
}

const Verdict* Checker::find(const TargetKey& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second->verdict;
}

bool Checker::first_round_done() const {
  return std::all_of(entries_.begin(), entries_.end(),
                     [](const auto& entry) { return entry.second->verdict.checked; });
}

void Checker::stop() {
  stopped_ = true;
  for (Line& line : waiting_) line.clear();
  for (const auto& [key, entry] : entries_) {
    entry->gone = true;
    entry->timer.cancel();
    if (entry->probe != nullptr) entry->probe->cancel();
  }
}

Checker::Line& Checker::line_of(const Entry& entry) noexcept {
  return waiting_[static_cast<std::size_t>(entry.lane)];
}

void Checker::due(Entry& entry) {
  if (entry.probe != nullptr || entry.waiting || entry.gone || stopped_) return;
  wait_in_line(entry);
  start_waiting();
}

void Checker::wait_in_line(Entry& entry) {
  entry.waiting = true;
  entry.lane = entry.lane_now();
  const bool urgent = entry.urgent || entry.suspect();
  entry.rank = {!urgent, loop_.clock().now()};
  line_of(entry).emplace(entry.rank, entry.shared_from_this());
}

void Checker::start_waiting() {
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    Line& line = waiting_[lane];
    while (running_[lane] < kProbesMax[lane] && !line.empty()) {
      std::shared_ptr<Entry> entry = std::move(line.begin()->second);
      line.erase(line.begin());
      entry->waiting = false;
      if (entry->gone) continue;
      ++running_[lane];
      tasks_.spawn(check(*this, std::move(entry)));
    }
  }
}

Task<> Checker::check(Checker& checker, std::shared_ptr<Entry> entry) {
  Probe probe(checker.loop_);
  entry->probe = &probe;
  config::HealthCheck settings = entry->target.settings;
  if (entry->suspect()) settings = quick(std::move(settings), entry->usual);
  entry->urgent = entry->doubted = false;
  net::TcpDial::To to{entry->target.address, entry->target.tls, entry->target.greeting};
  CheckResult result = co_await probe.run(std::move(to), std::move(settings));
  entry->probe = nullptr;
  --checker.running_[static_cast<std::size_t>(entry->lane)];
  if (!entry->gone) {
    if (result.failure == CheckFailure::own_shortage) {
      ++checker.shortages_;
    } else {
      checker.record(*entry, std::move(result));
    }
  }
  if (!entry->gone) {
    entry->urgent = entry->again;
    const Duration delay = entry->again ? Duration(0) : checker.next_delay(*entry);
    entry->again = false;
    entry->timer.set(checker.loop_.clock().now() + delay);
  }
  if (!checker.stopped_) checker.start_waiting();
}

void Checker::record(Entry& entry, CheckResult result) {
  const config::HealthCheck& settings = entry.target.settings;
  const bool first = !entry.verdict.checked;
  const bool passed = result.passed();
  entry.verdict.checked = true;
  ++entry.verdict.checks;
  CheckCounts& counts = counts_[entry.target.key.first];
  ++(passed ? counts.passed : counts.failed);
  const std::chrono::microseconds took(result.duration_us);
  if (!passed) {
    ++entry.verdict.failures;
  } else {
    const Duration before = std::chrono::duration_cast<Duration>(entry.usual * kUsualDecay);
    entry.usual = std::max<Duration>(took, before);
  }
  // A new target serves after its first pass (ALB's rule); one that was down needs `healthy` in a
  // row.
  const bool never_up =
      entry.verdict.checks == entry.verdict.failures + (passed ? 1 : 0) && !entry.verdict.up;
  const Thresholds thresholds{never_up ? 1 : settings.healthy, settings.unhealthy};
  const bool flipped = observe(entry.streak, passed, thresholds);
  entry.verdict.up = entry.streak.up;
  entry.verdict.against = entry.streak.against;
  entry.verdict.last = std::move(result);
  entry.verdict.last_at = loop_.clock().now();
  if (flipped) entry.verdict.since = loop_.clock().wall();
  const bool given_up = never_up && entry.verdict.failures == settings.unhealthy;
  if (flipped || first || given_up) on_change_(entry.target.key, entry.verdict);
}

Duration Checker::next_delay(const Entry& entry) {
  const config::HealthCheck& settings = entry.target.settings;
  if (entry.suspect()) {
    const Duration soon = std::min<Duration>(settings.interval / kFastDivisor,
                                             kToDown / std::max(1U, settings.unhealthy));
    const std::chrono::microseconds took(entry.verdict.last.duration_us);
    return std::max<Duration>(std::min<Duration>(kPauseMin, soon), soon - took);
  }
  const double spread = 1 + settings.jitter * (2 * rng_.unit() - 1);
  auto interval = static_cast<double>(settings.interval.count());
  if (entry.streak.against > 0) interval /= kFastDivisor;
  // A target that never passed is most likely starting: look often, users wait for it.
  if (entry.verdict.checks == entry.verdict.failures)
    interval = std::min(interval, kStartingIntervalMs);
  return std::chrono::microseconds(static_cast<std::int64_t>(interval * spread * 1000));
}

}  // namespace lbd::health
