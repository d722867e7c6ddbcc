// Checks that concern more than one value: references, bounds, duplicates, what can never happen.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/problem.h"

namespace lbd::config {

/// Place of every value by its path ("target_groups.web.port", "listeners.a.rules[0].then").
using Places = std::map<std::string, Place>;

/// Pure. A value without a place in `places` is reported at the nearest one around it; with no
/// places at all (a Config that was not read from files) problems have line 0.
[[nodiscard]] std::vector<Problem> validate(const Config& config, const Places& places);

}  // namespace lbd::config
