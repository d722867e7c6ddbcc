// An HTTP/2 client's bytes, made by hand, and streams that note what a codec makes of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lbd/http/h1_write.h"
#include "lbd/http/h2_server.h"

namespace lbd::http::h2 {

using Fields = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum Kind : std::uint8_t {
  kData,
  kHeaders,
  kPriority,
  kReset,
  kSettings,
  kPush,
  kPing,
  kGoaway,
  kWindowUpdate,
  kContinuation
};
constexpr std::uint8_t kEndStream = 1;
constexpr std::uint8_t kAck = 1;
constexpr std::uint8_t kEndHeaders = 4;

inline std::string big_endian(std::uint32_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

inline std::string frame(Kind kind, std::uint8_t flags, std::uint32_t stream,
                         std::string_view payload = {}) {
  return big_endian(static_cast<std::uint32_t>(payload.size()), 3) + static_cast<char>(kind) +
         static_cast<char>(flags) + big_endian(stream, 4) + std::string(payload);
}

/// A header block of literals without indexing or Huffman code (RFC 7541 §6.2.2).
inline std::string block(const Fields& fields) {
  std::string out;
  const auto text = [&out](std::string_view value) {
    if (value.size() < 127) {
      out += static_cast<char>(value.size());
    } else {
      out += '\x7f';
      std::size_t rest = value.size() - 127;
      for (; rest >= 128; rest /= 128) out += static_cast<char>(rest % 128 + 128);
      out += static_cast<char>(rest);
    }
    out += value;
  };
  for (const auto& [name, value] : fields) {
    out += '\0';
    text(name);
    text(value);
  }
  return out;
}

inline Fields request(std::string path, Fields more = {}, std::string method = "GET") {
  Fields fields{{":method", std::move(method)},
                {":scheme", "https"},
                {":authority", "shop.test"},
                {":path", std::move(path)}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

inline std::string headers(std::uint32_t stream, const Fields& fields, bool last = true) {
  const auto flags = static_cast<std::uint8_t>(kEndHeaders | (last ? kEndStream : 0));
  return frame(kHeaders, flags, stream, block(fields));
}

struct Frame {
  std::uint8_t kind = 0;
  std::uint8_t flags = 0;
  std::uint32_t stream = 0;
  std::string payload;
};

inline std::uint32_t number(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

inline std::vector<Frame> frames_of(std::string_view bytes) {
  std::vector<Frame> out;
  while (bytes.size() >= 9) {
    const std::size_t size = number(bytes.substr(0, 3));
    if (bytes.size() < 9 + size) break;
    out.push_back({static_cast<std::uint8_t>(bytes[3]), static_cast<std::uint8_t>(bytes[4]),
                   number(bytes.substr(5, 4)) & 0x7fff'ffff, std::string(bytes.substr(9, size))});
    bytes.remove_prefix(9 + size);
  }
  return out;
}

/// A codec with streams that write down what happens, one line each, and answer when told to.
class Server : public H2Streams {
 public:
  class Noted final : public H2Stream {
   public:
    explicit Noted(Server& server) : server_(server), head_(server.pool_), trailer_(server.pool_) {}
    std::string body;   // of the response, to be sent
    bool last = false;  // and nothing more
    std::vector<Header> trailers;

   private:
    H2HeadBuilder& fields() override { return begun_ ? trailer_ : head_; }
    void head_ended(bool ends) override {
      if (begun_) {
        std::vector<Header> found;
        const Fault fault = trailer_.finish_trailers(found);
        std::string line = std::string("trailers ") + std::string(fault_name(fault));
        for (const Header& each : found) {
          line += " " + std::string(each.name) + "=" + std::string(each.value);
        }
        note(line);
        return;
      }
      begun_ = true;
      RequestHead request;
      const Fault fault = head_.finish_request(ends, request);
      if (fault == Fault::none) server_.accepted(request);
      note(fault == Fault::none ? "request " + std::string(request.method_text) + " " +
                                      std::string(request.authority) + std::string(request.target)
                                : "refused " + std::string(fault_name(fault)));
      if (ends) note("end");
    }
    void body_came(std::string_view bytes) override {
      came_ += bytes.size();
      if (server_.consumes) server_.codec.consume(*this, bytes.size());
    }
    void body_ended() override { note("end of " + std::to_string(came_)); }
    [[nodiscard]] std::size_t ready_bytes(bool& ends) const noexcept override {
      ends = last;
      return body.size();
    }
    void take_bytes(std::size_t size, Buffer& out) override {
      out.append(std::string_view(body).substr(0, size));
      body.erase(0, size);
    }
    [[nodiscard]] const std::vector<Header>* own_trailers() const noexcept override {
      return &trailers;
    }
    void refused() override { note("forbidden"); }
    void closed(const H2Closed& /*how*/) override { note("closed"); }
    void note(const std::string& what) {
      server_.events += std::to_string(id()) + " " + what + "\n";
    }

    Server& server_;
    H2HeadBuilder head_;
    H2HeadBuilder trailer_;
    std::size_t came_ = 0;
    bool begun_ = false;
  };

  explicit Server(const H2Limits& limits = {}) : codec(limits, *this) {}

  H2Stream* open_stream() override {
    streams.push_back(std::make_unique<Noted>(*this));
    return streams.back().get();
  }
  /// What the codec has to say now, up to `most` bytes.
  std::string sent(std::size_t most = 1 << 20) {
    Buffer out(pool_);
    codec.send(out, most);
    return std::string(out.view());
  }
  bool take(std::string_view bytes) { return codec.receive(bytes, now); }
  /// For fuzzing: called with each request that is accepted.
  virtual void accepted(const RequestHead& /*request*/) {}

  BufferPool pool_;
  std::string events;
  bool consumes = true;
  TimePoint now{};
  std::vector<std::unique_ptr<Noted>> streams;
  H2Server codec;
};

}  // namespace lbd::http::h2
