#include "lbd/http/h1_head.h"

#include <llhttp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace lbd::http {
namespace {

/// What llhttp tells us, gathered as views into the head (which is contiguous, so pieces of one
/// token join up).
struct Tokens {
  std::vector<Header>* headers = nullptr;
  std::string_view target;
  std::string_view reason;
  bool value_open = false;
  bool complete = false;
};

std::string_view joined(std::string_view before, const char* at, std::size_t length) noexcept {
  if (before.empty()) return {at, length};
  return {before.data(), static_cast<std::size_t>(at + length - before.data())};
}

Tokens& tokens(llhttp_t* parser) noexcept { return *static_cast<Tokens*>(parser->data); }

int on_url(llhttp_t* parser, const char* at, std::size_t length) {
  tokens(parser).target = joined(tokens(parser).target, at, length);
  return 0;
}
int on_status(llhttp_t* parser, const char* at, std::size_t length) {
  tokens(parser).reason = joined(tokens(parser).reason, at, length);
  return 0;
}
int on_field(llhttp_t* parser, const char* at, std::size_t length) {
  Tokens& seen = tokens(parser);
  if (seen.headers->empty() || seen.value_open) {
    seen.headers->push_back({{at, length}, {}, HeaderId::other});
    seen.value_open = false;
  } else {
    seen.headers->back().name = joined(seen.headers->back().name, at, length);
  }
  return 0;
}
int on_value(llhttp_t* parser, const char* at, std::size_t length) {
  Tokens& seen = tokens(parser);
  if (seen.headers->empty()) return -1;
  Header& header = seen.headers->back();
  header.value = seen.value_open ? joined(header.value, at, length) : std::string_view(at, length);
  seen.value_open = true;
  return 0;
}
int on_value_complete(llhttp_t* parser) {
  tokens(parser).value_open = true;  // also after an empty value
  return 0;
}
int on_headers_complete(llhttp_t* parser) {
  tokens(parser).complete = true;
  return HPE_PAUSED;  // bodies are framed by our own code
}

const llhttp_settings_t& settings() noexcept {
  static const llhttp_settings_t kSettings = [] {
    llhttp_settings_t made;
    llhttp_settings_init(&made);
    made.on_url = on_url;
    made.on_status = on_status;
    made.on_header_field = on_field;
    made.on_header_value = on_value;
    made.on_header_value_complete = on_value_complete;
    made.on_headers_complete = on_headers_complete;
    return made;
  }();
  return kSettings;
}

constexpr std::array<bool, 256> make_value_table() {
  std::array<bool, 256> table{};
  for (std::size_t c = 0x20; c < 256; ++c) table[c] = c != 0x7f;
  table['\t'] = true;
  return table;
}
constexpr std::array<bool, 256> kValueByte = make_value_table();

bool is_field_value(std::string_view value) noexcept {
  bool good = true;
  for (const char c : value) good &= kValueByte[static_cast<unsigned char>(c)];
  return good;
}

bool is_visible(std::string_view text) noexcept {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f) return false;
  }
  return true;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Digits only: no sign, no blanks, no list (RFC 9110 §8.6 as strictly as it can be read).
bool parse_length(std::string_view text, std::uint64_t& out) noexcept {
  if (text.empty() || text.size() > 18) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && text.front() != '+' &&
         text.front() != '-';
}

/// A line that begins with white space continues the one before (obs-fold), and a CR without LF
/// ends a field for some readers, llhttp 8.1.0 among them (CVE-2023-30589): both refused
/// everywhere. That every LF has its CR, HeadScanner has seen to.
bool has_doubtful_line(std::string_view head) noexcept {
  std::size_t at = 0;
  while ((at = head.find('\r', at)) != std::string_view::npos) {
    if (at + 1 == head.size() || head[at + 1] != '\n') return true;
    at += 2;
    if (at < head.size() && (head[at] == ' ' || head[at] == '\t')) return true;
  }
  return false;
}

/// `head` may begin with QUERY (RFC 10008), which llhttp knows from 9.2 on. A method is but a name
/// to it here, where bodies are framed by our own code: so it is told another one, and the rest.
llhttp_errno_t tokenise(llhttp_type_t type, std::string_view head, Tokens& seen) noexcept {
  constexpr std::string_view kUnknown = "QUERY ";
  constexpr std::string_view kKnown = "POST ";
  llhttp_t parser;
  llhttp_init(&parser, type, &settings());
  parser.data = &seen;
  llhttp_errno_t error = HPE_OK;
  if (head.starts_with(kUnknown)) {
    error = llhttp_execute(&parser, kKnown.data(), kKnown.size());
    head.remove_prefix(kUnknown.size());
  }
  if (error == HPE_OK) error = llhttp_execute(&parser, head.data(), head.size());
  if (error == HPE_PAUSED && seen.complete) return HPE_OK;
  return error == HPE_OK ? HPE_INTERNAL : error;
}

