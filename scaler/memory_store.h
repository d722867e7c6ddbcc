// A Store that lives as long as the process: for `simulate` and the tests' simulation.
#pragma once

#include <algorithm>
#include <map>

#include "scaler/store.h"

namespace lbd::scaler {

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(std::string identity) : identity_(std::move(identity)) {}

  [[nodiscard]] const std::string& identity() const override { return identity_; }
  [[nodiscard]] std::uint64_t last_decision() const override {
    return decisions_.empty() ? 0 : decisions_.rbegin()->first;
  }
  [[nodiscard]] Outcome<SavedGroup> load(const std::string& group) override {
    SavedGroup saved;
    const auto state = groups_.find(group);
    if (state != groups_.end()) saved.state = state->second;
    const auto served = served_.find(group);
    if (served != served_.end()) saved.served = served->second;
    for (const auto& [key, intent] : intents_) {
      if (intent.group == group && intent.live()) saved.live.push_back(intent);
    }
    return saved;
  }
  [[nodiscard]] Outcome<void> save(const Batch& batch) override {
    for (const Decision& each : batch.decisions) decisions_[each.id] = each;
    for (const Intent& each : batch.intents) intents_[each.key()] = each;
    for (const GroupState& each : batch.groups) groups_[each.group] = each;
    for (const ServedList& each : batch.served) served_[each.group] = each.instances;
    return {};
  }
  [[nodiscard]] Outcome<std::vector<Decision>> decisions(const HistoryQuery& query) override {
    std::vector<Decision> rows;
    for (auto each = decisions_.rbegin(); each != decisions_.rend(); ++each) {
      const Decision& row = each->second;
      if (query.before_id != 0 && row.id >= query.before_id) continue;
      if (!query.group.empty() && row.group != query.group) continue;
      if (query.acted_only && !row.acted) continue;
      rows.push_back(row);
      if (rows.size() >= query.rows_max) break;
    }
    return rows;
  }
  [[nodiscard]] Outcome<std::optional<Decision>> decision(std::uint64_t id) override {
    const auto found = decisions_.find(id);
    std::optional<Decision> row;
    if (found != decisions_.end()) row = found->second;
    return row;
  }
  [[nodiscard]] Outcome<std::optional<Intent>> intent(const std::string& key) override {
    const auto found = intents_.find(key);
    std::optional<Intent> row;
    if (found != intents_.end()) row = found->second;
    return row;
  }
  [[nodiscard]] Outcome<void> prune(WallTime oldest, std::uint64_t rows_max) override {
    std::erase_if(decisions_, [&](const auto& row) {
      return row.second.last < oldest && row.first != last_decision();
    });
    while (decisions_.size() > rows_max) decisions_.erase(decisions_.begin());
    std::erase_if(intents_, [&](const auto& row) {
      return !row.second.live() && row.second.updated < oldest;
    });
    return {};
  }
  [[nodiscard]] const std::map<std::string, Intent>& intents() const { return intents_; }

 private:
  std::string identity_;
  std::map<std::uint64_t, Decision> decisions_;
  std::map<std::string, Intent> intents_;
  std::map<std::string, GroupState> groups_;
  std::map<std::string, std::vector<ServedInstance>> served_;
};

}  // namespace lbd::scaler
