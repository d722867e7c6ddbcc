#include "lbd/upstream/live.h"

#include "lbd/upstream/sticky.h"

namespace lbd::upstream {

std::string_view mirror_outcome_name(MirrorOutcome outcome) noexcept {
  static constexpr std::array<std::string_view, kMirrorOutcomes> kNames{
      "answered",  "connect_failed", "timed_out", "failed",
      "no_target", "body_too_large", "body_cut",  "overload"};
  return kNames[static_cast<std::size_t>(outcome)];
}

std::shared_ptr<LiveTarget> LiveState::target(const std::string& group, const std::string& address,
                                              const std::string& zone, const std::string& host) {
  std::shared_ptr<LiveTarget>& found = targets_[{group, address}];
  // A target that moved to another zone is another machine behind the same address; connections to
  // one of another name have seen another certificate.
  if (!found || found->zone() != zone || found->host() != host) {
    if (found) replaced_.push_back(std::move(found));
    found = std::make_shared<LiveTarget>(group, address, zone, workers_);
    found->set_host(host);
  }
  return found;
}

std::shared_ptr<LiveGroup> LiveState::group(const std::string& name) {
  std::shared_ptr<LiveGroup>& found = groups_[name];
  if (!found) found = std::make_shared<LiveGroup>(name, workers_);
  return found;
}

std::shared_ptr<LiveRoute> LiveState::route(const std::string& listener, const std::string& rule) {
  std::shared_ptr<LiveRoute>& found = routes_[{listener, rule}];
  if (!found) found = std::make_shared<LiveRoute>(listener, rule, workers_);
  return found;
}

std::shared_ptr<LiveListener> LiveState::listener(const std::string& name) {
  std::shared_ptr<LiveListener>& found = listeners_[name];
  if (!found) found = std::make_shared<LiveListener>(name, workers_);
  return found;
}

std::shared_ptr<RateTable> LiveState::rates(const std::string& key, std::size_t keys_max) {
  std::shared_ptr<RateTable>& found = rates_[key];
  if (!found) found = std::make_shared<RateTable>(keys_max, seed_);
  return found;
}

std::shared_ptr<FlightTable> LiveState::flights(const std::string& key, std::size_t keys_max) {
  std::shared_ptr<FlightTable>& found = flights_[key];
  if (!found) found = std::make_shared<FlightTable>(keys_max, seed_);
  return found;
}

std::map<std::string, std::uint64_t> LiveState::rate_evictions() const {
  std::map<std::string, std::uint64_t> sums;
  for (const auto& [key, table] : rates_) {
    sums[key.substr(0, key.find('\n'))] += table->evictions();
  }
  return sums;
}

const std::string& LiveState::sticky_token(LiveTarget& target) const {
  std::string& token = target.sticky_token;
  if (token.empty()) {
    token = upstream::sticky_token(cookie_key_, target.group(), target.address());
  }
  return token;
}

void ZoneTotals::add(const LiveTarget& target) noexcept {
  for (const TargetLoad& load : target.loads()) {
    for (std::size_t digit = 0; digit < responses.size(); ++digit) {
      responses[digit] += load.responses[digit].get();
    }
    response.add(load.response);
    connect.add(load.connect);
  }
}

std::map<std::pair<std::string, std::string>, ZoneTotals> LiveState::zone_totals() const {
  std::map<Key, ZoneTotals> totals = gone_;
  for (const auto& [key, target] : targets_) totals[{target->group(), target->zone()}].add(*target);
  for (const auto& target : replaced_) totals[{target->group(), target->zone()}].add(*target);
  return totals;
}

void LiveState::collect_garbage() {
  const auto unused = [](const auto& entry) { return entry.second.use_count() == 1; };
  const auto retire = [this](const std::shared_ptr<LiveTarget>& target) {
    if (target.use_count() > 1) return false;
    gone_[{target->group(), target->zone()}].add(*target);
    return true;
  };
  std::erase_if(targets_, [&](const auto& entry) { return retire(entry.second); });
  std::erase_if(replaced_, retire);
  std::erase_if(groups_, unused);
  std::erase_if(gone_, [this](const auto& entry) { return !groups_.contains(entry.first.first); });
  std::erase_if(routes_, unused);
  std::erase_if(listeners_, unused);
  std::erase_if(rates_, unused);
  std::erase_if(flights_, unused);
}

}  // namespace lbd::upstream