struct Fields {  // what framing and connection handling need, from one pass over the headers
  std::string_view transfer_encoding;
  std::string_view host;
  std::uint64_t length = 0;
  std::uint32_t lengths = 0;
  std::uint32_t encodings = 0;
  std::uint32_t hosts = 0;
  bool close = false;
  bool keep_alive = false;
  bool upgrade = false;
  bool bad = false;
};

Fields read_fields(std::vector<Header>& headers) noexcept {
  Fields fields;
  for (Header& header : headers) {
    header.value = trimmed(header.value);
    header.id = header_id(header.name);
    if (!is_token(header.name) || !is_field_value(header.value)) fields.bad = true;
    switch (header.id) {
      case HeaderId::content_length:
        ++fields.lengths;
        if (!parse_length(header.value, fields.length)) fields.bad = true;
        break;
      case HeaderId::transfer_encoding:
        ++fields.encodings;
        fields.transfer_encoding = header.value;
        break;
      case HeaderId::host:
        ++fields.hosts;
        fields.host = header.value;
        break;
      case HeaderId::connection:
        fields.close |= list_has(header.value, "close");
        fields.keep_alive |= list_has(header.value, "keep-alive");
        break;
      case HeaderId::upgrade:
        // h2c is an offer (RFC 7540 §3.2) that may be passed over in silence; anything else is what
        // the client came for.
        fields.upgrade |= !list_has(header.value, "h2c");
        break;
      default:
        break;
    }
  }
  return fields;
}

bool is_authority(std::string_view text) noexcept {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f || c == '/' || c == '?' || c == '#' || c == '@' || c == '\\' ||
        c == ',' || c == '"' || c == '<' || c == '>') {
      return false;
    }
  }
  return true;
}

/// Splits the request-target (RFC 9112 §3.2). False: not one we accept.
bool split_target(RequestHead& out) noexcept {
  std::string_view rest = out.target;
  if (!is_visible(rest) || rest.find('#') != std::string_view::npos) return false;
  if (rest == "*") {
    out.path = rest;
    return out.method == Method::options;
  }
  if (rest.front() != '/') {
    const std::size_t scheme = rest.find("://");
    if (scheme == std::string_view::npos) return false;
    const std::string_view name = rest.substr(0, scheme);
    if (!equals_ignoring_case(name, "http") && !equals_ignoring_case(name, "https")) return false;
    rest.remove_prefix(scheme + 3);
    const std::size_t end = rest.find_first_of("/?");
    out.authority = rest.substr(0, end);
    if (out.authority.empty()) return false;
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end);
    if (rest.empty() || rest.front() != '/') {
      out.path = "/";
      out.query = rest.empty() ? rest : rest.substr(1);
      return true;
    }
  }
  const std::size_t question = rest.find('?');
  out.path = rest.substr(0, question);
  if (question != std::string_view::npos) out.query = rest.substr(question + 1);
  return true;
}

Fault note_expectations(RequestHead& out) noexcept {
  for (const Header& header : out.headers) {
    if (header.id != HeaderId::expect) continue;
    if (!equals_ignoring_case(header.value, "100-continue")) return Fault::bad_expectation;
    out.expect_continue = out.version == Version::http_1_1;
  }
  return Fault::none;
}

Fault request_framing(const Fields& fields, RequestHead& out) noexcept {
  if (fields.encodings > 0) {
    // Both, several, or on 1.0: two readers could disagree on where the body ends (RFC 9112 §6.1).
    // Never guess.
    if (fields.lengths > 0 || fields.encodings > 1 || out.version == Version::http_1_0) {
      return Fault::client_protocol;
    }
    if (!equals_ignoring_case(fields.transfer_encoding, "chunked")) return Fault::client_protocol;
    out.framing = {Framing::Kind::chunked, 0};
    return Fault::none;
  }
  if (fields.lengths > 1) return Fault::client_protocol;
  if (fields.lengths == 1) out.framing = {Framing::Kind::length, fields.length};
  return Fault::none;
}

}  // namespace

Result<std::size_t, Fault> HeadScanner::scan(std::string_view bytes) noexcept {
  while (seen_ < bytes.size()) {
    const void* found = std::memchr(bytes.data() + seen_, '\n', bytes.size() - seen_);
    const std::size_t end =
        found == nullptr ? bytes.size()
                         : static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
    const std::size_t line = end - line_start_;
    if (line > (lines_ == 0 ? limits_.first_line_bytes_max : limits_.line_bytes_max) + 1ULL ||
        end > limits_.head_bytes_max) {
      return Fault::header_too_large;
    }
    if (found == nullptr) {
      seen_ = bytes.size();
      return std::size_t{0};
    }
    if (line == 0 || bytes[end - 1] != '\r') return Fault::client_protocol;  // bare LF
    seen_ = end + 1;
    if (line == 1) {  // an empty line
      if (lines_ == 0) return Fault::client_protocol;
      return seen_;
    }
    line_start_ = seen_;
    if (++lines_ > limits_.headers_max + 1) return Fault::header_too_large;
  }
  return std::size_t{0};
}

