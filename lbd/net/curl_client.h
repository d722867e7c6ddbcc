// HttpClient over libcurl's multi interface. curl's sockets sit in an epoll set of their own, and
// the loop watches that one descriptor, so that neither side has to know when the other closes a
// socket.
#pragma once

#include <memory>

#include "lbd/net/http_client.h"
#include "lbd/net/loop.h"

namespace lbd::net {

/// Connections are kept and used again (64 at most). Headers go out exactly as given: none is
/// added but Host (when missing), Content-Length and nothing else.
///
/// Thread: the loop's. Lifetime: the loop outlives it. Destroying it, or `close`, ends every
/// exchange under way with the error "cancelled", inside that call. A task that it resumes may call
/// `close`, but not destroy it.
class CurlClient final : public HttpClient {
 public:
  explicit CurlClient(Loop& loop);
  ~CurlClient() override;
  CurlClient(const CurlClient&) = delete;
  CurlClient& operator=(const CurlClient&) = delete;

  Task<HttpReply> send(HttpRequest request) override;
  /// Ends what is under way; every later `send` fails at once.
  void close();

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace lbd::net
