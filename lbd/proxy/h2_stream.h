// One request of an HTTP/2 connection, as an exchange sees it.
#pragma once

#include <array>
#include <coroutine>

#include "lbd/base/buffer.h"
#include "lbd/http/h2_server.h"
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
  /// Suspends until `wake`.
  class Wait {
   public:
    [[nodiscard]] bool waiting() const noexcept { return static_cast<bool>(waiter_); }
    /// `why`: what the wait ends with; none: what was waited for has come.
    void wake(Fault why) {
      if (!waiter_) return;
      why_ = why;
      std::exchange(waiter_, nullptr).resume();
    }
    static bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiter) noexcept { waiter_ = waiter; }
    [[nodiscard]] Fault await_resume() const noexcept { return why_; }

   private:
    std::coroutine_handle<> waiter_;
    Fault why_ = Fault::none;
  };

  http::H2HeadBuilder& fields() override { return begun_ ? trailer_fields_ : head_fields_; }
  void head_ended(bool last) override;
  void body_came(std::string_view bytes) override;
  void body_ended() override;
  [[nodiscard]] std::size_t ready_bytes(bool& last) const noexcept override;
  void take_bytes(std::size_t size, Buffer& out) override;
  [[nodiscard]] const std::vector<http::Header>* response_trailers() const noexcept override {
    return &response_trailers_;
  }
  void refused() override;
  void closed() override;

  void add_key();
  static Task<> serve(H2Stream& stream);
  Task<> answer();
  void finish();
  Task<Result<void>> send(BodyPiece piece);
  void keep_trailers(const std::vector<http::Header>& trailers);
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
  Wait reader_;
  Timer read_watchdog_;
  // The response's body: first what was small enough to be copied, then a piece of the exchange's.
  Buffer pending_;
  std::string_view piece_;
  Buffer trailer_text_;
  std::vector<http::Header> response_trailers_;
  Wait sender_;
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
