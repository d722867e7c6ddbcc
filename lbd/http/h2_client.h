// HTTP/2 as a client speaks it: requests of many on one connection to a target.
#pragma once

#include "lbd/http/h2_codec.h"

namespace lbd::http {

/// `limits.streams_max` is ours: requests at a time, whatever more the server would take.
class H2Client final : public H2Codec {
 public:
  /// Nothing is to be sent before `ready`: until then the server's limits are not known, nor
  /// whether it speaks HTTP/2.
  explicit H2Client(const H2Limits& limits);

  /// The server's settings have come.
  [[nodiscard]] bool ready() const noexcept { return ready_; }
  /// Requests that may be open at a time.
  [[nodiscard]] std::size_t streams_max() const noexcept;
  /// Another request may be sent now.
  [[nodiscard]] bool has_room() const noexcept;
  /// None will be any more: the server said so, or the stream ids are used up.
  [[nodiscard]] bool ending() const noexcept;
  /// Requests that are not over.
  [[nodiscard]] std::size_t open() const noexcept { return open_; }
  /// The server takes extended CONNECT (RFC 8441).
  [[nodiscard]] bool takes_connect() const noexcept;

  struct Request {
    const RequestHead& head;
    const std::vector<Header>& headers;  // with Host, which becomes :authority
    std::string_view scheme;
    bool last = false;  // no body follows
  };
  /// `stream` must live until it is closed, forgotten, or the codec is gone. False: it was not
  /// sent, and is not called.
  [[nodiscard]] bool submit(H2Stream& stream, const Request& request);
  /// A request that is not over is reset, and its stream not called any more.
  void forget(H2Stream& stream);
  /// To be answered by the peer, which shows that it is there.
  void ping();

 private:
  void settings_came() override { ready_ = true; }
  void gone(H2Stream& /*stream*/) noexcept override { --open_; }

  std::size_t open_ = 0;
  bool ready_ = false;
};

}  // namespace lbd::http
