#include "lbd/http/h2_client.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "lbd/base/check.h"
#include "lbd/http/h2_nghttp2.h"

namespace lbd::http {
namespace {

std::string_view path_of(const RequestHead& head, std::string& storage) {
  // A bare "?" is kept, as in HTTP/1.1.
  if (head.target.find('?') == std::string_view::npos) return head.path;
  storage.assign(head.path);
  storage += '?';
  storage += head.query;
  return storage;
}

/// Extended CONNECT has no key, and the stream says the rest (RFC 8441 §5).
bool is_of_upgrade(std::string_view name) noexcept {
  return equals_ignoring_case(name, "sec-websocket-key");
}

}  // namespace

H2Client::H2Client(const H2Limits& limits) : H2Codec(limits, Role::client) {
  const std::array<nghttp2_settings_entry, 3> settings{{
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.head.head_bytes_max},
  }};
  LBD_CHECK(
      nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) == 0);
}

bool H2Client::ending() const noexcept {
  return !going() || nghttp2_session_check_request_allowed(session_) == 0;
}

std::size_t H2Client::streams_max() const noexcept {
  const std::uint32_t theirs =
      nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  return std::min(limits_.streams_max, theirs);
}

bool H2Client::has_room() const noexcept { return ready_ && !ending() && open_ < streams_max(); }

bool H2Client::takes_connect() const noexcept {
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) ==
         1;
}

bool H2Client::submit(H2Stream& stream, const Request& request) {
  if (!has_room()) return false;
  const RequestHead& head = request.head;
  const bool tunnel = !head.upgrade.empty();
  std::vector<nghttp2_nv>& fields = scratch_->fields;
  fields.clear();
  fields.push_back(name_value(":method", tunnel ? std::string_view("CONNECT") : head.method_text));
  if (tunnel) fields.push_back(name_value(":protocol", head.upgrade));
  fields.push_back(name_value(":scheme", request.scheme));
  const std::string_view authority = first_value(request.headers, HeaderId::host);
  if (!authority.empty()) fields.push_back(name_value(":authority", authority));
  fields.push_back(name_value(":path", path_of(head, scratch_->path)));
  for (const Header& each : request.headers) {
    if (each.id == HeaderId::host || (tunnel && is_of_upgrade(each.name))) continue;
    fields.push_back(name_value(each));
  }
  std::array<char, 20> length{};
  if (head.framing.kind == Framing::Kind::length) {
    const auto [end, error] =
        std::to_chars(length.data(), length.data() + length.size(), head.framing.length);
    fields.push_back(name_value("content-length", {length.data(), end}));
  }
  const nghttp2_data_provider body = body_of_streams();
  const std::int32_t id = nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(),
                                                 request.last ? nullptr : &body, &stream);
  if (id < 0) return false;
  stream.id_ = id;
  stream.sent_ = false;
  ++open_;
  return true;
}

void H2Client::forget(H2Stream& stream) {
  --open_;
  if (dead_) return;
  reset(stream, H2Error::cancel);
  nghttp2_session_set_stream_user_data(session_, stream.id_, nullptr);
}

void H2Client::ping() {
  if (!dead_) nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
}

}  // namespace lbd::http
