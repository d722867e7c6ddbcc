// An HttpClient that answers from a script and remembers what it was asked.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lbd/base/clock.h"
#include "lbd/net/http_client.h"

namespace lbd {

/// Each request takes the next reply of the script; when that is empty, `otherwise` decides. With
/// `delay` set, a reply takes that long on `clock`.
class FakeHttp final : public net::HttpClient {
 public:
  explicit FakeHttp(Clock& clock) : clock_(clock) {}

  Task<net::HttpReply> send(net::HttpRequest request) override {
    requests.push_back(std::move(request));
    net::HttpReply reply;
    if (!script.empty()) {
      reply = std::move(script.front());
      script.pop_front();
    } else if (otherwise) {
      reply = otherwise(requests.back());
    } else {
      reply.error = "connection refused";
    }
    if (delay > Duration::zero()) co_await sleep_for(clock_, delay);
    co_return std::move(reply);
  }

  static net::HttpReply answer(int status, std::string body) {
    net::HttpReply reply;
    reply.status = status;
    reply.body = std::move(body);
    reply.sent = true;
    return reply;
  }
  static net::HttpReply broken(std::string error, bool sent) {
    net::HttpReply reply;
    reply.error = std::move(error);
    reply.sent = sent;
    return reply;
  }

  std::deque<net::HttpReply> script;
  std::function<net::HttpReply(const net::HttpRequest&)> otherwise;
  std::vector<net::HttpRequest> requests;
  Duration delay{};

 private:
  Clock& clock_;
};

/// A header of a request, "" when it has none.
inline std::string header_of(const net::HttpRequest& request, std::string_view name) {
  for (const auto& [key, value] : request.headers) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace lbd
