#include "health/checker.h"

#include <algorithm>

namespace lbd::health {
namespace {

/// While results speak against the verdict, the next check comes this much sooner, so that a dead
/// target is out within one interval (HAProxy's fastinter).
constexpr int kFastDivisor = 5;
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
  Timer timer;
  bool running = false;
  bool again = false;  // check_now came during a check
  bool gone = false;   // no longer to be checked
};

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
  if (found == entries_.end()) return;
  if (found->second->running) {
    found->second->again = true;
  } else {
    found->second->timer.set(loop_.clock().now());
  }
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
  for (const auto& [key, entry] : entries_) {
    entry->gone = true;
    entry->timer.cancel();
  }
}

void Checker::due(Entry& entry) {
  if (entry.running || entry.gone || stopped_) return;
  waiting_.push_back(entry.weak_from_this());
  start_waiting();
}

void Checker::start_waiting() {
  while (running_ < kProbesMax && !waiting_.empty()) {
    std::shared_ptr<Entry> entry = waiting_.front().lock();
    waiting_.pop_front();
    if (!entry || entry->gone || entry->running) continue;
    entry->running = true;
    ++running_;
    tasks_.spawn(check(*this, std::move(entry)));
  }
}

Task<> Checker::check(Checker& checker, std::shared_ptr<Entry> entry) {
  CheckResult result = co_await probe(checker.loop_, entry->target.address, entry->target.settings);
  entry->running = false;
  --checker.running_;
  if (!entry->gone) {
    if (result.failure == CheckFailure::own_shortage) {
      ++checker.shortages_;
    } else {
      checker.record(*entry, std::move(result));
    }
    const Duration delay = entry->again ? Duration(0) : checker.next_delay(*entry);
    entry->again = false;
    if (!entry->gone) entry->timer.set(checker.loop_.clock().now() + delay);
  }
  if (!checker.stopped_) checker.start_waiting();
}

void Checker::record(Entry& entry, CheckResult result) {
  const config::HealthCheck& settings = entry.target.settings;
  const bool first = !entry.verdict.checked;
  const bool passed = result.passed();
  entry.verdict.checked = true;
  ++entry.verdict.checks;
  if (!passed) ++entry.verdict.failures;
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
  const double spread = 1 + settings.jitter * (2 * rng_.unit() - 1);
  auto interval = static_cast<double>(settings.interval.count());
  if (entry.streak.against > 0) interval /= kFastDivisor;
  // A target that never passed is most likely starting: look often, users wait for it.
  if (entry.verdict.checks == entry.verdict.failures)
    interval = std::min(interval, kStartingIntervalMs);
  return std::chrono::microseconds(static_cast<std::int64_t>(interval * spread * 1000));
}

}  // namespace lbd::health
