#include "health/probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "health/probe_http2.h"
#include "lbd/http/h1_head.h"

namespace lbd::health {
namespace {

constexpr std::size_t kHeadBytesMax = 64 * 1024;
constexpr std::size_t kBodyBytesMax = 64 * 1024;

CheckResult failed(CheckFailure failure, std::string detail) {
  return {failure, std::move(detail), 0, 0, -1};
}

std::string codes_text(const config::HealthCheck& settings) {
  std::string text;
  for (const config::CodeRange& range : settings.codes) {
    if (!text.empty()) text += ",";
    text += range.first == range.last ? std::to_string(range.first)
                                      : fmt::format("{}-{}", range.first, range.last);
  }
  return text;
}

CheckResult connect_result(const net::DialFailure& failure) {
  if (failure.fault == Fault::connect_timeout)
    return failed(CheckFailure::timeout, "no connection in time");
  if (failure.fault == Fault::tls_failed) {
    return failed(CheckFailure::tls_failed, failure.tls.detail);
  }
  if (failure.fault == Fault::overload_shed) {
    return failed(CheckFailure::own_shortage, std::strerror(failure.error));
  }
  if (failure.error == EHOSTUNREACH || failure.error == ENETUNREACH) {
    return failed(CheckFailure::no_route, std::strerror(failure.error));
  }
  if (failure.error == ECONNRESET) {  // accepted, and reset before we looked
    return failed(CheckFailure::reset, "closed before it read the request");
  }
  return failed(CheckFailure::refused, std::strerror(failure.error));
}

std::string request_text(const net::Endpoint& address, const config::HealthCheck& settings) {
  return fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: lbd-health/1\r\nAccept: */*\r\nConnection: "
      "close\r\n\r\n",
      settings.path, settings.host.empty() ? address.authority() : settings.host);
}

/// Reads until `text` holds a whole head (ok), or the stream ends.
Task<net::IoResult> read_head(net::Stream& stream, std::string& text, http::ResponseHead& head,
                              std::size_t& head_bytes) {
  http::HeadLimits limits;
  http::HeadScanner scanner(limits);
  std::string chunk(4096, '\0');
  while (text.size() <= kHeadBytesMax) {
    const net::IoResult got = co_await stream.read(chunk);
    if (!got.ok()) co_return got;
    text.append(chunk, 0, got.bytes);
    const Result<std::size_t, Fault> end = scanner.scan(text);
    if (!end) co_return got;  // head stays without a status: not HTTP
    if (*end == 0) continue;
    head_bytes = *end;
    const Fault fault =
        http::parse_response_head(std::string_view(text).substr(0, *end), http::Method::get, head);
    if (fault != Fault::none) head.status = 0;
    co_return got;
  }
  co_return net::IoResult{};
}

/// True when the body's first 64 KiB hold the wanted text.
Task<bool> find_in_body(net::Stream& stream, std::string text, std::size_t head_bytes,
                        std::string wanted) {
  std::string chunk(4096, '\0');
  while (text.find(wanted, head_bytes) == std::string::npos) {
    if (text.size() > head_bytes + kBodyBytesMax) co_return false;
    const net::IoResult got = co_await stream.read(chunk);
    if (!got.ok()) co_return false;
    text.append(chunk, 0, got.bytes);
  }
  co_return true;
}

CheckResult judge(int status, double cpu, const config::HealthCheck& settings) {
  CheckResult result;
  result.status = status;
  result.cpu = cpu;
  const bool wanted = std::any_of(settings.codes.begin(), settings.codes.end(),
                                  [status](const config::CodeRange& range) {
                                    return status >= range.first && status <= range.last;
                                  });
  if (!wanted) {
    result.failure = CheckFailure::code_mismatch;
    result.detail = fmt::format("got {}, want {}", status, codes_text(settings));
  }
  return result;
}

void want_body(CheckResult& result, bool found, const config::HealthCheck& settings) {
  if (found) return;
  result.failure = CheckFailure::body_mismatch;
  result.detail = fmt::format("the body does not hold '{}'", settings.body);
}

Task<CheckResult> ask(net::Stream& stream, net::Endpoint address, config::HealthCheck settings) {
  const std::string request = request_text(address, settings);
  const iovec piece{const_cast<char*>(request.data()), request.size()};
  const net::IoResult sent = co_await stream.write(std::span<const iovec>(&piece, 1));
  std::string text;
  http::ResponseHead head;
  std::size_t head_bytes = 0;
  // As for requests: a target may answer and close before it has read everything.
  const net::IoResult answered = co_await read_head(stream, text, head, head_bytes);
  if (sent.fault == Fault::tls_failed || answered.fault == Fault::tls_failed) {
    co_return failed(CheckFailure::tls_failed, stream.failure_text());
  }
  if (!answered.ok()) {
    co_return failed(CheckFailure::reset,
                     sent.ok() ? "closed before it answered" : "closed before it read the request");
  }
  if (head.status == 0) co_return failed(CheckFailure::bad_response, "not an HTTP response");
  double cpu = -1;
  for (const http::Header& header : head.headers) {
    if (header.id == http::HeaderId::endpoint_load_metrics) cpu = http::orca_cpu(header.value);
  }
  CheckResult result = judge(head.status, cpu, settings);
  if (result.passed() && !settings.body.empty()) {
    const bool found = co_await find_in_body(stream, std::move(text), head_bytes, settings.body);
    want_body(result, found, settings);
  }
  co_return result;
}

CheckResult judge_grpc(const Http2Answer& answer) {
  CheckResult result;
  result.status = answer.status;
  result.cpu = answer.cpu;
  const int serving = grpc_health_status(answer.body);
  if (answer.status != 200 || answer.grpc_status != 0) {
    result.failure = CheckFailure::code_mismatch;
    result.detail = answer.grpc_status < 0
                        ? fmt::format("got HTTP status {} without grpc-status", answer.status)
                        : fmt::format("got grpc-status {}, want 0", answer.grpc_status);
  } else if (serving != 1) {
    result.failure = CheckFailure::body_mismatch;
    result.detail = serving < 0 ? "not a grpc.health.v1.HealthCheckResponse"
                                : fmt::format("health status {}, want 1 (SERVING)", serving);
  }
  return result;
}

Http2Question question_of(const std::string& host, const config::HealthCheck& settings, bool tls) {
  Http2Question question;
  const bool grpc = settings.protocol == config::CheckProtocol::grpc;
  question.scheme = tls ? "https" : "http";
  question.head.method = grpc ? http::Method::post : http::Method::get;
  question.head.method_text = http::method_name(question.head.method);
  question.head.target = grpc ? "/grpc.health.v1.Health/Check" : std::string_view(settings.path);
  const std::size_t query = question.head.target.find('?');
  question.head.path = question.head.target.substr(0, query);
  if (query != std::string_view::npos) question.head.query = question.head.target.substr(query + 1);
  question.headers = {{"host", host, http::HeaderId::host}, {"user-agent", "lbd-health/1"}};
  if (grpc) {
    question.headers.push_back({"content-type", "application/grpc"});
    question.headers.push_back({"te", "trailers"});
    question.body = grpc_health_request(settings.service);
  } else {
    question.headers.push_back({"accept", "*/*"});
  }
  return question;
}

Task<CheckResult> ask_in_http2(net::Stream& stream, net::Endpoint address,
                               config::HealthCheck settings) {
  const std::string own = address.is_unix() ? address.host() : address.text();
  const std::string host = settings.host.empty() ? own : settings.host;
  const Http2Question question = question_of(host, settings, stream.tls_client() != nullptr);
  const Http2Answer answer = co_await ask_http2(stream, question);
  if (answer.io.fault == Fault::tls_failed) {
    co_return failed(CheckFailure::tls_failed, stream.failure_text());
  }
  if (answer.not_http2) co_return failed(CheckFailure::bad_response, "not HTTP/2");
  if (answer.reset) co_return failed(CheckFailure::reset, "reset the request");
  if (!answer.io.ok() && answer.status == 0) {
    co_return failed(CheckFailure::reset, "closed before it answered");
  }
  if (answer.status == 0) co_return failed(CheckFailure::bad_response, "not an HTTP response");
  if (settings.protocol == config::CheckProtocol::grpc) co_return judge_grpc(answer);
  CheckResult result = judge(answer.status, answer.cpu, settings);
  if (result.passed() && !settings.body.empty()) {
    want_body(result, answer.body.find(settings.body) != std::string::npos, settings);
  }
  co_return result;
}

}  // namespace

