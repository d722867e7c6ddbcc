#include "lbd/http/h1_head.h"

#include <llhttp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "lbd/http/target.h"

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

enum ValueByte : std::uint8_t { kBadByte = 1, kHighByte = 2 };

constexpr std::array<std::uint8_t, 256> make_value_table() {
  std::array<std::uint8_t, 256> table{};
  for (std::size_t c = 0; c < 0x20; ++c) table[c] = kBadByte;
  for (std::size_t c = 0x80; c < 256; ++c) table[c] = kHighByte;
  table[0x7f] = kBadByte;
  table['\t'] = 0;
  return table;
}
constexpr std::array<std::uint8_t, 256> kValueByte = make_value_table();

/// Which kinds of bytes beside visible ASCII and blanks are in a value.
std::uint8_t value_bytes(std::string_view value) noexcept {
  std::uint8_t seen = 0;
  for (const char c : value) seen |= kValueByte[static_cast<unsigned char>(c)];
  return seen;
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
  std::string_view upgrade_to;
  std::uint32_t upgrades = 0;
  bool names_upgrade = false;
  bool upgrade = false;
  bool bad = false;
  bool bad_length = false;
  bool te_trailers = false;
  bool names_te = false;
  bool lookalikes = false;
  bool framing_lookalike = false;
  DesyncReason desync = DesyncReason::none;

  void doubt(DesyncReason reason) noexcept { desync = worse(desync, reason); }
  /// RFC 9110 §7.8: one protocol, which Connection names as this hop's business.
  [[nodiscard]] std::string_view asked_upgrade() const noexcept {
    return names_upgrade && upgrades == 1 && is_token(upgrade_to) ? upgrade_to : std::string_view();
  }
};

/// True for a field that is none of Connection's business: it is meant for the recipient, or it is
/// how this hop is read.
bool is_for_all(std::string_view name) noexcept {
  switch (header_id(name)) {
    case HeaderId::client_certificate:
    case HeaderId::content_length:
    case HeaderId::content_type:
    case HeaderId::expect:
    case HeaderId::forwarded:
    case HeaderId::host:
    case HeaderId::transfer_encoding:
    case HeaderId::via:
    case HeaderId::x_forwarded_for:
    case HeaderId::x_forwarded_host:
    case HeaderId::x_forwarded_port:
    case HeaderId::x_forwarded_proto:
    case HeaderId::x_request_id:
      return true;
    default:
      return equals_ignoring_case(name, "authorization") || equals_ignoring_case(name, "cookie");
  }
}

