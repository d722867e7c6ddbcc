// HTTP/1.1 to a target: one request at a time on a Connection.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "lbd/base/buffer.h"
#include "lbd/http/body_reader.h"
#include "lbd/http/h1_head.h"
#include "lbd/proxy/sides.h"
#include "lbd/upstream/connection.h"
#include "lbd/upstream/dial.h"

namespace lbd::proxy {

/// Reused from request to request by its worker.
class H1Upstream final : public UpstreamSide {
 public:
  explicit H1Upstream(BufferPool& pool) : out_(pool), tail_(pool), scanner_(limits_) {}

  [[nodiscard]] bool take_kept(const UpstreamTo& to) override;
  Task<Result<bool, net::DialFailure>> dial(const UpstreamTo& to) override;
  Task<> finish(bool well) override;
  [[nodiscard]] net::TlsKind tls_kind() const noexcept override {
    return connection_->stream().tls_kind();
  }
  [[nodiscard]] std::string failure_text() const override {
    return connection_->stream().failure_text();
  }

  /// What is under way is cut off, and the target shall see that. `finish` must follow.
  void reset() noexcept { connection_->stream().close(true); }

  /// What `take_kept` and `dial` do with the connection they found.
  void start(std::unique_ptr<upstream::Connection> connection,
             const config::UpstreamLimits& limits);
  /// Gives the connection up. It may carry another request when both messages ended and both sides
  /// want to keep it.
  [[nodiscard]] std::unique_ptr<upstream::Connection> release(bool& reusable) noexcept;

  Task<Result<void>> send_head(const http::RequestHead& request,
                               const std::vector<http::Header>& headers, BodyPiece first) override;
  Task<Result<void>> send_body(BodyPiece piece) override;
  Task<Result<void>> read_head(http::ResponseHead& head) override;
  Result<BodyPiece> buffered_body() override;
  Task<Result<BodyPiece>> read_body() override;
  void begin_tunnel() noexcept override;
  void set_deadline(TimePoint due) noexcept override { connection_->set_deadline(due); }
  void abort() noexcept override;
  [[nodiscard]] bool reused() const noexcept override { return connection_->reused(); }
  [[nodiscard]] bool answered() const noexcept override { return answered_; }

 private:
  /// Why an operation failed.
  [[nodiscard]] Error error_now(const net::IoResult& result) const noexcept;
  Task<Result<void>> write(std::span<const iovec> pieces);
  Task<Result<void>> finish_write();
  [[nodiscard]] Result<void> written() noexcept;

  upstream::Dial* dial_ = nullptr;  // while a connection is being made
  WorkerContext* worker_ = nullptr;
  const config::TargetGroup* settings_ = nullptr;
  std::unique_ptr<upstream::Connection> connection_;
  net::IoWait write_;
  Buffer out_;
  Buffer tail_;                       // trailers of the request
  std::array<char, 20> size_line_{};  // of the chunk that is being written
  http::HeadLimits limits_;
  http::HeadScanner scanner_;
  http::BodyReader body_;
  http::Method method_ = http::Method::get;
  std::string_view upgrade_;   // asked for; a view of the request's
  bool upgrade_only_ = false;  // no other success will do
  bool alone_ = false;
  bool tunnel_ = false;
  bool request_chunked_ = false;
  bool request_done_ = false;
  bool response_done_ = false;
  bool keep_alive_ = false;
  bool answered_ = false;
};

}  // namespace lbd::proxy
