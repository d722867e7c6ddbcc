// HTTP/2 to a target: one stream of a connection that others share (docs/adr/0012).
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "lbd/http/h2_client.h"
#include "lbd/proxy/h2_body.h"
#include "lbd/proxy/sides.h"
#include "lbd/upstream/h2_connections.h"

namespace lbd::proxy {

/// Reused from request to request by its worker.
class H2Upstream final : public UpstreamSide, private upstream::H2Carried {
 public:
  explicit H2Upstream(WorkerContext& worker);

  [[nodiscard]] bool take_kept(const UpstreamTo& to) override;
  Task<Result<bool, net::DialFailure>> dial(const UpstreamTo& to) override;
  Task<> finish(bool well) override;
  [[nodiscard]] net::TlsKind tls_kind() const noexcept override;
  [[nodiscard]] std::string failure_text() const override { return {}; }

  Task<Result<void>> send_head(const http::RequestHead& request,
                               const std::vector<http::Header>& headers, BodyPiece first) override;
  Task<Result<void>> send_body(BodyPiece piece) override { return send(piece); }
  Task<Result<void>> read_head(http::ResponseHead& head) override;
  Result<BodyPiece> buffered_body() override;
  Task<Result<BodyPiece>> read_body() override;
  void begin_tunnel() noexcept override;
  void set_deadline(TimePoint due) noexcept override;
  void abort() noexcept override;
  /// A connection that served others and has ended since; one that lives on refuses for a reason.
  [[nodiscard]] bool reused() const noexcept override;
  [[nodiscard]] bool answered() const noexcept override { return answered_; }

 private:
  http::H2HeadBuilder& fields() override { return responded_ ? trailer_fields_ : *head_fields_; }
  void head_ended(bool last) override;
  void body_came(std::string_view bytes) override;
  void body_ended() override;
  [[nodiscard]] std::size_t ready_bytes(bool& last) const noexcept override;
  void take_bytes(std::size_t size, Buffer& out) override;
  [[nodiscard]] const std::vector<http::Header>* own_trailers() const noexcept override {
    return &outgoing_.trailers();
  }
  void refused() override {}
  void closed(const http::H2Closed& how) override;
  void sent() override;
  void disconnected(bool broke_rules) override;

  void start(const UpstreamTo& to);
  void interim_ended(bool last);
  Task<Result<void>> send(BodyPiece piece);
  void accept_tunnel(http::ResponseHead& head);
  void consume_taken();
  void wake(Fault why);
  [[nodiscard]] bool stuck() const noexcept;
  [[nodiscard]] Error error_now() const noexcept;
  static void expire(void* self);

  WorkerContext& worker_;
  upstream::H2Connection* connection_ = nullptr;
  upstream::H2Seat* seat_ = nullptr;  // while a connection is being made
  std::unique_ptr<http::H2HeadBuilder> head_fields_;
  http::H2HeadBuilder trailer_fields_;
  std::vector<std::unique_ptr<http::H2HeadBuilder>> interims_;
  std::size_t interims_read_ = 0;
  // The response's body: `taken_` is with the exchange, `arriving_` comes meanwhile.
  Buffer taken_;
  Buffer arriving_;
  std::vector<http::Header> trailers_;
  H2Wait reader_;
  H2Outgoing outgoing_;  // the request's
  H2Wait sender_;
  Timer watchdog_;
  http::Method method_ = http::Method::get;
  std::string_view upgrade_;  // asked for; a view of the request's
  std::string key_;           // and its Sec-WebSocket-Key
  std::string accept_;
  Fault lost_ = Fault::none;  // why the stream ended before its response
  bool untouched_ = false;    // and the target has not acted on the request
  bool https_ = false;
  bool open_ = false;  // the codec may call
  bool submitted_ = false;
  bool reused_ = false;  // the connection has served others
  bool request_done_ = false;
  bool answered_ = false;
  bool responded_ = false;  // the response's head is whole
  bool head_last_ = false;  // and ended it
  bool bodiless_ = false;
  bool response_done_ = false;
  bool trailers_bad_ = false;
  bool tunnel_ = false;
  bool expired_ = false;
  bool aborted_ = false;
};

}  // namespace lbd::proxy
