#include "lbd/http/message.h"

#include <array>
#include <charconv>
#include <cstring>

namespace lbd::http {
namespace {

constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

std::uint64_t eight(const char* from) noexcept {
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, from, sizeof bytes);
  return bytes;
}

/// `lower` of eight bytes at once: the highest bit of each says whether it is from A to Z.
constexpr std::uint64_t lower(std::uint64_t bytes) noexcept {
  constexpr std::uint64_t kEach = 0x0101010101010101;
  const std::uint64_t low = bytes & (0x7f * kEach);
  const std::uint64_t from_a = low + (0x80 - 'A') * kEach;
  const std::uint64_t past_z = low + (0x7f - 'Z') * kEach;
  const std::uint64_t upper = (from_a ^ past_z) & ~bytes & (0x80 * kEach);
  return bytes | upper >> 2;
}
static_assert(lower(std::uint64_t{0x5b5a41403a7a61c1}) == 0x5b7a61403a7a61c1);

struct Known {
  std::string_view name;  // lower case
  HeaderId id;
};

constexpr std::array kKnown{
    Known{"connection", HeaderId::connection},
    Known{"content-length", HeaderId::content_length},
    Known{"content-type", HeaderId::content_type},
    Known{"date", HeaderId::date},
    Known{"endpoint-load-metrics", HeaderId::endpoint_load_metrics},
    Known{"expect", HeaderId::expect},
    Known{"forwarded", HeaderId::forwarded},
    Known{"host", HeaderId::host},
    Known{"keep-alive", HeaderId::keep_alive},
    Known{"proxy-authenticate", HeaderId::proxy_authenticate},
    Known{"proxy-authorization", HeaderId::proxy_authorization},
    Known{"proxy-connection", HeaderId::proxy_connection},
    Known{"referer", HeaderId::referer},
    Known{"set-cookie", HeaderId::set_cookie},
    Known{"te", HeaderId::te},
    Known{"traceparent", HeaderId::traceparent},
    Known{"tracestate", HeaderId::tracestate},
    Known{"trailer", HeaderId::trailer},
    Known{"transfer-encoding", HeaderId::transfer_encoding},
    Known{"upgrade", HeaderId::upgrade},
    Known{"user-agent", HeaderId::user_agent},
    Known{"via", HeaderId::via},
    Known{"x-amzn-mtls-clientcert", HeaderId::client_certificate},
    Known{"x-amzn-mtls-clientcert-issuer", HeaderId::client_certificate},
    Known{"x-amzn-mtls-clientcert-leaf", HeaderId::client_certificate},
    Known{"x-amzn-mtls-clientcert-serial-number", HeaderId::client_certificate},
    Known{"x-amzn-mtls-clientcert-subject", HeaderId::client_certificate},
    Known{"x-amzn-mtls-clientcert-validity", HeaderId::client_certificate},
    Known{"x-amzn-trace-id", HeaderId::x_amzn_trace_id},
    Known{"x-forwarded-for", HeaderId::x_forwarded_for},
    Known{"x-forwarded-host", HeaderId::x_forwarded_host},
    Known{"x-forwarded-port", HeaderId::x_forwarded_port},
    Known{"x-forwarded-proto", HeaderId::x_forwarded_proto},
    Known{"x-lbd-mirror", HeaderId::mirror},
    Known{"x-request-id", HeaderId::x_request_id},
};

/// Slots by (length, first letter, last letter but one); built at compile time, collisions refused
/// there.
constexpr std::size_t kSlots = 256;
constexpr std::size_t slot_of(std::string_view name) noexcept {
  const auto first = static_cast<unsigned char>(lower(name.front()));
  const auto late = static_cast<unsigned char>(lower(name[name.size() - 2]));
  return (name.size() + first * 3U + late * 21U) % kSlots;
}

constexpr std::array<std::int8_t, kSlots> make_slots() {
  std::array<std::int8_t, kSlots> slots{};
  slots.fill(-1);
  for (std::size_t i = 0; i < kKnown.size(); ++i) {
    std::int8_t& slot = slots[slot_of(kKnown[i].name)];
    if (slot != -1) throw "two known headers share a slot: change slot_of";
    slot = static_cast<std::int8_t>(i);
  }
  return slots;
}
constexpr std::array<std::int8_t, kSlots> kSlotTable = make_slots();

constexpr std::array<bool, 256> make_token_table() {
  std::array<bool, 256> table{};
  for (char c = '0'; c <= '9'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'a'; c <= 'z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'A'; c <= 'Z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~"))
    table[static_cast<unsigned char>(c)] = true;
  return table;
}
constexpr std::array<bool, 256> kToken = make_token_table();

constexpr std::array<std::string_view, 11> kMethods{"GET",     "HEAD",    "POST",  "PUT",
                                                    "DELETE",  "OPTIONS", "PATCH", "TRACE",
                                                    "CONNECT", "QUERY",   "OTHER"};

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  std::size_t at = 0;
  if (a.size() >= 8) {
    for (; at + 8 <= a.size(); at += 8) {
      if (lower(eight(a.data() + at)) != lower(eight(b.data() + at))) return false;
    }
    if (at == a.size()) return true;
    at = a.size() - 8;  // the last eight overlap
    return lower(eight(a.data() + at)) == lower(eight(b.data() + at));
  }
  for (; at < a.size(); ++at) {
    if (lower(a[at]) != lower(b[at])) return false;
  }
  return true;
}

HeaderId header_id(std::string_view name) noexcept {
  if (name.size() < 2) return HeaderId::other;
  const int index = kSlotTable[slot_of(name)];  // NOLINT(bugprone-signed-char-misuse): -1 is none
  if (index < 0) return HeaderId::other;
  const Known& known = kKnown[static_cast<std::size_t>(index)];
  return equals_ignoring_case(name, known.name) ? known.id : HeaderId::other;
}

std::string_view first_value(const std::vector<Header>& headers, HeaderId id) noexcept {
  for (const Header& each : headers) {
    if (each.id == id) return each.value;
  }
  return {};
}

Method method_of(std::string_view text) noexcept {
  for (std::size_t i = 0; i + 1 < kMethods.size(); ++i) {
    if (text == kMethods[i]) return static_cast<Method>(i);
  }
  return Method::other;
}

std::string_view method_name(Method method) noexcept {
  return kMethods[static_cast<std::size_t>(method)];
}

bool is_idempotent(Method method) noexcept {
  switch (method) {
    case Method::get:
    case Method::head:
    case Method::put:
    case Method::delete_:
    case Method::options:
    case Method::trace:
    case Method::query:
      return true;
    default:
      return false;
  }
}

bool list_has(std::string_view list, std::string_view token) noexcept {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view item = list.substr(0, comma);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (equals_ignoring_case(item, token)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
  return false;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_token(std::string_view text) noexcept {
  if (text.empty()) return false;
  for (const char c : text) {
    if (!kToken[static_cast<unsigned char>(c)]) return false;
  }
  return true;
}

std::string_view reason_phrase(int status) noexcept {
  switch (status) {
    case 100:
      return "Continue";
    case 103:
      return "Early Hints";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 508:
      return "Loop Detected";
    default:
      return "";
  }
}

double orca_cpu(std::string_view report) noexcept {
  constexpr std::string_view kKey = "cpu_utilization=";
  std::size_t at = report.find(kKey);
  // At the start of a metric's name only: "named_metrics.x_cpu_utilization" is another one.
  while (at != std::string_view::npos && at > 0 && report[at - 1] != ' ' && report[at - 1] != ',') {
    at = report.find(kKey, at + 1);
  }
  if (at == std::string_view::npos) return -1;
  double value = -1;
  const std::string_view rest = report.substr(at + kKey.size());
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  return error == std::errc() && value >= 0 && value <= 1e6 ? value : -1;
}

std::string_view version_name(Version version) noexcept {
  switch (version) {
    case Version::http_1_0:
      return "HTTP/1.0";
    case Version::http_1_1:
      return "HTTP/1.1";
    case Version::http_2:
      return "HTTP/2.0";
  }
  return "";
}

}  // namespace lbd::http
