// What a session says of bytes that are no request.
#include "lbd/proxy/h1_session.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {
namespace {

constexpr std::size_t kMethodBytesMax = 64;

}  // namespace

/// Leaves nothing in head_ but what a log may say of the request: its method and target, as far as
/// `bytes` begin with a request line.
Fault H1Session::refused(Fault fault, http::DesyncReason why, std::string_view bytes) noexcept {
  head_.clear();
  head_.desync = why;
  const std::string_view line = bytes.substr(0, bytes.find_first_of("\r\n"));
  const std::size_t method_end = line.find(' ');
  if (method_end > kMethodBytesMax || !http::is_token(line.substr(0, method_end))) return fault;
  head_.method_text = line.substr(0, method_end);
  const std::string_view rest = line.substr(method_end + 1);
  head_.target = rest.substr(0, rest.find(' '));
  return fault;
}

}  // namespace lbd::proxy
