// The admin API: JSON over the unix socket. Reads are GET, everything that changes something is
// POST.
#pragma once

#include "lbd/control/http_server.h"

namespace lbd::control {

class Plane;

/// GET /v1/status · /v1/targets · /v1/why?id=&limit= · /v1/scale/status ·
/// /v1/scale/history?group=&limit=&acted= · /v1/scale/decision?id= · POST /v1/reload ·
/// /v1/targets/drain?target=&group= · /v1/targets/undrain · /v1/scale/set?group=&desired= ·
/// /v1/scale/pause?group=&seconds=. Errors are {"error": "sentence"}. Thread: the control loop's.
[[nodiscard]] ServerReply answer_admin(Plane& plane, const ServerRequest& request);

}  // namespace lbd::control
