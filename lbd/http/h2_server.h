// HTTP/2 as a server speaks it.
#pragma once

#include "lbd/http/h2_codec.h"

namespace lbd::http {

/// Makes the streams.
class H2Streams {
 public:
  virtual ~H2Streams() = default;
  /// A new request; null: refuse it, it may be sent again elsewhere. Must live until `closed`, or
  /// until the codec is gone.
  virtual H2Stream* open_stream() = 0;
};

class H2Server final : public H2Codec {
 public:
  H2Server(const H2Limits& limits, H2Streams& streams);

  /// A head whose status is in `status`; `length`: of the body, negative when not known or not to
  /// be told. `last`: no body follows.
  struct Head {
    int status = 200;
    const std::vector<Header>* headers = nullptr;
    std::int64_t length = -1;
    bool last = false;
  };
  void submit_head(H2Stream& stream, const Head& head);
  void submit_interim(H2Stream& stream, const Head& head);
  /// Tells the client to open no more streams; those on their way are still served.
  void announce_end();

 private:
  H2Stream* opened() override { return streams_.open_stream(); }
  void submit(H2Stream& stream, const Head& head, bool interim);

  H2Streams& streams_;
};

}  // namespace lbd::http
