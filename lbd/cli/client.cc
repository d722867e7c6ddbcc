#include "lbd/cli/client.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace lbd::cli {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

std::string encoded(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return out;
}

Result<Answer, AskFailure> ask(const std::string& socket, const std::string& method,
                               const std::string& target, int timeout_seconds) {
  using Unix = asio::local::stream_protocol;
  asio::io_context io;
  beast::basic_stream<Unix> stream(io);
  beast::error_code error;
  if (socket.size() >= 108) return AskFailure{"socket path too long: " + socket, false};
  stream.socket().connect(Unix::endpoint(socket), error);
  if (error) {
    return AskFailure{fmt::format("no daemon answers on {}: {}", socket, error.message()),
                      error == beast::errc::permission_denied};
  }
  http::request<http::empty_body> request(http::string_to_verb(method), target, 11);
  request.set(http::field::host, "lbd");
  request.keep_alive(false);
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(std::uint64_t{256} << 20);
  stream.expires_after(std::chrono::seconds(timeout_seconds));
  http::async_write(stream, request, [&](const beast::error_code& sent, std::size_t) {
    if (sent) {
      error = sent;
      return;
    }
    http::async_read(stream, buffer, parser,
                     [&](const beast::error_code& got, std::size_t) { error = got; });
  });
  io.run();
  if (error) return AskFailure{fmt::format("no answer on {}: {}", socket, error.message()), false};
  return Answer{static_cast<int>(parser.get().result_int()), std::move(parser.get().body())};
}

}  // namespace lbd::cli
