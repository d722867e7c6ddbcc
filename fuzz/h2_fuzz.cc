// Any bytes as what an HTTP/2 client sends. Oracles: at once and in small pieces they make the same
// streams; a request that is accepted, written as HTTP/1.1, is read by the HTTP/1.1 reader as the
// same one request.
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/require.h"
#include "lbd/http/h1_head.h"
#include "lbd/http/h1_write.h"
#include "tests/support/h2_peer.h"

namespace {

using namespace lbd;
using namespace lbd::http;
using lbd::fuzz::require;

class Checking final : public h2::Server {
 public:
  using h2::Server::Server;
  void accepted(const RequestHead& request) override {
    std::vector<Header> fields{{"Host", request.authority, HeaderId::host}};
    for (const Header& each : request.headers) {
      const bool ours = each.id == HeaderId::host || each.id == HeaderId::content_length ||
                        each.id == HeaderId::te || each.id == HeaderId::expect;
      if (!ours) fields.push_back(each);
    }
    Buffer out(pool_);
    write_request_head(request, fields, out);
    const std::string text(out.view());
    require(text.find("\r\n\r\n") == text.size() - 4, "one head");
    RequestHead again;
    const Fault fault = parse_request_head(text, again);
    if (fault == Fault::unsupported) return;  // a method that only HTTP/2 lets pass
    require(fault == Fault::none, "HTTP/1.1 takes it");
    require(again.method_text == request.method_text, "the same method");
    require(again.target == request.target, "the same target");
    require(again.authority == request.authority, "the same authority");
    require(again.framing.kind == request.framing.kind &&
                again.framing.length == request.framing.length,
            "the same framing");
    const std::size_t framed = again.framing.kind == Framing::Kind::none ? 0 : 1;
    require(again.upgrade == request.upgrade, "the same upgrade");
    const std::size_t of_this_hop = (request.takes_trailers ? 1 : 0) +  // Connection: TE
                                    (request.upgrade.empty() ? 0 : 2);
    require(again.headers.size() == fields.size() + framed + of_this_hop, "the same fields");
  }
};

struct Ran {
  std::string events;
  bool over = false;  // nothing more was read: the client had said goodbye
};

Ran run(std::string_view bytes, std::size_t piece) {
  H2Limits limits;
  limits.head.head_bytes_max = 4096;
  limits.websocket = true;
  Checking server(limits);
  bool alive = server.take(std::string(h2::kPreface) + h2::frame(h2::kSettings, 0, 0));
  for (std::size_t at = 0; alive && at < bytes.size(); at += piece) {
    alive = server.take(bytes.substr(at, piece));
  }
  (void)server.sent();
  return {server.events, server.codec.over()};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Ran whole = run(bytes, bytes.size() + 1);
  for (const std::size_t piece : {1U, 13U}) {
    const Ran split = run(bytes, piece);
    require(split.over ? whole.events.starts_with(split.events) : split.events == whole.events,
            "in pieces it is the same");
  }
  return 0;
}
