// Trace context: by which fields a request is followed from service to service.
#pragma once

#include <string_view>
#include <vector>

#include "config/config.h"
#include "lbd/base/buffer.h"
#include "lbd/base/clock.h"
#include "lbd/base/rng.h"
#include "lbd/http/message.h"

namespace lbd::proxy {

/// The trace id of a traceparent of version 00, or of a later version as far as 00 goes (W3C Trace
/// Context §3.2); empty when it is not valid.
[[nodiscard]] std::string_view trace_id_of(std::string_view traceparent) noexcept;

/// What new fields are made from.
struct TraceSource {
  const config::TraceHeaders& policy;
  std::string_view id;  // the request's: the trace's too when it is one of 32 hex digits
  const Clock& clock;
  Rng& rng;
};

/// Changes `headers` by the policy. What is new is written to `text`, to which views point: it is
/// reserved here and must not grow while they hold. Nothing to do with all modes at `pass`.
void edit_trace(const TraceSource& source, Buffer& text, std::vector<http::Header>& headers);

}  // namespace lbd::proxy
