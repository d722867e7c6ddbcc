#include "lbd/http/target.h"

#include <algorithm>
#include <array>

namespace lbd::http {
namespace {

enum Byte : std::uint8_t {
  kBad = 1,      // control, space, above ASCII, '#'
  kOdd = 2,      // visible, but nothing RFC 3986 allows
  kPercent = 4,  // needs a look
};

constexpr std::array<std::uint8_t, 256> make_target_table() {
  std::array<std::uint8_t, 256> table{};
  for (std::size_t c = 0; c < 256; ++c) table[c] = c <= 0x20 || c >= 0x7f ? kBad : 0;
  for (const char c : std::string_view("\"<>\\^`{|}")) table[static_cast<unsigned char>(c)] = kOdd;
  table['#'] = kBad;
  table['%'] = kPercent;
  return table;
}
constexpr std::array<std::uint8_t, 256> kTargetByte = make_target_table();

constexpr std::array<bool, 256> make_host_table() {
  std::array<bool, 256> table{};
  for (char c = '0'; c <= '9'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'a'; c <= 'z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'A'; c <= 'Z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (const char c : std::string_view("-._~!$&'()*+;=%"))
    table[static_cast<unsigned char>(c)] = true;
  return table;
}
constexpr std::array<bool, 256> kHostByte = make_host_table();

bool is_hex(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/// ":80", or nothing.
bool is_port(std::string_view text) noexcept {
  if (text.empty()) return true;
  if (text.front() != ':' || text.size() > 6) return false;
  std::uint32_t port = 0;
  for (const char c : text.substr(1)) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + static_cast<std::uint32_t>(c - '0');
  }
  return port <= 65535;
}

/// A path that holds an encoded control is cut short, or becomes two lines, where it is decoded.
bool hides_control(std::string_view path) noexcept {
  for (std::size_t at = 0; (at = path.find('%', at)) != std::string_view::npos; ++at) {
    if (at + 2 >= path.size()) return false;
    const char high = path[at + 1];
    const char low = static_cast<char>(path[at + 2] | 0x20);
    if ((high == '0' || high == '1') && is_hex(path[at + 2])) return true;
    if (high == '7' && low == 'f') return true;
  }
  return false;
}

constexpr std::size_t kFoldedMax = 32;

/// Letters and digits of a name, in lower case; empty when there are more than any name here has.
std::string_view folded(std::string_view name, std::array<char, kFoldedMax>& storage) noexcept {
  std::size_t size = 0;
  for (const char c : name) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (!upper && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) continue;
    if (size == storage.size()) return {};
    storage[size++] = upper ? static_cast<char>(c | 0x20) : c;
  }
  return {storage.data(), size};
}

constexpr std::array<std::string_view, 2> kFraming{"contentlength", "transferencoding"};
constexpr std::array<std::string_view, 18> kRouting{
    "host",
    "connection",
    "upgrade",
    "expect",
    "forwarded",
    "xforwardedfor",
    "xforwardedhost",
    "xforwardedport",
    "xforwardedproto",
    "xrequestid",
    "xlbdreason",
    "xamznmtlsclientcert",
    "xamznmtlsclientcertissuer",
    "xamznmtlsclientcertleaf",
    "xamznmtlsclientcertserialnumber",
    "xamznmtlsclientcertsubject",
    "xamznmtlsclientcertvalidity",
    "xlbdmirror",
};

}  // namespace

bool is_authority(std::string_view text) noexcept {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    const std::string_view address = text.substr(1, close - 1);
    const bool good = std::all_of(address.begin(), address.end(),
                                  [](char c) { return is_hex(c) || c == ':' || c == '.'; });
    return good && is_port(text.substr(close + 1));
  }
  std::size_t end = 0;
  while (end < text.size() && kHostByte[static_cast<unsigned char>(text[end])]) ++end;
  return is_port(text.substr(end)) && (end > 0 || text.empty());
}

std::string_view host_of(std::string_view authority) noexcept {
  const std::size_t colon = authority.rfind(':');
  const bool has_port = colon != authority.npos && authority.find(']', colon) == authority.npos;
  return has_port ? authority.substr(0, colon) : authority;
}

bool split_target(RequestHead& out) noexcept {
  std::string_view rest = out.target;
  std::uint8_t seen = 0;
  for (const char c : rest) seen |= kTargetByte[static_cast<unsigned char>(c)];
  if (rest.empty() || (seen & kBad) != 0) return false;
  if ((seen & kOdd) != 0) out.desync = worse(out.desync, DesyncReason::non_compliant_uri);
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
    if (out.authority.empty() || !is_authority(out.authority)) return false;
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
  if ((seen & kPercent) != 0 && hides_control(out.path)) {
    out.desync = worse(out.desync, DesyncReason::ambiguous_uri);
  }
  return true;
}

bool looks_like_framing(std::string_view name) noexcept {
  std::array<char, kFoldedMax> storage{};
  const std::string_view plain = folded(name, storage);
  return std::find(kFraming.begin(), kFraming.end(), plain) != kFraming.end();
}

bool is_lookalike(std::string_view name) noexcept {
  if (name.empty()) return false;
  const char first = static_cast<char>(name.front() | 0x20);
  const bool usual = std::all_of(name.begin(), name.end(), [](char c) {
    const char low = static_cast<char>(c | 0x20);
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (usual && first != 'c' && first != 't' && first != '-') return false;
  std::array<char, kFoldedMax> storage{};
  const std::string_view plain = folded(name, storage);
  return std::find(kFraming.begin(), kFraming.end(), plain) != kFraming.end() ||
         std::find(kRouting.begin(), kRouting.end(), plain) != kRouting.end();
}

}  // namespace lbd::http