void read_connection(std::string_view list, Fields& fields) noexcept {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view option = trimmed(list.substr(0, comma));
    if (equals_ignoring_case(option, "close")) {
      fields.close = true;
    } else if (equals_ignoring_case(option, "keep-alive")) {
      fields.keep_alive = true;
    } else if (equals_ignoring_case(option, "te")) {
      fields.names_te = true;
    } else if (equals_ignoring_case(option, "upgrade")) {
      fields.names_upgrade = true;
    } else if (is_for_all(option)) {
      fields.doubt(DesyncReason::connection_names_field);
    }
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

void read_length(std::string_view value, Fields& fields) noexcept {
  std::uint64_t length = 0;
  if (!parse_length(value, length)) fields.bad_length = true;
  if (value.size() > 1 && value.front() == '0') fields.doubt(DesyncReason::padded_length);
  ++fields.lengths;
  fields.length = length;
}

void read_unknown(std::string_view name, Fields& fields) noexcept {
  if (!is_lookalike(name)) return;
  fields.doubt(DesyncReason::suspicious_header);
  fields.lookalikes = true;
  fields.framing_lookalike |= looks_like_framing(name);
}

Fields read_fields(std::vector<Header>& headers) noexcept {
  Fields fields;
  for (Header& header : headers) {
    header.value = trimmed(header.value);
    header.id = header_id(header.name);
    const std::uint8_t odd = value_bytes(header.value);
    if (!is_token(header.name) || (odd & kBadByte) != 0) {
      fields.bad = true;
      return fields;
    }
    if (odd != 0) fields.doubt(DesyncReason::non_ascii_header);
    switch (header.id) {
      case HeaderId::content_length:
        read_length(header.value, fields);
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
        read_connection(header.value, fields);
        break;
      case HeaderId::te:
        fields.te_trailers |= list_has(header.value, "trailers");
        break;
      case HeaderId::upgrade:
        // h2c is an offer (RFC 7540 §3.2) that may be passed over in silence; anything else is what
        // the client came for.
        fields.upgrade |= !list_has(header.value, "h2c");
        ++fields.upgrades;
        fields.upgrade_to = header.value;
        break;
      case HeaderId::other:
        read_unknown(header.name, fields);
        break;
      default:
        break;
    }
  }
  return fields;
}

Fault note_expectations(RequestHead& out) noexcept {
  for (const Header& header : out.headers) {
    if (header.id != HeaderId::expect) continue;
    if (!equals_ignoring_case(header.value, "100-continue")) return Fault::bad_expectation;
    out.expect_continue = out.version == Version::http_1_1;
  }
  return Fault::none;
}

Fault refuse(RequestHead& out, DesyncReason why) noexcept {
  out.desync = why;
  return Fault::client_protocol;
}

Fault request_framing(const Fields& fields, RequestHead& out) noexcept {
  if (fields.bad_length) return refuse(out, DesyncReason::bad_content_length);
  // Both, several, or on 1.0: two readers could disagree on where the body ends (RFC 9112 §6.1).
  // Never guess.
  if (fields.encodings > 0 && fields.lengths > 0) {
    return refuse(out, DesyncReason::both_length_and_coding);
  }
  if (fields.lengths > 1) return refuse(out, DesyncReason::multiple_content_length);
  if (fields.encodings > 0) {
    if (fields.encodings > 1 || out.version == Version::http_1_0 ||
        !equals_ignoring_case(fields.transfer_encoding, "chunked")) {
      return refuse(out, DesyncReason::bad_transfer_encoding);
    }
    out.framing = {Framing::Kind::chunked, 0};
  } else if (fields.lengths == 1) {
    out.framing = {Framing::Kind::length, fields.length};
  }
  return Fault::none;
}

/// Why llhttp refused a head whose request line and line ends are sound: its versions differ in how
/// they say it.
DesyncReason why_malformed(std::string_view head, RequestHead& out) {
  out.headers.clear();
  std::size_t at = head.find("\r\n") + 2;
  for (std::size_t end = 0; (end = head.find("\r\n", at)) > at; at = end + 2) {
    const std::string_view line = head.substr(at, end - at);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return DesyncReason::bad_header;
    out.headers.push_back({line.substr(0, colon), line.substr(colon + 1), HeaderId::other});
  }
  const Fields fields = read_fields(out.headers);
  const bool framing = !fields.bad && request_framing(fields, out) != Fault::none;
  return framing ? out.desync : DesyncReason::bad_header;
}

/// Framing that is well-formed, and still read differently by some.
void doubt_framing(const Fields& fields, RequestHead& out) noexcept {
  const bool framed = fields.lengths > 0 || fields.encodings > 0;
  if (fields.framing_lookalike && framed) {
    out.desync = worse(out.desync, DesyncReason::suspicious_framing);
  }
  const bool bodiless =
      out.method == Method::get || out.method == Method::head || out.method == Method::trace;
  if (!bodiless || !framed) return;
  const DesyncReason why = fields.encodings > 0 ? DesyncReason::coding_without_use
                           : fields.length > 0  ? DesyncReason::length_without_use
                                                : DesyncReason::zero_length_without_use;
  out.desync = worse(out.desync, why);
}

Fault read_request_line(std::string_view head, RequestHead& out) noexcept {
  const std::size_t space = head.find(' ');
  const std::size_t line_end = head.find('\r');
  if (space == std::string_view::npos || line_end == std::string_view::npos || space > line_end) {
    return refuse(out, DesyncReason::bad_request_line);
  }
  out.method_text = head.substr(0, space);
  out.method = method_of(out.method_text);
  if (!is_token(out.method_text)) return refuse(out, DesyncReason::bad_method);
  // One space each side of the target.
  const std::string_view rest = head.substr(space + 1, line_end - space - 1);
  out.target = rest.substr(0, rest.find(' '));
  if (out.target.empty() || out.target.size() == rest.size()) {
    return refuse(out, DesyncReason::bad_request_line);
  }
  const std::string_view version = rest.substr(out.target.size() + 1);
  if (version == "HTTP/1.1") {
    out.version = Version::http_1_1;
  } else if (version == "HTTP/1.0") {
    out.version = Version::http_1_0;
  } else {
    return refuse(out, DesyncReason::bad_version);
  }
  if (has_doubtful_line(head)) return refuse(out, DesyncReason::bad_line_end);
  return out.method == Method::connect ? Fault::unsupported : Fault::none;
}

/// RFC 9112 §3.2, §3.2.2.
Fault read_authority(const Fields& fields, RequestHead& out) noexcept {
  if (fields.hosts > 1 || (fields.hosts == 0 && out.version == Version::http_1_1) ||
      !is_authority(fields.host)) {
    return refuse(out, DesyncReason::bad_host);
  }
  if (out.authority.empty()) {
    out.authority = fields.host;
  } else if (fields.hosts > 0 && !equals_ignoring_case(out.authority, fields.host)) {
    out.desync = worse(out.desync, DesyncReason::host_mismatch);
  }
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
  Fault fault = read_request_line(head, out);
  if (fault != Fault::none) return fault;
  if (!split_target(out)) return refuse(out, DesyncReason::bad_uri);
  const llhttp_errno_t verdict = tokenise(HTTP_REQUEST, head, seen);
  if (verdict == HPE_INVALID_METHOD) return Fault::unsupported;
  if (verdict != HPE_OK) return refuse(out, why_malformed(head, out));
  if (seen.target != out.target) return refuse(out, DesyncReason::bad_request_line);
  const Fields fields = read_fields(out.headers);
  if (fields.bad) return refuse(out, DesyncReason::bad_header);
  out.desync = worse(out.desync, fields.desync);
  out.lookalikes = fields.lookalikes;
  fault = read_authority(fields, out);
  if (fault != Fault::none) return fault;
  out.keep_alive =
      out.version == Version::http_1_1 ? !fields.close : fields.keep_alive && !fields.close;
  out.wants_upgrade = fields.upgrade;
  out.takes_trailers = fields.te_trailers && fields.names_te && out.version == Version::http_1_1;
  fault = request_framing(fields, out);
  if (fault != Fault::none) return fault;
  if (out.wants_upgrade && out.version == Version::http_1_1) out.upgrade = fields.asked_upgrade();
  const bool body = out.framing.kind == Framing::Kind::chunked || out.framing.length > 0;
  if (!out.upgrade.empty() && body) return refuse(out, DesyncReason::body_with_upgrade);
  doubt_framing(fields, out);
  return note_expectations(out);
}

// NOLINTNEXTLINE(readability-function-cognitive-complexity): one refusal after the other
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
  if (fields.bad || fields.bad_length || (value_bytes(out.reason) & kBadByte) != 0) {
    return Fault::bad_response;
  }
  out.keep_alive =
      out.version == Version::http_1_1 ? !fields.close : fields.keep_alive && !fields.close;
  if (fields.lengths > 1 || fields.encodings > 1 || (fields.lengths > 0 && fields.encodings > 0) ||
      (fields.encodings > 0 && out.version == Version::http_1_0)) {
    return Fault::bad_response;  // two readers could disagree on where it ends
  }
  if (fields.encodings > 0 && !equals_ignoring_case(fields.transfer_encoding, "chunked")) {
    return Fault::bad_response;
  }
  if (out.status < 200 && (fields.lengths > 0 || fields.encodings > 0)) return Fault::bad_response;
  out.upgrade = fields.asked_upgrade();
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
