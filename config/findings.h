// What the cross checks have found, and where. Internal to config/.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/problem.h"
#include "config/validate.h"

namespace lbd::config {

class Findings {
 protected:
  explicit Findings(const Places& places) : places_(places) {}

  /// The place of a path, or of the nearest thing around it.
  [[nodiscard]] Place place(std::string path) const {
    while (true) {
      const auto found = places_.find(path);
      if (found != places_.end()) return found->second;
      const auto cut = path.find_last_of(".[");
      if (cut == std::string::npos) return {};
      path.resize(cut);
    }
  }
  [[nodiscard]] bool written(const std::string& path) const { return places_.contains(path); }

  void error(const std::string& path, std::string_view code, std::string message,
             std::string hint = {}) {
    problems_.push_back(problem_at(place(path), code, std::move(message), std::move(hint)));
  }
  void warning(const std::string& path, std::string_view code, std::string message,
               std::string hint = {}) {
    problems_.push_back(warning_at(place(path), code, std::move(message), std::move(hint)));
  }

  /// A name as it may be shown: not when it came out of ${env:} or ${file:}.
  [[nodiscard]] std::string shown(const std::string& path, const std::string& name) const {
    return place(path).secret ? "<redacted>" : "'" + name + "'";
  }

  template <class Map>
  static std::vector<std::string> names_of(const Map& map) {
    std::vector<std::string> names;
    names.reserve(map.size());
    for (const auto& [name, value] : map) names.push_back(name);
    return names;
  }

  const Places& places_;
  std::vector<Problem> problems_;
};

struct ListenerFindings {
  std::vector<Problem> problems;
  std::set<std::string> target_groups;  // that something forwards to
};
/// Listeners with their rules; see validate().
[[nodiscard]] ListenerFindings validate_listeners(const Config& config, const Places& places);
/// What has no meaning at layer 4, and what does not fit together; see validate().
[[nodiscard]] std::vector<Problem> validate_layer4(const Config& config, const Places& places);

}  // namespace lbd::config
