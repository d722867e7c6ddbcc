// Any bytes as a request head. Oracles: scanning at once and byte by byte give one verdict; what is
// accepted and written out again is read by a second, naive and strict reader (below, sharing no
// code with the first) as the same request with the same framing; reading and writing it again
// changes nothing.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/require.h"
#include "lbd/http/h1_write.h"
#include "tests/support/heads.h"

namespace {

using namespace lbd;
using namespace lbd::http;
using lbd::fuzz::require;

struct Plain {  // a request as the second reader sees it
  std::string method;
  std::string target;
  std::vector<std::pair<std::string, std::string>> fields;
  std::optional<std::string> length;
  bool chunked = false;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t at = 0;
  for (std::size_t end; (end = text.find("\r\n", at)) != std::string::npos; at = end + 2) {
    lines.push_back(text.substr(at, end - at));
  }
  require(at == text.size(), "what is sent does not end with a line end");
  return lines;
}

/// RFC 9112 read as narrowly as it can be. Any departure is our bug: we wrote this text.
Plain read_strictly(const std::string& text) {
  const std::vector<std::string> lines = lines_of(text);
  require(lines.size() >= 2 && lines.back().empty(), "no empty line at the end");
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    require(byte >= 0x20 || c == '\r' || c == '\n' || c == '\t', "a control character is sent");
    require(byte != 0x7f, "DEL is sent");
  }
  Plain plain;
  const std::string& first = lines.front();
  const std::size_t one = first.find(' ');
  const std::size_t two = first.rfind(' ');
  require(one != std::string::npos && two > one, "not three words in the request line");
  plain.method = first.substr(0, one);
  plain.target = first.substr(one + 1, two - one - 1);
  require(first.substr(two + 1) == "HTTP/1.1", "another version is sent");
  require(plain.target.find_first_of(" \t#") == std::string::npos, "a bad target is sent");
  require(plain.target[0] == '/' || plain.target == "*", "not in origin-form");
  for (std::size_t i = 1; i + 1 < lines.size(); ++i) {
    const std::size_t colon = lines[i].find(':');
    require(colon != std::string::npos && colon > 0, "a field without a name");
    std::string name = lines[i].substr(0, colon);
    for (char& c : name) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      const bool digit = c >= '0' && c <= '9';
      require(letter || digit || std::string("!#$%&'*+-.^_`|~").find(c) != std::string::npos,
              "a field name that is no token");
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    require(lines[i][colon + 1] == ' ', "no space after the colon");
    std::string value = lines[i].substr(colon + 2);
    require(value.empty() || (value.front() != ' ' && value.back() != ' '), "blanks round a value");
    require(value.find('\r') == std::string::npos && value.find('\n') == std::string::npos,
            "a line end in a value");
    if (name == "content-length") {
      require(!plain.length, "two lengths are sent");
      require(!value.empty() && value.find_first_not_of("0123456789") == std::string::npos,
              "a length that is no number");
      plain.length = value;
    }
    if (name == "transfer-encoding") {
      require(!plain.chunked && value == "chunked", "a coding other than one chunked");
      plain.chunked = true;
    }
    plain.fields.emplace_back(std::move(name), std::move(value));
  }
  require(!(plain.length && plain.chunked), "both a length and a coding are sent");
  return plain;
}

/// With all fields of the head as they are: none of this hop's own.
std::string written(RequestHead head) {
  head.takes_trailers = false;
  head.upgrade = {};
  BufferPool pool;
  Buffer out(pool);
  std::vector<Header> fields;
  for (const Header& header : head.headers) {
    if (header.id != HeaderId::content_length && header.id != HeaderId::transfer_encoding) {
      fields.push_back(header);
    }
  }
  write_request_head(head, fields, out);
  return std::string(out.view());
}

void check_accepted(const RequestHead& head) {
  const std::string sent = written(head);
  const Plain plain = read_strictly(sent);
  require(plain.method == head.method_text, "the method changed");
  const std::string path(head.path);
  const bool asks = head.target.find('?') != std::string_view::npos;
  require(plain.target == (asks ? path + "?" + std::string(head.query) : path),
          "the target changed");
  require(plain.chunked == (head.framing.kind == Framing::Kind::chunked), "the coding changed");
  require(plain.length.has_value() == (head.framing.kind == Framing::Kind::length),
          "the length came or went");
  if (plain.length) {
    require(*plain.length == std::to_string(head.framing.length), "the length changed");
  }
  std::size_t hosts = 0;
  for (const auto& [name, value] : plain.fields) hosts += name == "host" ? 1 : 0;
  require(hosts <= 1, "two Hosts are sent");
  if (hosts == 0) return;  // HTTP/1.0 without Host: headers.cc adds it
  const ParsedRequest again = parse_request(sent);
  require(again.fault == Fault::none, "what we sent is not what we accept");
  require(again.head.headers.size() == plain.fields.size(), "the second reader saw other fields");
  require(written(again.head) == sent, "read and written again, it differs");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (text.empty()) return 0;
  HeadLimits tight;
  tight.first_line_bytes_max = 64;
  tight.line_bytes_max = 48;
  tight.head_bytes_max = 160;
  tight.headers_max = 4;
  for (const HeadLimits& limits : {HeadLimits{}, tight}) {
    const ScanVerdict whole = scan_in_steps(text, size, limits);
    require(scan_in_steps(text, 1, limits) == whole, "a split changed the scanner's verdict");
    require(scan_in_steps(text, 7, limits) == whole, "a split changed the scanner's verdict");
  }
  const ParsedRequest parsed = parse_request(text);
  if (parsed.fault != Fault::none) return 0;
  // One reader may end a line where another does not: then nothing after it is certain.
  const std::size_t length = scan_in_steps(text, size, HeadLimits{}).length;
  for (std::size_t at = 0; (at = text.find('\r', at)) < length; ++at) {
    require(text[at + 1] == '\n', "a bare CR was accepted");
  }
  check_accepted(parsed.head);
  return 0;
}
