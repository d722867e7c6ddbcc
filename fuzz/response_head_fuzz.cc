// Any bytes as a response head. Oracles: any split, one verdict; an accepted head has one way to
// read its framing; written out again it is read as the same response.
#include <cstdint>
#include <string>

#include "fuzz/require.h"
#include "lbd/http/h1_write.h"
#include "tests/support/heads.h"

namespace {

using namespace lbd;
using namespace lbd::http;
using lbd::fuzz::require;

void check_accepted(const ResponseHead& head, Method method) {
  std::size_t lengths = 0;
  std::size_t codings = 0;
  BufferPool pool;
  Buffer out(pool);
  write_status_line({head.status, head.reason}, out);
  for (const Header& header : head.headers) {
    require(is_token(header.name), "a field name that is no token");
    require(header.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos,
            "a line end or NUL in a value");
    lengths += header.id == HeaderId::content_length ? 1 : 0;
    codings += header.id == HeaderId::transfer_encoding ? 1 : 0;
    write_header(header.name, header.value, out);
  }
  end_head(out);
  require(lengths + codings <= 1, "two ways to find the body's end");
  const bool bodiless =
      head.status < 200 || head.status == 204 || head.status == 304 || method == Method::head;
  const Framing::Kind wanted = bodiless      ? Framing::Kind::none
                               : codings > 0 ? Framing::Kind::chunked
                               : lengths > 0 ? Framing::Kind::length
                                             : Framing::Kind::until_close;
  require(head.framing.kind == wanted, "another framing than RFC 9112 §6.3 gives");
  const ParsedResponse again = parse_response(out.view(), method);
  require(again.fault == Fault::none, "what we would send is not what we accept");
  require(again.head.status == head.status && again.head.headers.size() == head.headers.size() &&
              again.head.framing.kind == head.framing.kind &&
              again.head.framing.length == head.framing.length,
          "read again, it is another response");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (text.empty()) return 0;
  const HeadLimits limits;
  const ScanVerdict whole = scan_in_steps(text, size, limits);
  require(scan_in_steps(text, 1, limits) == whole, "a split changed the scanner's verdict");
  for (const Method method : {Method::get, Method::head}) {
    const ParsedResponse parsed = parse_response(text, method);
    if (parsed.fault == Fault::none) check_accepted(parsed.head, method);
  }
  return 0;
}
