// The providers a daemon can make, and what they share: the HTTP client, AWS call counters,
// scrapers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "config/config.h"
#include "config/files.h"
#include "lbd/base/event.h"
#include "lbd/base/log.h"
#include "lbd/base/rng.h"
#include "lbd/control/families.h"
#include "lbd/control/plane.h"
#include "lbd/net/curl_client.h"
#include "lbd/net/loop.h"
#include "scaler/aws/imds.h"
#include "scaler/ec2/ec2_provider.h"
#include "scaler/node_exporter.h"
#include "scaler/provider.h"

namespace lbd {

/// What tells this lbd's instances from those of others.
struct Household {
  std::string state_dir;                    // of processes
  std::function<std::string()> deployment;  // tag of EC2 instances; empty: not known yet
};

/// Thread: the control loop. Lifetime: outlives the plane and the providers it makes.
class Providers {
 public:
  Providers(net::Loop& loop, Log& log, Rng rng, Household household);
  ~Providers();
  Providers(const Providers&) = delete;
  Providers& operator=(const Providers&) = delete;

  std::unique_ptr<scaler::Provider> make(const config::ScalingGroup& group);
  /// Finds the node's zone when the configuration leaves it to us (zone: auto), and tells the
  /// plane. Asks until it is told.
  void find_zone(control::Plane& plane, const config::Node& node);
  /// Scrapes CPU figures of instances whose groups want them.
  void every_second(control::Plane& plane);
  void collect(control::Families& out) const;
  /// Ends every call under way; none can be made after.
  void cancel_calls();

 private:
  Task<> ask_zone(control::Plane& plane);

  net::Loop& loop_;
  Log& log_;
  Rng rng_;
  Household household_;
  config::DiskReader machine_;
  net::CurlClient http_;
  scaler::ec2::Ec2Parts ec2_;
  aws::Imds imds_;
  struct Scraper {
    std::unique_ptr<scaler::NodeExporterScraper> scraper;
    std::uint16_t port = 0;
    std::string path;
  };
  void drop_unwanted(const config::Config& config);
  static Task<> end(std::unique_ptr<scaler::NodeExporterScraper> scraper);

  std::map<std::string, Scraper> scrapers_;  // by scaling group
  Event over_;                               // no call may be made any more
  TaskGroup tasks_;
};

}  // namespace lbd
