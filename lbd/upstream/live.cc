#include "lbd/upstream/live.h"

namespace lbd::upstream {

std::shared_ptr<LiveTarget> LiveState::target(const std::string& group, const std::string& address,
                                              const std::string& zone) {
  std::shared_ptr<LiveTarget>& found = targets_[{group, address}];
  // A target that moved to another zone is another machine behind the same address.
  if (!found || found->zone() != zone) {
    found = std::make_shared<LiveTarget>(group, address, zone, workers_);
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

void LiveState::collect_garbage() {
  const auto unused = [](const auto& entry) { return entry.second.use_count() == 1; };
  std::erase_if(targets_, unused);
  std::erase_if(groups_, unused);
  std::erase_if(routes_, unused);
  std::erase_if(listeners_, unused);
}

}  // namespace lbd::upstream
