// A target's HTTP/2 against a client codec: streams that note what the codec makes of its bytes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/http/h2_client.h"
#include "tests/support/h2_peer.h"

namespace lbd::http::h2 {

/// A codec whose server's bytes the test makes by hand.
class Client {
 public:
  class Asked final : public H2Stream {
   public:
    Asked(Client& client, Method method)
        : client_(client), head_(client.pool_), trailer_(client.pool_), method_(method) {}
    std::string body;  // of the request, to be sent
    bool last = false;
    std::vector<Header> trailers;
    bool over = false;

   private:
    H2HeadBuilder& fields() override { return responded_ ? trailer_ : head_; }
    void head_ended(bool ends) override {
      if (responded_) {
        std::vector<Header> found;
        std::string line = "trailers " + std::string(fault_name(trailer_.finish_trailers(found)));
        for (const Header& each : found) {
          line += " " + std::string(each.name) + "=" + std::string(each.value);
        }
        return note(line);
      }
      ResponseHead response;
      const Fault fault = head_.finish_response(method_, ends, response);
      responded_ = response.status >= 200 || fault != Fault::none;
      if (fault == Fault::none) {
        client_.accepted(response, method_);
        note("response " + std::to_string(response.status) + framing(response));
      } else {
        note("refused " + std::string(fault_name(fault)));
      }
      if (!responded_) head_.clear();
      if (ends) note("end");
    }
    static std::string framing(const ResponseHead& head) {
      switch (head.framing.kind) {
        case Framing::Kind::length:
          return " of " + std::to_string(head.framing.length);
        case Framing::Kind::chunked:
          return " of unknown length";
        default:
          return "";
      }
    }
    void body_came(std::string_view bytes) override {
      came_ += bytes.size();
      if (client_.consumes) client_.codec.consume(*this, bytes.size());
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
    void closed(const H2Closed& how) override {
      over = true;
      note("closed " + std::to_string(static_cast<std::uint32_t>(how.error)) +
           (how.by_us ? " by us" : "") + (how.untouched ? " untouched" : ""));
    }
    void note(const std::string& what) {
      client_.events += std::to_string(id()) + " " + what + "\n";
    }

    Client& client_;
    H2HeadBuilder head_;
    H2HeadBuilder trailer_;
    const Method method_;
    std::size_t came_ = 0;
    bool responded_ = false;
  };

  explicit Client(const H2Limits& limits = {}) : codec(limits) {}
  virtual ~Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Sends a request and says whether it was taken.
  bool ask(Method method = Method::get, bool last = true) {
    streams.push_back(std::make_unique<Asked>(*this, method));
    RequestHead head;
    head.method = method;
    head.method_text = method_name(method);
    head.target = head.path = "/x";
    head.framing.kind = last ? Framing::Kind::none : Framing::Kind::chunked;
    const std::vector<Header> fields{{"Host", "shop.test", HeaderId::host}, {"X-One", "1"}};
    return codec.submit(*streams.back(), {head, fields, "http", last});
  }
  std::string sent(std::size_t most = 1 << 20) {
    Buffer out(pool_);
    codec.send(out, most);
    return std::string(out.view());
  }
  bool take(std::string_view bytes) { return codec.receive(bytes, now); }
  /// The server's side of the beginning.
  bool greet(std::string_view settings = {}) {
    (void)sent();
    const bool alive = take(frame(kSettings, 0, 0, settings) + frame(kSettings, kAck, 0));
    (void)sent();
    return alive;
  }
  /// For fuzzing: called with each response that is accepted.
  virtual void accepted(const ResponseHead& /*response*/, Method /*method*/) {}

  BufferPool pool_;
  std::string events;
  bool consumes = true;
  TimePoint now{};
  std::vector<std::unique_ptr<Asked>> streams;
  H2Client codec;
};

}  // namespace lbd::http::h2