std::string_view check_failure_name(CheckFailure failure) noexcept {
  constexpr std::string_view kNames[] = {
      "none",          "refused",       "timeout",  "reset",        "bad_response",
      "code_mismatch", "body_mismatch", "no_route", "own_shortage", "tls_failed"};
  return kNames[static_cast<std::size_t>(failure)];
}

void Probe::cancel() noexcept {
  dial_.cancel();
  if (stream_ != nullptr) stream_->cancel();
}

Task<CheckResult> Probe::run(net::TcpDial::To to, config::HealthCheck settings) {
  const net::Endpoint address = to.address;
  const TimePoint started = loop_.clock().now();
  const TimePoint due = started + settings.timeout;
  CheckResult result;
  net::Dialled dialled = co_await dial_.run(std::move(to), due);
  if (!dialled) {
    result = connect_result(dialled.error());
  } else {
    const std::unique_ptr<net::Stream> stream = std::move(*dialled);
    stream_ = stream.get();
    const net::StreamDeadline deadline(loop_.clock(), *stream, due);
    if (settings.http2 && settings.protocol != config::CheckProtocol::tcp) {
      result = co_await ask_in_http2(*stream, address, settings);
    } else if (settings.protocol != config::CheckProtocol::tcp) {
      result = co_await ask(*stream, address, settings);
    }
    if (deadline.passed() && !result.passed()) {
      result = failed(CheckFailure::timeout,
                      fmt::format("no answer within {} ms", settings.timeout.count()));
    }
    stream_ = nullptr;
    stream->close();
  }
  const Duration took = loop_.clock().now() - started;
  result.duration_us = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(took).count());
  co_return result;
}

}  // namespace lbd::health
