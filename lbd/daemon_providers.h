// The providers a daemon can make, and what they share.
#pragma once

#include <memory>
#include <string>

#include "config/config.h"
#include "lbd/base/log.h"
#include "lbd/base/rng.h"
#include "lbd/control/plane.h"
#include "lbd/net/loop.h"
#include "scaler/provider.h"

namespace lbd {

/// Lifetime: outlives the providers it makes.
class Providers {
 public:
  Providers(net::Loop& loop, Log& log, Rng rng, std::string state_dir);
  ~Providers();
  Providers(const Providers&) = delete;
  Providers& operator=(const Providers&) = delete;

  std::unique_ptr<scaler::Provider> make(const config::ScalingGroup& group);
  /// Finds the node's zone when the configuration leaves it to us (zone: auto), and tells the
  /// plane.
  void find_zone(control::Plane& plane, const config::Node& node);

 private:
  net::Loop& loop_;
  Log& log_;
  Rng rng_;
  std::string state_dir_;
};

}  // namespace lbd
