#include "lbd/http/h1_write.h"

#include <algorithm>
#include <charconv>
#include <ctime>

namespace lbd::http {

void write_header(std::string_view name, std::string_view value, Buffer& out) {
  out.append_all(name, ": ", value, "\r\n");
}

void write_headers(const std::vector<Header>& headers, Buffer& out) {
  for (const Header& header : headers) write_header(header.name, header.value, out);
}

void write_upgrade(std::string_view protocol, Buffer& out) {
  write_header("Connection", "Upgrade", out);
  write_header("Upgrade", protocol, out);
}

void write_content_length(std::uint64_t length, Buffer& out) {
  out.append("Content-Length: ");
  out.append_decimal(length);
  out.append("\r\n");
}

void end_head(Buffer& out) { out.append("\r\n"); }

void write_request_head(const RequestHead& request, const std::vector<Header>& headers,
                        Buffer& out) {
  out.append_all(request.method_text, " ", request.path);
  // A bare "?" is kept: it was sent, and some caches tell the two apart.
  const bool has_query = request.target.find('?') != std::string_view::npos;
  if (has_query) out.append_all("?", request.query);
  out.append(" HTTP/1.1\r\n");
  write_headers(headers, out);
  if (request.takes_trailers) write_header("Connection", "TE", out);
  if (!request.upgrade.empty()) write_upgrade(request.upgrade, out);
  switch (request.framing.kind) {
    case Framing::Kind::length:
      write_content_length(request.framing.length, out);
      break;
    case Framing::Kind::chunked:
      write_header("Transfer-Encoding", "chunked", out);
      break;
    default:
      break;
  }
  end_head(out);
}

void write_status_line(const StatusLine& line, Buffer& out) {
  out.append("HTTP/1.1 ");
  out.append_decimal(static_cast<std::uint64_t>(line.status));
  out.append_all(" ", line.reason.empty() ? reason_phrase(line.status) : line.reason, "\r\n");
}

std::string_view http_date(std::int64_t unix_seconds, std::span<char, 29> storage) noexcept {
  constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const std::time_t seconds = unix_seconds;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  constexpr std::string_view kShape = "Day, 00 Mon 0000 00:00:00 GMT";
  std::copy(kShape.begin(), kShape.end(), storage.begin());
  const auto put = [&storage](std::size_t at, int number, int digits) {
    for (std::size_t i = at + static_cast<std::size_t>(digits); i-- > at; number /= 10) {
      storage[i] = static_cast<char>('0' + number % 10);
    }
  };
  kDays.copy(storage.data(), 3, 3 * static_cast<std::size_t>(utc.tm_wday));
  kMonths.copy(storage.data() + 8, 3, 3 * static_cast<std::size_t>(utc.tm_mon));
  put(5, utc.tm_mday, 2);
  put(12, utc.tm_year + 1900, 4);
  put(17, utc.tm_hour, 2);
  put(20, utc.tm_min, 2);
  put(23, utc.tm_sec, 2);
  return {storage.data(), storage.size()};
}

std::string_view chunk_end(bool has_data, bool last, const std::vector<Header>* trailers,
                           Buffer& storage) {
  if (!last) return "\r\n";
  if (trailers == nullptr) return has_data ? "\r\n0\r\n\r\n" : "0\r\n\r\n";
  storage.append(has_data ? "\r\n0\r\n" : "0\r\n");
  write_headers(*trailers, storage);
  end_head(storage);
  return storage.view();
}

std::string_view chunk_size_line(std::size_t bytes, std::span<char, 20> storage) noexcept {
  const auto [end, error] = std::to_chars(storage.data(), storage.data() + 16, bytes, 16);
  end[0] = '\r';
  end[1] = '\n';
  return {storage.data(), static_cast<std::size_t>(end + 2 - storage.data())};
}

}  // namespace lbd::http
