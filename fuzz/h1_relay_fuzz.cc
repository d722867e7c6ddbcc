// Any bytes as a request with its body, through all that lbd does with it, up to the bytes for the
// target. Oracles, by a second reader that shares no code (second_reader.h): it reads what lbd
// accepted as the same message, to the same byte; it reads exactly one message from what lbd sends,
// with the same method, target, body and end-to-end fields, and nothing behind it; any split of the
// body gives the same bytes.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "fuzz/require.h"
#include "fuzz/second_reader.h"
#include "lbd/http/body_reader.h"
#include "lbd/http/h1_write.h"
#include "lbd/http/target.h"
#include "lbd/proxy/headers.h"
#include "tests/support/heads.h"

namespace {

using namespace lbd;
using namespace lbd::http;
using lbd::fuzz::require;

struct Body {
  std::string data;
  std::vector<std::pair<std::string, std::string>> trailers;
  std::size_t consumed = 0;
  bool done = false;
  bool bad = false;
  std::string sent;  // as written for the target
};

/// Reads the body in pieces of `step` bytes and writes each as it comes, as the two sides do.
Body pass_on(const RequestHead& head, std::string_view bytes, std::size_t step) {
  Body out;
  BodyReader reader;
  reader.start(head.framing);
  out.done = reader.done();
  const bool chunked = head.framing.kind == Framing::Kind::chunked;
  BufferPool pool;
  std::array<char, 20> size{};
  while (!out.done && out.consumed < bytes.size()) {
    const BodyReader::Step taken = reader.step(bytes.substr(out.consumed, step));
    out.bad = taken.bad || taken.bad_trailer;
    if (out.bad) return out;
    out.consumed += taken.consumed;
    out.data += taken.data;
    out.done = reader.done();
    if (chunked && !taken.data.empty()) out.sent += chunk_size_line(taken.data.size(), size);
    out.sent += taken.data;
    Buffer room(pool);
    if (chunked && (out.done || !taken.data.empty())) {
      out.sent += chunk_end(!taken.data.empty(), out.done, reader.trailers(), room);
    }
  }
  if (reader.trailers() == nullptr) return out;
  for (const Header& each : *reader.trailers()) {
    out.trailers.emplace_back(second::lower(each.name), each.value);
  }
  return out;
}

std::string sent_head(const RequestHead& head) {
  proxy::ClientInfo client;
  client.peer_ip = "192.0.2.1";
  const config::ForwardedHeaders policy;
  BufferPool pool;
  Buffer scratch(pool);
  Buffer out(pool);
  std::vector<Header> fields;
  proxy::request_headers({head, client, policy, "an-id", "1.1 lbd"}, scratch, fields);
  write_request_head(head, fields, out);
  return std::string(out.view());
}

/// What lbd took for the message is what everyone would.
void check_read(const second::Message& plain, const RequestHead& head, const Body& body,
                std::size_t head_size) {
  require(plain.method == head.method_text, "the readers disagree on the method");
  require(plain.target == head.target, "the readers disagree on the target");
  require(plain.fields.size() == head.headers.size(), "the readers disagree on the fields");
  require(plain.body == body.data, "the readers disagree on the body");
  require(plain.size == head_size + body.consumed, "the readers disagree on the end");
}

void check_sent(const std::string& sent, const RequestHead& head, const Body& body) {
  const auto plain = second::read(sent);
  require(plain.has_value(), "what is sent is no message");
  require(plain->size == sent.size(), "something is sent behind the message");
  require(plain->version == "HTTP/1.1" && plain->method == head.method_text, "another first line");
  std::string target(head.path);
  if (head.target.find('?') != std::string_view::npos) target += "?" + std::string(head.query);
  require(plain->target == target, "another target is sent");
  require(plain->target[0] == '/' || plain->target == "*", "the target is not in origin-form");
  require(second::all(plain->fields, "host") == std::vector{std::string(head.authority)},
          "another Host is sent");
  require(plain->body == body.data && plain->trailers == body.trailers, "another body is sent");
  for (const char* name : {"keep-alive", "proxy-connection", "expect", "content_length"}) {
    require(second::all(plain->fields, name).empty(), "a field of this hop is sent on");
  }
  for (const auto& [name, value] : plain->fields) {
    const HeaderId id = header_id(name);
    require(id != HeaderId::client_certificate, "a client vouches for itself");
    require(id != HeaderId::other || !is_lookalike(name), "a look-alike is sent on");
  }
  for (const auto& [name, value] : plain->trailers) {
    const bool frames = name == "content-length" || name == "transfer-encoding" || name == "host";
    require(!frames, "a trailer that frames is sent on");
  }
  HeadLimits roomy;  // lbd's own fields come on top
  roomy.headers_max *= 2;
  roomy.first_line_bytes_max *= 2;
  roomy.line_bytes_max *= 2;
  roomy.head_bytes_max *= 2;
  const ParsedRequest again = parse_request(sent, roomy);
  require(again.fault == Fault::none, "what lbd sends, it would not accept");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (text.empty()) return 0;
  const ParsedRequest parsed = parse_request(text);
  if (parsed.fault != Fault::none) return 0;
  const std::size_t head_size = scan_in_steps(text, size, HeadLimits{}).length;
  const std::string_view rest = std::string_view(text).substr(head_size);
  const Body whole = pass_on(parsed.head, rest, size + 1);
  for (const std::size_t step : {std::size_t{1}, std::size_t{3}, std::size_t{64}}) {
    const Body split = pass_on(parsed.head, rest, step);
    require(split.bad == whole.bad && split.done == whole.done, "a split changed the verdict");
    if (!whole.done) continue;
    require(split.data == whole.data && split.trailers == whole.trailers, "a split changed bytes");
    check_sent(sent_head(parsed.head) + split.sent, parsed.head, whole);
  }
  if (whole.bad || !whole.done) return 0;
  const auto plain = second::read(text);
  require(plain.has_value(), "lbd accepts what the second reader does not");
  check_read(*plain, parsed.head, whole, head_size);
  check_sent(sent_head(parsed.head) + whole.sent, parsed.head, whole);
  return 0;
}
