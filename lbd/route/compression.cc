#include "lbd/route/compression.h"

namespace lbd::route {
namespace {

http::Coding coding_of(config::Coding coding) noexcept {
  switch (coding) {
    case config::Coding::gzip:
      return http::Coding::gzip;
    case config::Coding::br:
      return http::Coding::br;
    case config::Coding::zstd:
      return http::Coding::zstd;
  }
  return http::Coding::identity;
}

http::Effort effort_of(config::Effort effort) noexcept {
  switch (effort) {
    case config::Effort::low:
      return http::Effort::low;
    case config::Effort::medium:
      return http::Effort::medium;
    case config::Effort::high:
      return http::Effort::high;
  }
  return http::Effort::medium;
}

}  // namespace

Compression::Compression(const config::Compression& settings)
    : types(settings.types, Letters::any_case),
      bytes_min(settings.bytes_min),
      effort(effort_of(settings.effort)) {
  for (const config::Coding each : settings.algorithms) codings.push_back(coding_of(each));
}

}  // namespace lbd::route