Fault parse_request_head(std::string_view head, RequestHead& out) {
  out.clear();
  Tokens seen;
  seen.headers = &out.headers;
  const std::size_t space = head.find(' ');
  const std::size_t line_end = head.find('\r');
  if (space == std::string_view::npos || line_end == std::string_view::npos || space > line_end) {
    return Fault::client_protocol;
  }
  out.method_text = head.substr(0, space);
  out.method = method_of(out.method_text);
  if (!is_token(out.method_text)) return Fault::client_protocol;
  if (out.method == Method::connect) return Fault::unsupported;
  const std::string_view version = head.substr(line_end - std::min<std::size_t>(8, line_end), 8);
  if (version == "HTTP/1.1") {
    out.version = Version::http_1_1;
  } else if (version == "HTTP/1.0") {
    out.version = Version::http_1_0;
  } else {
    return Fault::client_protocol;
  }
  if (has_doubtful_line(head)) return Fault::client_protocol;
  const llhttp_errno_t verdict = tokenise(HTTP_REQUEST, head, seen);
  if (verdict == HPE_INVALID_METHOD) return Fault::unsupported;
  if (verdict != HPE_OK) return Fault::client_protocol;
  out.target = seen.target;
  // One space each side of the target: the request line is exactly method SP target SP version.
  if (out.target.empty() || out.method_text.size() + 1 + out.target.size() + 1 + 8 != line_end) {
    return Fault::client_protocol;
  }
  const Fields fields = read_fields(out.headers);
  if (fields.bad || !is_authority(fields.host)) return Fault::client_protocol;
  if (fields.hosts > 1 || (fields.hosts == 0 && out.version == Version::http_1_1)) {
    return Fault::client_protocol;
  }
  if (!split_target(out)) return Fault::client_protocol;
  if (out.authority.empty()) out.authority = fields.host;
  if (!is_authority(out.authority)) return Fault::client_protocol;
  out.keep_alive =
      out.version == Version::http_1_1 ? !fields.close : fields.keep_alive && !fields.close;
  out.wants_upgrade = fields.upgrade;
  const Fault fault = note_expectations(out);
  return fault != Fault::none ? fault : request_framing(fields, out);
}

Fault parse_response_head(std::string_view head, Method request_method, ResponseHead& out) {
  out.clear();
  Tokens seen;
  seen.headers = &out.headers;
  if (head.size() < 12 || !head.starts_with("HTTP/1.") || (head[7] != '0' && head[7] != '1') ||
      head[8] != ' ' || has_doubtful_line(head)) {
    return Fault::bad_response;
  }
  out.version = head[7] == '1' ? Version::http_1_1 : Version::http_1_0;
  const auto [end, error] = std::from_chars(head.data() + 9, head.data() + 12, out.status);
  if (error != std::errc() || end != head.data() + 12 || out.status < 100 ||
      (head[12] != ' ' && head[12] != '\r')) {
    return Fault::bad_response;
  }
  if (tokenise(HTTP_RESPONSE, head, seen) != HPE_OK) return Fault::bad_response;
  out.reason = seen.reason;
  const Fields fields = read_fields(out.headers);
  if (fields.bad || !is_field_value(out.reason)) return Fault::bad_response;
  out.keep_alive =
      out.version == Version::http_1_1 ? !fields.close : fields.keep_alive && !fields.close;
  if (fields.lengths > 1 || fields.encodings > 1 || (fields.lengths > 0 && fields.encodings > 0) ||
      (fields.encodings > 0 && out.version == Version::http_1_0)) {
    return Fault::bad_response;  // two readers could disagree on where it ends
  }
  if (fields.encodings > 0 && !equals_ignoring_case(fields.transfer_encoding, "chunked")) {
    return Fault::bad_response;
  }
  if (out.status < 200 || out.status == 204 || out.status == 304 ||
      request_method == Method::head) {
    out.framing = {Framing::Kind::none, fields.length};
  } else if (fields.encodings > 0) {
    out.framing = {Framing::Kind::chunked, 0};
  } else if (fields.lengths > 0) {
    out.framing = {Framing::Kind::length, fields.length};
  } else {
    out.framing = {Framing::Kind::until_close, 0};
    out.keep_alive = false;
  }
  return Fault::none;
}

}  // namespace lbd::http
