// /metrics, /healthz and /readyz. Names and labels: docs/reference/metrics.md.
#pragma once

#include <prometheus/collectable.h>

#include "lbd/control/http_server.h"

namespace lbd::control {

class Plane;

/// Sums what the workers count and what the control plane knows, at scrape time. Thread: the
/// control loop's.
class Collector final : public prometheus::Collectable {
 public:
  explicit Collector(Plane& plane) : plane_(plane) {}
  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  Plane& plane_;
};

[[nodiscard]] ServerReply answer_metrics(Plane& plane, const ServerRequest& request);

}  // namespace lbd::control
