// What changed between two configurations, as sentences for the reload log and `lbd diff`.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace lbd::config {

/// One sentence per change that means something, in the order node, listeners, target groups,
/// scaling groups: "target group 'web': added target 10.0.0.1:80". Empty when both mean the same;
/// moved lines, comments, files and the order of keys are no change. Pure.
[[nodiscard]] std::vector<std::string> diff(const Config& before, const Config& after);

}  // namespace lbd::config
