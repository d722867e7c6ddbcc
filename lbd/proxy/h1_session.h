// HTTP/1.x from a client: reads requests one after the other and serves each with an exchange.
#pragma once

#include <array>
#include <memory>

#include "lbd/base/buffer.h"
#include "lbd/http/body_reader.h"
#include "lbd/http/h1_head.h"
#include "lbd/net/stream.h"
#include "lbd/proxy/session.h"
#include "lbd/proxy/sides.h"

namespace lbd::proxy {

/// One client connection.
class H1Session final : public Session, public ClientSide {
 public:
  H1Session(WorkerContext& worker, std::unique_ptr<net::Stream> stream, ClientInfo client,
            std::shared_ptr<upstream::LiveListener> listener);
  ~H1Session() override;

  /// Bytes that were read already; before `run`.
  void begin_with(std::string_view came) { in_.append(came); }
  Task<> run() override;
  void kill() noexcept override;

  [[nodiscard]] const http::RequestHead& head() const noexcept override { return head_; }
  [[nodiscard]] const ClientInfo& client() const noexcept override { return client_; }
  BodyPiece buffered_body() override;
  Task<Result<BodyPiece>> read_body() override;
  Task<Result<void>> send_continue() override;
  Task<Result<void>> send_interim(const ResponseOut& head) override;
  Task<Result<void>> send_head(const ResponseOut& head, BodyPiece first) override;
  Task<Result<void>> send_body(BodyPiece piece) override;
  Task<Result<void>> begin_tunnel(const ResponseOut& head) override;
  void watch(Gone gone, void* context) override;
  void look_ahead() override;
  void unwatch() noexcept override;
  void abort() noexcept override;

 private:
  enum class Phase : std::uint8_t { idle, head, exchange, closing };

  void begin_drain() noexcept override;
  bool load_settings() noexcept;
  Task<Fault> read_head();
  Task<> serve();
  Task<> refuse(Fault fault);
  Task<> close();
  class Fill;
  [[nodiscard]] Fill fill(Buffer& buffer, std::size_t capacity_max) noexcept;
  bool begin_fill(Buffer& buffer, std::size_t capacity_max);
  net::IoResult end_fill(Buffer& buffer) noexcept;
  Task<Result<void>> read_more_body();
  Task<Result<void>> write(std::string_view head, const BodyPiece& piece);
  bool begin_write(std::string_view head, const BodyPiece& piece);
  Task<Result<void>> finish_write();
  Task<Result<void>> finish_head(BodyPiece left);
  Result<void> written() noexcept;
  Task<Result<void>> end_tunnel(BodyPiece last);
  void compose_head(const ResponseOut& head, bool whole);
  Result<std::size_t, Fault> scan_head();
  Fault parse_head(std::size_t size);
  void head_began();
  [[nodiscard]] Fault refused(Fault fault, http::DesyncReason why, std::string_view bytes) noexcept;
  [[nodiscard]] Fault head_fault(const net::IoResult& result) const noexcept;
  void post_read();
  void rest();
  void watch_on();
  bool read_ahead_ended();
  void set_deadline(std::chrono::milliseconds after) noexcept;
  void shorten_idle() noexcept;
  void prepare_next();
  [[nodiscard]] Error client_error(const net::IoResult& result) const noexcept;
  static std::span<char> make_room(void* self);
  static void read_expired(void* self);
  static void write_expired(void* self);
  static void read_ended(void* self);

  std::unique_ptr<net::Stream> stream_;
  ClientInfo client_;
  config::ListenerTimeouts timeouts_;  // of the current or last request
  config::ListenerLimits body_limits_;
  config::DesyncMode desync_mode_ = config::DesyncMode::defensive;
  http::HeadLimits limits_;
  http::HeadScanner scanner_;
  http::RequestHead head_;
  http::BodyReader body_;
  Buffer in_;    // heads, and what came with them
  Buffer more_;  // bodies
  Buffer out_;   // heads of responses
  net::IoWait read_;
  net::IoWait write_;
  std::array<char, 20> size_line_{};  // of the chunk that is being written
  TimePoint idle_since_{};
  Timer read_watchdog_;
  Timer write_watchdog_;
  bool* destroyed_ = nullptr;  // set while a call of ours may end this session
  Gone gone_ = nullptr;
  void* gone_context_ = nullptr;
  std::uint64_t body_bytes_ = 0;
  Duration body_waited_{};
  std::uint32_t requests_ = 0;
  std::uint32_t empty_lines_ = 0;  // before the head that is being read
  Phase phase_ = Phase::idle;
  bool reading_ = false;
  bool roomed_ = false;   // the read has its room in in_
  bool waiting_ = false;  // a read is waited for, so its deadline counts
  bool writing_ = false;  // a write is waited for
  bool expired_ = false;
  bool aborted_ = false;
  bool killed_ = false;
  bool keep_alive_ = false;
  bool response_chunked_ = false;
  bool response_done_ = false;
  bool response_until_close_ = false;
  bool continue_owed_ = false;
  bool body_in_more_ = false;
  bool tunnel_ = false;
  bool client_ended_ = false;  // its half of the tunnel
  bool linger_ = false;  // the client may still be sending: let it read our answer before the reset
};

}  // namespace lbd::proxy
