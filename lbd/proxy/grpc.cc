#include "lbd/proxy/grpc.h"

#include <charconv>

namespace lbd::proxy {
namespace {

constexpr std::string_view kType = "application/grpc";
constexpr int kUnknownStatus = 17;

}  // namespace

bool is_grpc(const http::RequestHead& request) noexcept {
  if (request.version != http::Version::http_2 || request.method != http::Method::post) {
    return false;
  }
  const std::string_view type = http::first_value(request.headers, http::HeaderId::content_type);
  if (!http::equals_ignoring_case(type.substr(0, kType.size()), kType)) return false;
  return type.size() == kType.size() || type[kType.size()] == '+' || type[kType.size()] == ';';
}

int grpc_status(const std::vector<http::Header>& fields) noexcept {
  for (const http::Header& each : fields) {
    if (!http::equals_ignoring_case(each.name, "grpc-status")) continue;
    int status = 0;
    const char* last = each.value.data() + each.value.size();
    const auto [end, error] = std::from_chars(each.value.data(), last, status);
    const bool known = error == std::errc() && end == last && status >= 0 && status <= 16;
    return known ? status : kUnknownStatus;
  }
  return -1;
}

int grpc_status_of(int http_status) noexcept {
  switch (http_status) {
    case 400:
      return 13;  // INTERNAL
    case 401:
      return 16;  // UNAUTHENTICATED
    case 403:
      return 7;  // PERMISSION_DENIED
    case 404:
      return 12;  // UNIMPLEMENTED
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;  // UNAVAILABLE
    default:
      return 2;  // UNKNOWN
  }
}

bool is_grpc_failure(int status) noexcept {
  switch (status) {
    case -1:
    case 2:
    case 4:
    case 12:
    case 13:
    case 14:
    case 15:
    case kUnknownStatus:
      return true;
    default:
      return false;
  }
}

}  // namespace lbd::proxy
