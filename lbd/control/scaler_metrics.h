// Metrics of a scaling group.
#pragma once

#include "lbd/control/families.h"
#include "scaler/status.h"

namespace lbd::control {

void collect_scaling_group(const scaler::GroupStatus& group, Families& out);

}  // namespace lbd::control
