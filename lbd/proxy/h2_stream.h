// One request of an HTTP/2 connection, as an exchange sees it.
#pragma once

#include <array>

#include "lbd/base/buffer.h"
#include "lbd/http/h2_server.h"
#include "lbd/proxy/h2_body.h"
#include "lbd/proxy/h2_session.h"
#include "lbd/proxy/sides.h"

namespace lbd::proxy {

/// Reused by its session for another request once both the stream and the exchange are over.
class H2Stream final : public http::H2Stream, public ClientSide {
 public:
  explicit H2Stream(H2Session& session);
  ~H2Stream() override;

  /// Everything as new.
  void start();
  /// The head has come, and all that came with it was looked at.
  void begin(bool alive);
  /// The stream is closed and its exchange over.
  [[nodiscard]] bool idle() const noexcept { return !open_ && !serving_; }
  /// The client is gone, or lbd ends the connection.
  void lose(Fault why) noexcept;
  /// Of its request, counted in the session's.
  [[nodiscard]] std::size_t head_bytes() const noexcept { return head_bytes_; }
  /// What it had to send has gone out.
  void sent();

  [[nodiscard]] const http::RequestHead& head() const noexcept override { return head_; }
  [[nodiscard]] const ClientInfo& client() const noexcept override { return session_.client_; }
  BodyPiece buffered_body() override;
  Task<Result<BodyPiece>> read_body() override;
  Task<Result<void>> send_continue() override;
  Task<Result<void>> send_interim(const ResponseOut& head) override;
  Task<Result<void>> send_head(const ResponseOut& head, BodyPiece first) override;
  Task<Result<void>> send_body(BodyPiece piece) override;
  Task<Result<void>> begin_tunnel(const ResponseOut& head) override;
  void watch(Gone gone, void* context) override;
  void look_ahead() override {}  // the connection is always read
  void unwatch() noexcept override { gone_ = nullptr; }
  void abort() noexcept override;

 private:
  http::H2HeadBuilder& fields() override { return begun_ ? trailer_fields_ : head_fields_; }
  void head_ended(bool last) override;
  void body_came(std::string_view bytes) override;
  void body_ended() override;
  [[nodiscard]] std::size_t ready_bytes(bool& last) const noexcept override;
  void take_bytes(std::size_t size, Buffer& out) override;
  [[nodiscard]] const std::vector<http::Header>* own_trailers() const noexcept override {
    return &outgoing_.trailers();
  }
  void refused() override;
  void refuse_part(Fault why);
  void closed(const http::H2Closed& how) override;

  void add_key();
  [[nodiscard]] bool is_too_large() const noexcept;
  static Task<> serve(H2Stream& stream);
  Task<> answer();
  void finish();
  Task<Result<void>> send(BodyPiece piece);
  Task<Result<void>> finish_sending();
  void drop_output() noexcept;
  [[nodiscard]] static Error error_of(Fault why) noexcept;
  static void read_expired(void* self);
  static void write_expired(void* self);

  H2Session& session_;
  http::H2HeadBuilder head_fields_;
  http::H2HeadBuilder trailer_fields_;
  http::RequestHead head_;
  Fault refusal_ = Fault::none;
  std::size_t head_bytes_ = 0;
  // The request's body: `taken_` is with the exchange, `arriving_` comes meanwhile.
  Buffer taken_;
  Buffer arriving_;
  std::vector<http::Header> trailers_;
  std::uint64_t body_bytes_ = 0;
  Duration body_waited_{};
  H2Wait reader_;
  Timer read_watchdog_;
  H2Outgoing outgoing_;  // the response's body
  H2Wait sender_;
  Timer write_watchdog_;
  Gone gone_ = nullptr;
  void* gone_context_ = nullptr;
  Fault lost_ = Fault::none;
  std::array<char, 24> key_{};  // Sec-WebSocket-Key, which only HTTP/1.1 has
  bool open_ = false;           // the codec may call
  bool tunnel_ = false;
  bool serving_ = false;  // an exchange is under way
  bool begun_ = false;    // the head is whole
  bool body_done_ = false;
  bool body_bad_ = false;
  bool continue_owed_ = false;
  bool responded_ = false;      // a head went out
  bool response_done_ = false;  // and all of the body was given
};

}  // namespace lbd::proxy
