#include "lbd/http/h2_head.h"

#include <algorithm>
#include <charconv>

#include "lbd/http/target.h"
#include "lbd/http/trailers.h"

namespace lbd::http {
namespace {

constexpr std::size_t kFieldOverhead = 32;
constexpr std::size_t kHopeless = 2;  // times as large as a head may be

/// No NUL, CR, LF or other control but tab, and no white space around it (RFC 9113 §8.2.1, and more
/// strictly).
bool is_field_value(std::string_view text) noexcept {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  if (!text.empty() && (blank(text.front()) || blank(text.back()))) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

bool has_high_bytes(std::string_view text) noexcept {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

bool is_lower(std::string_view text) noexcept {
  return std::none_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

/// Fields that belong to a connection, which HTTP/2 has no use for (RFC 9113 §8.2.2).
bool is_of_connection(HeaderId id) noexcept {
  return id == HeaderId::connection || id == HeaderId::keep_alive ||
         id == HeaderId::proxy_connection || id == HeaderId::transfer_encoding ||
         id == HeaderId::upgrade;
}

bool parse_length(std::string_view text, std::uint64_t& out) noexcept {
  const bool digits =
      !text.empty() && text.size() <= 18 &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (digits) std::from_chars(text.data(), text.data() + text.size(), out);
  return digits;
}

bool expects_body(Method method) noexcept {
  return method == Method::post || method == Method::put || method == Method::patch ||
         method == Method::query;
}

}  // namespace

void H2HeadBuilder::clear() noexcept {
  text_.release();
  pieces_.clear();
  size_ = 0;
  too_large_ = false;
}

bool H2HeadBuilder::add(std::string_view name, std::string_view value, const HeadLimits& limits) {
  size_ += name.size() + value.size() + kFieldOverhead;
  const bool first_line = name == ":path";
  if (size_ > limits.head_bytes_max || pieces_.size() >= limits.headers_max + 5ULL ||
      name.size() + value.size() >
          (first_line ? limits.first_line_bytes_max : limits.line_bytes_max)) {
    too_large_ = true;
  }
  if (too_large_) return size_ <= kHopeless * limits.head_bytes_max;
  Piece& piece = pieces_.emplace_back();
  piece.name = text_.size();
  piece.name_size = name.size();
  text_.append(name);
  piece.value = text_.size();
  piece.value_size = value.size();
  text_.append(value);
  return true;
}

/// A cookie may come in crumbs, which only HTTP/2 knows (RFC 9113 §8.2.3).
void H2HeadBuilder::join_cookies() {
  const auto is_cookie = [this](const Piece& piece) {
    return view(piece.name, piece.name_size) == "cookie";
  };
  if (std::count_if(pieces_.begin(), pieces_.end(), is_cookie) < 2) return;
  std::size_t room = text_.size();
  for (const Piece& piece : pieces_) room += is_cookie(piece) ? piece.value_size + 2 : 0;
  text_.reserve(room);  // what is copied from must not move
  Piece joined;
  bool first = true;
  for (const Piece& piece : pieces_) {
    if (!is_cookie(piece)) continue;
    if (std::exchange(first, false)) {
      joined = piece;
      joined.value = text_.size();
    } else {
      text_.append("; ");
    }
    text_.append(view(piece.value, piece.value_size));
  }
  joined.value_size = text_.size() - joined.value;
  const auto at = std::find_if(pieces_.begin(), pieces_.end(), is_cookie);
  *at = joined;
  pieces_.erase(std::remove_if(at + 1, pieces_.end(), is_cookie), pieces_.end());
}

Fault H2HeadBuilder::read_pseudo(const Piece& piece, RequestHead& out, Pseudo& pseudo) {
  const std::string_view name = view(piece.name, piece.name_size);
  const std::string_view value = view(piece.value, piece.value_size);
  std::string_view* place = nullptr;
  if (name == ":method") place = &out.method_text;
  if (name == ":path") place = &out.target;
  if (name == ":authority") place = &out.authority;
  if (name == ":scheme") place = &pseudo.scheme;
  if (name == ":protocol") place = &pseudo.protocol;
  if (place == nullptr || !place->empty() || value.empty()) return Fault::client_protocol;
  *place = value;
  return Fault::none;
}

Fault H2HeadBuilder::read_field(const Piece& piece, RequestHead& out, Pseudo& pseudo) {
  Header header{view(piece.name, piece.name_size), view(piece.value, piece.value_size)};
  if (!is_token(header.name) || !is_lower(header.name) || !is_field_value(header.value)) {
    return Fault::client_protocol;
  }
  if (has_high_bytes(header.value)) {
    out.desync = worse(out.desync, DesyncReason::non_ascii_header);
  }
  header.id = header_id(header.name);
  if (is_of_connection(header.id)) return Fault::client_protocol;
  switch (header.id) {
    case HeaderId::te:
      if (!equals_ignoring_case(header.value, "trailers")) return Fault::client_protocol;
      out.takes_trailers = true;
      break;
    case HeaderId::host:
      if (!pseudo.host.empty() || header.value.empty()) return Fault::client_protocol;
      pseudo.host = header.value;
      break;
    case HeaderId::content_length:
      if (out.framing.kind == Framing::Kind::length ||
          !parse_length(header.value, out.framing.length)) {
        return Fault::client_protocol;
      }
      out.framing.kind = Framing::Kind::length;
      break;
    case HeaderId::expect:
      if (!equals_ignoring_case(header.value, "100-continue")) return Fault::bad_expectation;
      out.expect_continue = true;
      break;
    case HeaderId::other:
      if (!is_lookalike(header.name)) break;
      out.lookalikes = true;
      out.desync = worse(out.desync, DesyncReason::suspicious_header);
      pseudo.framing_lookalike |= looks_like_framing(header.name);
      break;
    default:
      break;
  }
  out.headers.push_back(header);
  return Fault::none;
}

/// The first thing wrong with the fields one by one.
Fault H2HeadBuilder::read_pieces(RequestHead& out, Pseudo& pseudo) {
  Fault fault = Fault::none;
  bool fields = false;  // a pseudo-header behind them is malformed
  for (const Piece& piece : pieces_) {
    const bool is_pseudo = view(piece.name, piece.name_size).starts_with(':');
    fields |= !is_pseudo;
    Fault found = Fault::client_protocol;
    if (!is_pseudo) {
      found = read_field(piece, out, pseudo);
    } else if (!fields) {
      found = read_pseudo(piece, out, pseudo);
    }
    if (fault == Fault::none) fault = found;
  }
  return fault;
}

/// What the fields must be together; splits the target.
Fault H2HeadBuilder::check_request(RequestHead& out, const Pseudo& pseudo) {
  if (!is_token(out.method_text)) return Fault::client_protocol;
  const bool connects = out.method == Method::connect;
  if (connects && pseudo.protocol.empty()) return Fault::unsupported;
  if (!connects && !pseudo.protocol.empty()) return Fault::client_protocol;
  if (pseudo.scheme != "http" && pseudo.scheme != "https") return Fault::client_protocol;
  if (out.authority.empty()) out.authority = pseudo.host;
  if (out.authority.empty() || !is_authority(out.authority)) return Fault::client_protocol;
  if (!pseudo.host.empty() && !equals_ignoring_case(pseudo.host, out.authority)) {
    return Fault::client_protocol;  // two readers could route it to two places
  }
  if (out.target != "*" && !out.target.starts_with('/')) return Fault::client_protocol;
  return split_target(out) ? Fault::none : Fault::client_protocol;
}

/// A body where servers of HTTP/1.1 may expect none, or beside a field that some take for framing.
void H2HeadBuilder::doubt_framing(RequestHead& out, const Pseudo& pseudo) noexcept {
  if (out.framing.kind == Framing::Kind::none) return;
  if (pseudo.framing_lookalike) out.desync = worse(out.desync, DesyncReason::suspicious_framing);
  const bool bodiless =
      out.method == Method::get || out.method == Method::head || out.method == Method::trace;
  if (!bodiless) return;
  const DesyncReason why = out.framing.kind == Framing::Kind::chunked
                               ? DesyncReason::coding_without_use
                           : out.framing.length > 0 ? DesyncReason::length_without_use
                                                    : DesyncReason::zero_length_without_use;
  out.desync = worse(out.desync, why);
}

/// RFC 8441 §5: the stream becomes the tunnel, and there is no key.
Fault H2HeadBuilder::check_connect(RequestHead& out, const Pseudo& pseudo, bool last) {
  if (!is_token(pseudo.protocol) || last || out.framing.kind != Framing::Kind::none ||
      out.expect_continue) {
    return Fault::client_protocol;
  }
  std::erase_if(out.headers, [](const Header& each) { return each.name == "sec-websocket-key"; });
  out.method = Method::get;
  out.method_text = "GET";
  out.upgrade = pseudo.protocol;
  out.wants_upgrade = true;
  return Fault::none;
}

Fault H2HeadBuilder::finish_request(bool last, RequestHead& out) {
  out.clear();
  out.version = Version::http_2;
  if (!too_large_) join_cookies();
  Pseudo pseudo;
  Fault fault = read_pieces(out, pseudo);
  out.method = method_of(out.method_text);
  if (too_large_) return Fault::header_too_large;
  if (fault == Fault::none) fault = check_request(out, pseudo);
  if (fault != Fault::none) return fault;
  if (!pseudo.protocol.empty()) return check_connect(out, pseudo, last);
  if (last && out.framing.length > 0) return Fault::client_protocol;
  if (!last && out.framing.kind == Framing::Kind::none) out.framing.kind = Framing::Kind::chunked;
  doubt_framing(out, pseudo);
  if (last && expects_body(out.method)) out.framing.kind = Framing::Kind::length;
  return Fault::none;
}

bool H2HeadBuilder::read_response_field(const Piece& piece, ResponseHead& out, Lengths& lengths) {
  Header header{view(piece.name, piece.name_size), view(piece.value, piece.value_size)};
  if (!is_token(header.name) || !is_lower(header.name) || !is_field_value(header.value)) {
    return false;
  }
  header.id = header_id(header.name);
  if (is_of_connection(header.id)) return false;
  if (header.id == HeaderId::content_length) {
    ++lengths.count;
    if (!parse_length(header.value, lengths.value)) return false;
  }
  out.headers.push_back(header);
  return true;
}

int H2HeadBuilder::status() const noexcept {
  if (pieces_.empty()) return 0;
  const Piece& first = pieces_.front();
  const std::string_view text = view(first.value, first.value_size);
  int status = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), status);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && text.size() == 3 && view(first.name, first.name_size) == ":status" ? status : 0;
}

Fault H2HeadBuilder::finish_response(Method method, bool last, ResponseHead& out) {
  out.clear();
  out.version = Version::http_2;
  if (too_large_ || pieces_.empty()) return Fault::bad_response;
  out.status = status();
  if (out.status < 100 || out.status == 101) return Fault::bad_response;
  Lengths lengths;
  for (std::size_t i = 1; i < pieces_.size(); ++i) {
    if (!read_response_field(pieces_[i], out, lengths)) return Fault::bad_response;
  }
  const bool interim = out.status < 200;
  if (lengths.count > 1 || (interim && (last || lengths.count > 0))) return Fault::bad_response;
  const bool bodiless = interim || out.status == 204 || out.status == 304 || method == Method::head;
  if (bodiless) {
    out.framing = {Framing::Kind::none, lengths.value};
  } else if (last && lengths.value > 0) {
    return Fault::bad_response;
  } else if (last || lengths.count > 0) {
    out.framing = {Framing::Kind::length, lengths.value};
  } else {
    out.framing = {Framing::Kind::chunked, 0};
  }
  return Fault::none;
}

Fault H2HeadBuilder::finish_trailers(std::vector<Header>& out) {
  out.clear();
  if (too_large_) return Fault::header_too_large;
  for (const Piece& piece : pieces_) {
    Header header{view(piece.name, piece.name_size), view(piece.value, piece.value_size)};
    if (!is_token(header.name) || !is_lower(header.name) || !is_field_value(header.value)) {
      return Fault::client_protocol;
    }
    header.id = header_id(header.name);
    const TrailerVerdict verdict = judge_trailer(header);
    if (verdict == TrailerVerdict::refuse) return Fault::client_protocol;
    if (verdict == TrailerVerdict::pass) out.push_back(header);
  }
  return Fault::none;
}

}  // namespace lbd::http
