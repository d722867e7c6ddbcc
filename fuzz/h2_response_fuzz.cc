// Any bytes as what an HTTP/2 server sends. Oracles: at once and in small pieces they make the same
// events; a response that is accepted, written as HTTP/1.1, is read by the HTTP/1.1 reader as the
// same one response.
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/require.h"
#include "lbd/http/h1_head.h"
#include "lbd/http/h1_write.h"
#include "tests/support/h2_target.h"

namespace {

using namespace lbd;
using namespace lbd::http;
using lbd::fuzz::require;

class Checking final : public h2::Client {
 public:
  using h2::Client::Client;
  void accepted(const ResponseHead& response, Method method) override {
    std::vector<Header> fields;
    for (const Header& each : response.headers) {
      if (each.id != HeaderId::content_length && each.id != HeaderId::te) fields.push_back(each);
    }
    Buffer out(pool_);
    write_status_line({response.status, {}}, out);
    write_headers(fields, out);
    std::size_t framed = 0;
    if (response.framing.kind == Framing::Kind::length) {
      write_content_length(response.framing.length, out);
      framed = 1;
    } else if (response.framing.kind == Framing::Kind::chunked) {
      write_header("Transfer-Encoding", "chunked", out);
      framed = 1;
    }
    end_head(out);
    const std::string text(out.view());
    require(text.find("\r\n\r\n") == text.size() - 4, "one head");
    ResponseHead again;
    require(parse_response_head(text, method, again) == Fault::none, "HTTP/1.1 takes it");
    require(again.status == response.status, "the same status");
    require(again.framing.kind == response.framing.kind, "the same framing");
    if (framed > 0) require(again.framing.length == response.framing.length, "the same length");
    require(again.headers.size() == fields.size() + framed, "the same fields");
  }
};

struct Ran {
  std::string events;
  bool over = false;  // nothing more was read
};

Ran run(std::string_view bytes, std::size_t piece) {
  H2Limits limits;
  limits.head.head_bytes_max = 4096;
  Checking client(limits);
  bool alive = client.greet();
  (void)client.ask();
  (void)client.ask(Method::head);
  (void)client.ask(Method::post, false);
  (void)client.sent();
  for (std::size_t at = 0; alive && at < bytes.size(); at += piece) {
    alive = client.take(bytes.substr(at, piece));
  }
  (void)client.sent();
  return {client.events, client.codec.over()};
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
