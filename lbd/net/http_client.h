// The control plane's HTTP client (AWS, IMDS, metrics scrapes): libcurl's multi interface on a
// Loop.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lbd/base/clock.h"
#include "lbd/base/task.h"

namespace lbd::net {

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;  // sent as they are, Host included
  std::string body;
  Duration connect_timeout = std::chrono::seconds(2);
  Duration timeout = std::chrono::seconds(10);  // whole exchange
  std::size_t reply_bytes_max = 8 << 20;
  bool verify_tls = true;
  std::string ca_file;  // empty: the system's
};

struct HttpReply {
  /// 0: no reply (see `error`). `sent` tells whether the request may have reached the peer.
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  std::string error;  // "connection refused", "timed out after 10 s", …
  bool sent = false;  // at least one byte of the request left, or may have left

  [[nodiscard]] std::string_view header(std::string_view lower_case_name) const;
};

/// Thread: one loop's. No redirects are followed, no proxy and no .netrc is read, HTTP/1.1 only.
class HttpClient {
 public:
  virtual ~HttpClient() = default;
  virtual Task<HttpReply> send(HttpRequest request) = 0;
};

}  // namespace lbd::net
