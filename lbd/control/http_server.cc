#include "lbd/control/http_server.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/url/parse.hpp>
#include <cerrno>
#include <cstring>
#include <list>

#include "lbd/net/loop_asio.h"

namespace lbd::control {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Unix = asio::local::stream_protocol;
using Tcp = asio::ip::tcp;

constexpr std::chrono::seconds kPatience{
    30};  // for a request to arrive, and for a reply to be read
constexpr std::chrono::milliseconds kPause{50};  // out of descriptors: try again after this
constexpr long kConnectionsMax = 256;            // admins and scrapers; more are closed at once
constexpr std::uint64_t kBodyBytesMax = 1 << 20;

struct Peer {
  bool may_write = false;
  std::string name;
};

Peer peer_of(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return {};
  // Who may open the socket at all is the file's mode (0660: its owner and group, who may write).
  return {true, fmt::format("uid {}", credentials.uid)};
}

bool parse_target(std::string_view target, ServerRequest& out) {
  const auto url = boost::urls::parse_origin_form(target);
  if (!url) return false;
  out.path = url->path();
  for (const auto& parameter : url->params()) out.query[parameter.key] = parameter.value;
  return true;
}

/// One connection, kept alive by the handlers it has pending.
template <class Protocol>
class Connection : public std::enable_shared_from_this<Connection<Protocol>> {
 public:
  using Socket = typename Protocol::socket;
  Connection(Socket socket, Peer peer, std::shared_ptr<HttpServer::Handler> handler)
      : stream_(std::move(socket)), peer_(std::move(peer)), handler_(std::move(handler)) {}

  void read() {
    parser_.emplace();
    parser_->body_limit(kBodyBytesMax);
    stream_.expires_after(kPatience);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = this->shared_from_this()](const beast::error_code& error, std::size_t) {
          if (!error) self->answer();
        });
  }

  void close() {
    beast::error_code ignored;
    stream_.socket().close(ignored);
  }

 private:
  void answer() {
    const http::request<http::string_body>& request = parser_->get();
    ServerRequest asked;
    asked.method = std::string(request.method_string());
    asked.accept = std::string(request[http::field::accept]);
    asked.body = request.body();
    asked.may_write = peer_.may_write;
    asked.peer = peer_.name;
    ServerReply reply{400, "text/plain; charset=utf-8", "bad request target\n"};
    if (parse_target({request.target().data(), request.target().size()}, asked))
      reply = (*handler_)(asked);
    response_ = {};
    response_.version(request.version());
    response_.result(static_cast<unsigned>(reply.status));
    response_.set(http::field::content_type, reply.content_type);
    response_.set(http::field::cache_control, "no-store");
    response_.keep_alive(request.keep_alive());
    response_.body() = std::move(reply.body);
    response_.prepare_payload();
    if (request.method() == http::verb::head) response_.body().clear();
    stream_.expires_after(kPatience);
    http::async_write(
        stream_, response_,
        [self = this->shared_from_this()](const beast::error_code& error, std::size_t) {
          if (!error && self->response_.keep_alive()) self->read();
        });
  }

  beast::basic_stream<Protocol> stream_;
  Peer peer_;
  std::shared_ptr<HttpServer::Handler> handler_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

}  // namespace

struct HttpServer::State : std::enable_shared_from_this<HttpServer::State> {
  State(net::Loop& loop, Handler callback)
      : io(net::asio_of(loop)), handler(std::make_shared<Handler>(std::move(callback))) {}

  template <class Protocol>
  void accept(typename Protocol::acceptor& acceptor) {
    acceptor.async_accept([self = shared_from_this(), &acceptor](const beast::error_code& error,
                                                                 typename Protocol::socket socket) {
      if (self->closed || error == asio::error::operation_aborted) return;
      if (error && error != asio::error::connection_aborted) {
        self->template accept_later<Protocol>(acceptor);  // out of descriptors
        return;
      }
      if (!error && self->handler.use_count() <= kConnectionsMax) {
        Peer peer;
        if constexpr (std::is_same_v<Protocol, Unix>) peer = peer_of(socket.native_handle());
        std::make_shared<Connection<Protocol>>(std::move(socket), std::move(peer), self->handler)
            ->read();
      }
      self->template accept<Protocol>(acceptor);
    });
  }

  template <class Protocol>
  void accept_later(typename Protocol::acceptor& acceptor) {
    const auto pause = std::make_shared<asio::steady_timer>(io, kPause);
    pause->async_wait(
        [self = shared_from_this(), &acceptor, pause](const beast::error_code& error) {
          if (!error && !self->closed) self->template accept<Protocol>(acceptor);
        });
  }

  asio::io_context& io;
  std::shared_ptr<Handler> handler;  // shared with each connection
  std::list<Unix::acceptor> unix_acceptors;
  std::list<Tcp::acceptor> tcp_acceptors;
  std::string socket_path;
  bool closed = false;
};

HttpServer::HttpServer(net::Loop& loop, Handler handler)
    : state_(std::make_shared<State>(loop, std::move(handler))) {}

HttpServer::~HttpServer() { close(); }

Outcome<void> HttpServer::listen_unix(const std::string& path) {
  beast::error_code error;
  Unix::socket probe(state_->io);
  if (path.size() >= sizeof(sockaddr_un::sun_path)) return failure("socket path too long: " + path);
  probe.connect(Unix::endpoint(path), error);
  if (!error) return failure(fmt::format("another lbd answers on {}", path));
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0) {
    if (!S_ISSOCK(found.st_mode)) {
      return failure(fmt::format("{} is there and is not a socket", path));
    }
    ::unlink(path.c_str());
  }
  Unix::acceptor& acceptor = state_->unix_acceptors.emplace_back(state_->io);
  acceptor.open(Unix(), error);
  const mode_t before = ::umask(0117);  // 0660 from the first moment on
  if (!error) acceptor.bind(Unix::endpoint(path), error);
  ::umask(before);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return failure(fmt::format("cannot listen on {}: {}", path, error.message()));
  state_->socket_path = path;
  state_->accept<Unix>(acceptor);
  return {};
}

Outcome<void> HttpServer::listen_tcp(const net::SocketAddress& address) {
  beast::error_code error;
  const Tcp::endpoint endpoint(asio::ip::make_address(address.ip(), error), address.port());
  Tcp::acceptor& acceptor = state_->tcp_acceptors.emplace_back(state_->io);
  if (!error) acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error)
    return failure(fmt::format("cannot listen on {}: {}", address.text(), error.message()));
  state_->accept<Tcp>(acceptor);
  return {};
}

void HttpServer::close() {
  if (state_->closed) return;
  state_->closed = true;
  beast::error_code ignored;
  for (Unix::acceptor& acceptor : state_->unix_acceptors) acceptor.close(ignored);
  for (Tcp::acceptor& acceptor : state_->tcp_acceptors) acceptor.close(ignored);
  if (!state_->socket_path.empty()) ::unlink(state_->socket_path.c_str());
}

}  // namespace lbd::control
