// The head of an HTTP/2 message, field by field, into the form every protocol shares (RFC 9113
// §8.2, §8.3).
#pragma once

#include <string_view>
#include <vector>

#include "lbd/base/buffer.h"
#include "lbd/base/result.h"
#include "lbd/http/message.h"

namespace lbd::http {

/// Collects the fields of one header block. Views into what it made hold until `clear`.
class H2HeadBuilder {
 public:
  explicit H2HeadBuilder(BufferPool& pool) : text_(pool) {}

  void clear() noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept { return text_.size(); }
  /// A pseudo-header or a field, as the header compression gave it; lower case names only. What is
  /// beyond the limits is counted and not kept. False: it is far beyond them, stop.
  bool add(std::string_view name, std::string_view value, const HeadLimits& limits);
  /// `last`: there is no body. Why the request is to be refused, or none. An extended CONNECT comes
  /// out as the GET with `upgrade` that it is in HTTP/1.1, without a key.
  [[nodiscard]] Fault finish_request(bool last, RequestHead& out);
  /// Of a response whose block is whole; 0: none that can be read.
  [[nodiscard]] int status() const noexcept;
  /// The answer to a request of `method`; `last`: there is no body. Interim ones too. bad_response,
  /// or none; a body of unknown length is `chunked`.
  [[nodiscard]] Fault finish_response(Method method, bool last, ResponseHead& out);
  /// The fields of a trailer section that may go on (trailers.h), or why the request is to be
  /// refused.
  [[nodiscard]] Fault finish_trailers(std::vector<Header>& out);

 private:
  struct Piece {
    std::size_t name = 0;
    std::size_t name_size = 0;
    std::size_t value = 0;
    std::size_t value_size = 0;
  };
  [[nodiscard]] std::string_view view(std::size_t at, std::size_t size) const noexcept {
    return text_.view().substr(at, size);
  }
  struct Pseudo {
    std::string_view scheme;
    std::string_view host;      // the field
    std::string_view protocol;  // of an extended CONNECT (RFC 8441)
    bool framing_lookalike = false;
  };
  void join_cookies();
  [[nodiscard]] Fault read_pieces(RequestHead& out, Pseudo& pseudo);
  [[nodiscard]] static Fault check_request(RequestHead& out, const Pseudo& pseudo);
  [[nodiscard]] static Fault check_connect(RequestHead& out, const Pseudo& pseudo, bool last);
  [[nodiscard]] Fault read_pseudo(const Piece& piece, RequestHead& out, Pseudo& pseudo);
  [[nodiscard]] Fault read_field(const Piece& piece, RequestHead& out, Pseudo& pseudo);
  struct Lengths {
    std::uint32_t count = 0;
    std::uint64_t value = 0;
  };
  [[nodiscard]] bool read_response_field(const Piece& piece, ResponseHead& out, Lengths& lengths);
  static void doubt_framing(RequestHead& out, const Pseudo& pseudo) noexcept;

  Buffer text_;
  std::vector<Piece> pieces_;
  std::size_t size_ = 0;  // as RFC 9113 §6.5.2 counts: 32 bytes of overhead a field
  bool too_large_ = false;
};

}  // namespace lbd::http
