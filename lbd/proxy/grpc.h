// What of gRPC over HTTP/2 a proxy has to know.
#pragma once

#include <string_view>
#include <vector>

#include "lbd/http/message.h"

namespace lbd::proxy {

/// By its content-type: application/grpc, with a suffix or not; gRPC-Web is plain HTTP.
[[nodiscard]] bool is_grpc(const http::RequestHead& request) noexcept;
/// grpc-status among the fields, 0..16; 17: one that gRPC does not know; -1: there is none.
[[nodiscard]] int grpc_status(const std::vector<http::Header>& fields) noexcept;
/// What an HTTP status that lbd would answer with means to a client (gRPC's
/// http-grpc-status-mapping).
[[nodiscard]] int grpc_status_of(int http_status) noexcept;
/// Counted like a 5xx: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS,
/// or none at all.
[[nodiscard]] bool is_grpc_failure(int status) noexcept;

}  // namespace lbd::proxy
