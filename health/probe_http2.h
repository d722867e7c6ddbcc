// One health check's request over HTTP/2, and gRPC's own check.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/base/task.h"
#include "lbd/http/message.h"
#include "lbd/net/stream.h"

namespace lbd::health {

struct Http2Question {
  http::RequestHead head;  // method, path
  std::vector<http::Header> headers;
  std::string_view scheme;
  std::string body;
};

/// What came of it; the body's first 64 KiB.
struct Http2Answer {
  net::IoResult io;        // of the connection
  bool not_http2 = false;  // the target broke the rules, or does not know them
  bool reset = false;      // the target gave the request up
  int status = 0;          // 0: no response
  double cpu = -1;         // see CheckResult
  int grpc_status = -1;    // in the trailers or the head; -1: none
  std::string body;
};

/// One request on a connection of its own. Ends with the response, or with the connection.
/// Lifetime: `question` outlives the task.
[[nodiscard]] Task<Http2Answer> ask_http2(net::Stream& stream, const Http2Question& question);

/// HealthCheckRequest as a message of gRPC.
[[nodiscard]] std::string grpc_health_request(std::string_view service);
/// `status` of the HealthCheckResponse in a body of gRPC; -1: it is none. 1 is SERVING.
[[nodiscard]] int grpc_health_status(std::string_view body) noexcept;

}  // namespace lbd::health
