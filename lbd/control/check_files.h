// The files that a configuration names, for `lbd check`.
#pragma once

#include <vector>

#include "config/config.h"
#include "config/problem.h"

namespace lbd::control {

/// Reads the certificates, keys and authorities of listeners and target groups: each that cannot be
/// used is a problem, at its place in the configuration. Blocks on the disk.
[[nodiscard]] std::vector<config::Problem> check_files(const config::Config& config);

}  // namespace lbd::control
