#include "lbd/proxy/trace.h"

#include <algorithm>
#include <array>

namespace lbd::proxy {
namespace {

using config::TraceMode;
using http::Header;
using http::HeaderId;

constexpr std::size_t kTraceIdChars = 32;
constexpr std::size_t kSpanIdChars = 16;
constexpr std::size_t kTraceparentChars = 2 + 1 + kTraceIdChars + 1 + kSpanIdChars + 1 + 2;
constexpr std::size_t kRootChars = 35;  // 1-<8 hex digits>-<24 hex digits>

bool is_hex(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_zero(std::string_view text) noexcept {
  return text.find_first_not_of('0') == std::string_view::npos;
}

class Composer {
 public:
  Composer(const TraceSource& source, Buffer& text) noexcept : source_(source), text_(text) {}

  /// 00-<trace id>-<span id>-<flags>
  std::string_view traceparent() {
    const std::size_t at = text_.size();
    text_.append("00-");
    if (source_.id.size() == kTraceIdChars && is_hex(source_.id) && !is_zero(source_.id)) {
      text_.append(source_.id);
    } else {
      hex(source_.rng.next(), 16);
      hex(source_.rng.next() | 1, 16);
    }
    text_.append('-');
    hex(source_.rng.next() | 1, kSpanIdChars);
    const bool sampled = source_.policy.sampled >= 1 || source_.rng.unit() < source_.policy.sampled;
    text_.append(sampled ? "-01" : "-00");
    return text_.view().substr(at);
  }

  /// As an ALB does: Root when none came, else Self before it ("Request tracing for your
  /// Application Load Balancer"). A Self that came is of the one before.
  std::string_view amzn(std::string_view came) {
    const std::size_t at = text_.size();
    bool has_root = false;
    if (!came.empty()) {
      text_.append("Self=");
      root();
    }
    while (!came.empty()) {
      const std::size_t end = std::min(came.find(';'), came.size());
      const std::string_view field = came.substr(0, end);
      came.remove_prefix(std::min(end + 1, came.size()));
      if (field.empty() || field.starts_with("Self=")) continue;
      has_root = has_root || field.starts_with("Root=");
      text_.append(';');
      text_.append(field);
    }
    if (!has_root) {
      text_.append(text_.size() > at ? ";Root=" : "Root=");
      root();
    }
    return text_.view().substr(at);
  }

 private:
  void root() {
    text_.append("1-");
    hex(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                       source_.clock.wall().time_since_epoch())
                                       .count()),
        8);
    text_.append('-');
    hex(source_.rng.next(), 8);
    hex(source_.rng.next(), 16);
  }
  /// The last `digits` of it.
  void hex(std::uint64_t number, std::size_t digits) {
    constexpr std::string_view kHex = "0123456789abcdef";
    for (std::size_t i = digits; i-- > 0;) text_.append(kHex[number >> (4 * i) & 15]);
  }

  const TraceSource& source_;
  Buffer& text_;
};

/// More than one is none: nobody can tell which of them to go by.
bool has_trace(const std::vector<Header>& headers) noexcept {
  const auto is_parent = [](const Header& each) { return each.id == HeaderId::traceparent; };
  return std::count_if(headers.begin(), headers.end(), is_parent) == 1 &&
         !trace_id_of(http::first_value(headers, HeaderId::traceparent)).empty();
}

void remove(std::vector<Header>& headers, HeaderId id) {
  std::erase_if(headers, [id](const Header& each) { return each.id == id; });
}

}  // namespace

std::string_view trace_id_of(std::string_view traceparent) noexcept {
  const bool long_enough =
      traceparent.size() == kTraceparentChars ||
      (traceparent.size() > kTraceparentChars && !traceparent.starts_with("00") &&
       traceparent[kTraceparentChars] == '-');
  if (!long_enough) return {};
  const std::string_view version = traceparent.substr(0, 2);
  const std::string_view id = traceparent.substr(3, kTraceIdChars);
  const std::string_view span = traceparent.substr(36, kSpanIdChars);
  const std::string_view flags = traceparent.substr(53, 2);
  const bool parted = traceparent[2] == '-' && traceparent[35] == '-' && traceparent[52] == '-';
  const bool good = parted && is_hex(version) && version != "ff" && is_hex(id) && !is_zero(id) &&
                    is_hex(span) && !is_zero(span) && is_hex(flags);
  return good ? id : std::string_view();
}

void edit_trace(const TraceSource& source, Buffer& text, std::vector<Header>& headers) {
  const config::TraceHeaders& policy = source.policy;
  if (policy.traceparent == TraceMode::pass && policy.x_amzn_trace_id == TraceMode::pass) return;
  const std::string_view came = http::first_value(headers, HeaderId::x_amzn_trace_id);
  text.clear();
  text.reserve(kTraceparentChars + 2 * kRootChars + 16 + 2 * came.size());
  Composer composer(source, text);
  const bool known = has_trace(headers);
  if (policy.traceparent == TraceMode::remove ||
      (policy.traceparent == TraceMode::make && !known)) {
    remove(headers, HeaderId::traceparent);
    remove(headers, HeaderId::tracestate);
  }
  if (policy.traceparent == TraceMode::make && !known) {
    headers.push_back({"traceparent", composer.traceparent(), HeaderId::traceparent});
  }
  if (policy.x_amzn_trace_id != TraceMode::pass) remove(headers, HeaderId::x_amzn_trace_id);
  if (policy.x_amzn_trace_id == TraceMode::make) {
    headers.push_back({"X-Amzn-Trace-Id", composer.amzn(came), HeaderId::x_amzn_trace_id});
  }
}

}  // namespace lbd::proxy
