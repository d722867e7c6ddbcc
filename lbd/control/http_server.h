// The control plane's small HTTP server (Boost.Beast): the admin API on a unix socket, metrics on
// TCP.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "lbd/base/result.h"
#include "lbd/net/address.h"
#include "lbd/net/loop.h"

namespace lbd::control {

struct ServerRequest {
  std::string method;
  std::string path;                          // without the query, percent-decoded
  std::map<std::string, std::string> query;  // decoded
  std::string accept;
  std::string body;
  bool may_write = false;  // the peer is root, lbd's own user, or in the socket's group
  std::string peer;        // "uid 0", "127.0.0.1"
};

struct ServerReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
};

/// Thread: the loop's. The handler runs on it and must not block for long.
class HttpServer {
 public:
  using Handler = std::function<ServerReply(const ServerRequest&)>;

  HttpServer(net::Loop& loop, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// A stale socket file (nobody answers) is replaced; a live one is an error. Mode 0660.
  Outcome<void> listen_unix(const std::string& path);
  Outcome<void> listen_tcp(const net::SocketAddress& address);
  /// Stops accepting, ends connections, removes the socket file.
  void close();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace lbd::control
