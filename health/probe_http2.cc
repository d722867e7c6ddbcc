#include "health/probe_http2.h"

#include <algorithm>
#include <charconv>

#include "lbd/http/h2_client.h"

namespace lbd::health {
namespace {

constexpr std::size_t kBodyBytesMax = 64 * 1024;
constexpr std::size_t kSendMax = 16 * 1024;
constexpr std::size_t kMessageHead = 5;  // of gRPC: compressed or not, and the length

class Asked final : public http::H2Stream {
 public:
  Asked(const Http2Question& question, Http2Answer& answer, BufferPool& pool)
      : question_(question), answer_(answer), left_(question.body), head_(pool), trailer_(pool) {}
  void start(http::H2Client& codec) {
    codec_ = &codec;
    const bool last = question_.body.empty();
    submitted_ = codec.submit(*this, {question_.head, question_.headers, question_.scheme, last});
    over_ = !submitted_;
  }
  [[nodiscard]] bool over() const noexcept { return over_; }
  [[nodiscard]] bool submitted() const noexcept { return submitted_; }

 private:
  http::H2HeadBuilder& fields() override { return responded_ ? trailer_ : head_; }
  void head_ended(bool last) override {
    std::vector<http::Header> fields;
    if (responded_) {
      bad_ |= trailer_.finish_trailers(fields) != Fault::none;
      note(fields);
    } else if (head_.status() / 100 == 1 && !last) {
      return head_.clear();
    } else {
      http::ResponseHead response;
      responded_ = true;
      bad_ = head_.finish_response(question_.head.method, last, response) != Fault::none;
      answer_.status = bad_ ? 0 : response.status;
      note(response.headers);
    }
    if (last) body_ended();
  }
  void note(const std::vector<http::Header>& fields) {
    for (const http::Header& each : fields) {
      if (each.id == http::HeaderId::endpoint_load_metrics) {
        answer_.cpu = http::orca_cpu(each.value);
      } else if (each.name == "grpc-status") {
        const char* last = each.value.data() + each.value.size();
        const auto [end, error] = std::from_chars(each.value.data(), last, answer_.grpc_status);
        if (error != std::errc() || end != last) answer_.grpc_status = -1;
      }
    }
  }
  void body_came(std::string_view bytes) override {
    const std::size_t room = kBodyBytesMax - std::min(kBodyBytesMax, answer_.body.size());
    answer_.body.append(bytes.substr(0, room));
    codec_->consume(*this, bytes.size());
    if (room < bytes.size()) over_ = true;
  }
  void body_ended() override {
    if (bad_) answer_.status = 0;
    over_ = true;
  }
  [[nodiscard]] std::size_t ready_bytes(bool& last) const noexcept override {
    last = true;
    return left_.size();
  }
  void take_bytes(std::size_t size, Buffer& out) override {
    out.append(left_.substr(0, size));
    left_.remove_prefix(size);
  }
  [[nodiscard]] const std::vector<http::Header>* own_trailers() const noexcept override {
    return nullptr;
  }
  void refused() override { bad_ = true; }
  void closed(const http::H2Closed& how) override {
    if (!over_) {
      answer_.not_http2 = how.by_us;
      answer_.reset = !how.by_us;
      answer_.status = 0;
    }
    over_ = true;
  }

  const Http2Question& question_;
  Http2Answer& answer_;
  std::string_view left_;
  http::H2Client* codec_ = nullptr;
  http::H2HeadBuilder head_;
  http::H2HeadBuilder trailer_;
  bool responded_ = false;
  bool bad_ = false;
  bool submitted_ = false;
  bool over_ = false;
};

}  // namespace

Task<Http2Answer> ask_http2(net::Stream& stream, const Http2Question& question) {
  BufferPool pool;
  Http2Answer answer;
  Asked asked(question, answer, pool);
  http::H2Client codec({});
  Buffer out(pool);
  std::string in(4096, '\0');
  bool alive = true;
  while (alive && !asked.over()) {
    out.clear();
    codec.send(out, kSendMax);
    if (!out.empty()) {
      const iovec piece{const_cast<char*>(out.view().data()), out.size()};
      const net::IoResult sent = co_await stream.write(std::span<const iovec>(&piece, 1));
      if (sent.fault == Fault::tls_failed) answer.io = sent;
      if (out.size() >= kSendMax) continue;
    }
    if (asked.over()) break;
    const net::IoResult got = co_await stream.read(in);
    if (!got.ok()) {
      if (answer.io.ok()) answer.io = got;
      break;
    }
    alive = codec.receive(std::string_view(in).substr(0, got.bytes), {});
    if (alive && codec.ready() && !asked.submitted()) asked.start(codec);
  }
  if (!alive) answer.not_http2 = true;
  if (!alive || !asked.over()) answer.status = 0;
  co_return answer;
}

std::string grpc_health_request(std::string_view service) {
  std::string message;
  if (!service.empty()) {
    message += '\x0a';  // field 1, bytes
    std::size_t rest = service.size();
    for (; rest >= 128; rest /= 128) message += static_cast<char>(rest % 128 + 128);
    message += static_cast<char>(rest);
    message += service;
  }
  std::string out(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) {
    out += static_cast<char>(message.size() >> shift & 0xff);
  }
  return out + message;
}

int grpc_health_status(std::string_view body) noexcept {
  if (body.size() < kMessageHead || body[0] != '\0') return -1;
  std::size_t size = 0;
  for (std::size_t i = 1; i < kMessageHead; ++i) {
    size = size << 8 | static_cast<unsigned char>(body[i]);
  }
  const std::string_view message = body.substr(kMessageHead);
  if (message.size() != size) return -1;
  if (message.empty()) return 0;  // UNKNOWN, which is the default
  // One field: number 1, a varint below 128.
  if (size != 2 || message[0] != '\x08') return -1;
  const auto status = static_cast<unsigned char>(message[1]);
  return status < 128 ? status : -1;
}

}  // namespace lbd::health
