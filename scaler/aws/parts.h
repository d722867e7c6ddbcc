// What every part of the AWS client is given by the composition root.
#pragma once

#include "config/files.h"
#include "lbd/base/clock.h"
#include "lbd/base/log.h"
#include "lbd/base/rng.h"
#include "lbd/net/http_client.h"

namespace lbd::aws {

/// Thread: the control loop. Lifetime: each outlives whoever holds these parts.
struct AwsParts {
  Clock& clock;
  Log& log;
  Rng& rng;
  net::HttpClient& http;
  const config::FileReader& machine;  // environment variables and files
};

}  // namespace lbd::aws
