#include "lbd/http/h2_server.h"

#include <array>
#include <charconv>

#include "lbd/base/check.h"
#include "lbd/http/h2_nghttp2.h"

namespace lbd::http {

H2Server::H2Server(const H2Limits& limits, H2Streams& streams)
    : H2Codec(limits, Role::server), streams_(streams) {
  const std::array<nghttp2_settings_entry, 5> settings{{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.head.head_bytes_max},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
      {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, limits.websocket ? 1U : 0U},
  }};
  LBD_CHECK(
      nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) == 0);
}

void H2Server::submit(H2Stream& stream, const Head& head, bool interim) {
  if (dead_) return;
  std::array<char, 3> status{};
  std::to_chars(status.data(), status.data() + status.size(), head.status);
  std::array<char, 20> length{};
  std::vector<nghttp2_nv>& fields = scratch_->fields;
  fields.clear();
  fields.push_back(name_value(":status", {status.data(), status.size()}));
  for (const Header& each : *head.headers) fields.push_back(name_value(each));
  if (head.length >= 0) {
    const auto [end, error] =
        std::to_chars(length.data(), length.data() + length.size(), head.length);
    fields.push_back(name_value("content-length", {length.data(), end}));
  }
  if (interim) {
    nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream.id(), nullptr, fields.data(),
                           fields.size(), nullptr);
    return;
  }
  const nghttp2_data_provider body = body_of_streams();
  nghttp2_submit_response(session_, stream.id(), fields.data(), fields.size(),
                          head.last ? nullptr : &body);
}

void H2Server::submit_head(H2Stream& stream, const Head& head) { submit(stream, head, false); }

void H2Server::submit_interim(H2Stream& stream, const Head& head) { submit(stream, head, true); }

void H2Server::announce_end() {
  if (!dead_) nghttp2_submit_shutdown_notice(session_);
}

}  // namespace lbd::http
