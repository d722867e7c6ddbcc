// One request from head to end: route, pick, send, relay, retry. It knows no protocol (sides.h).
#pragma once

#include <array>

#include "lbd/net/proxy_protocol.h"
#include "lbd/proxy/mirror.h"
#include "lbd/proxy/pick.h"
#include "lbd/proxy/record.h"
#include "lbd/proxy/retry.h"
#include "lbd/proxy/sides.h"
#include "lbd/proxy/worker_context.h"
#include "lbd/upstream/waiting.h"

namespace lbd::proxy {

/// An answer of lbd's own.
struct LocalReply {
  int status = 200;
  std::string_view content_type;
  std::string_view body;
  std::string_view location;
  std::string_view reason;  // x-lbd-reason
  std::string_view id;
  std::string_view retry_after;  // seconds
};

/// Buffers and heads of one exchange, reused by the worker for the next.
struct ExchangeState {
  explicit ExchangeState(BufferPool& pool)
      : scratch(pool),
        url(pool),
        trace(pool),
        cookies(pool),
        etag(pool),
        encoded(pool),
        request_text(pool),
        response_text(pool) {}
  http::ResponseHead response;
  std::vector<http::Header> upstream_headers;
  std::vector<http::Header> client_headers;
  Buffer scratch;
  // For rules that rewrite: the request as the target gets it, and what was written for it.
  http::RequestHead rewritten;
  Buffer url;  // or of a redirect's Location
  Buffer trace;
  Buffer cookies;
  Buffer etag;
  Buffer encoded;  // the piece of the body under way
  Buffer request_text;
  Buffer response_text;
  std::vector<upstream::FlightLease> flights;  // given back by the exchange
};

/// Lives in its session's frame while the request lasts. Thread: the worker's.
class Exchange {
 public:
  Exchange(WorkerContext& worker, ClientSide& client, const upstream::SnapshotListener& listener,
           const Pinned& pinned);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// Answers the request, from a target or by itself, and accounts for it.
  Task<> run();
  /// The target it waits for is down: when its response is overdue and another try is allowed, it
  /// leaves for another target. True: ask again soon.
  bool leave_target(TimePoint now) noexcept;

 private:
  [[nodiscard]] std::size_t find_rule();
  [[nodiscard]] route::Variables variables() noexcept;
  [[nodiscard]] Fault admit();
  [[nodiscard]] Fault admit_to(const upstream::SnapshotGate& gate);
  [[nodiscard]] std::size_t choose_group(const upstream::SnapshotRoute& route);
  [[nodiscard]] Choice choose_target();
  [[nodiscard]] std::uint32_t find_wanted_target() const noexcept;
  void start_encoding(ResponseOut& out);
  void weaken_etag();
  [[nodiscard]] http::Coding wanted_coding() const noexcept;
  [[nodiscard]] bool take_encoder(http::Coding coding);
  [[nodiscard]] Result<BodyPiece> encoded(const BodyPiece& piece);
  void set_sticky_cookies(const Choice& choice);
  void reserve_cookies();
  void add_cookie(const upstream::StickyTokens& tokens, std::uint32_t index,
                  std::optional<std::string_view> attributes = {});
  bool follow_app_cookie(const config::Stickiness& settings, std::uint32_t target);
  [[nodiscard]] bool has_app_session(const config::Stickiness& settings) const noexcept;
  [[nodiscard]] std::string_view limit_key(config::RateKey by,
                                           const std::string& name) const noexcept;
  void compose_request(const upstream::SnapshotRoute& route);
  void begin_mirror(const upstream::SnapshotMirror& mirror);
  void feed_mirror(BodyPiece piece);
  void edit_response();
  [[nodiscard]] Duration response_head_timeout() const noexcept;
  [[nodiscard]] std::uint64_t body_bytes_max() const noexcept;
  void arm_total_deadline();
  Task<> forward(const upstream::SnapshotRoute& route);
  Task<Error> attempt(const Choice& choice);
  [[nodiscard]] UpstreamTo way_to(const Choice& choice,
                                  const net::ProxyHeader& greeting) const noexcept;
  [[nodiscard]] bool take_kept(const Choice& choice, UpstreamSide& upstream);
  Task<Result<void>> connect(const Choice& choice, UpstreamSide& upstream);
  Task<Error> converse(UpstreamSide& upstream, const Choice& choice);
  Task<Result<void>> pass_interims(UpstreamSide& upstream);
  Task<Error> relay(UpstreamSide& upstream, const Choice& choice);
  Task<> upload(UpstreamSide& upstream);
  Task<Error> tunnel(UpstreamSide& upstream, const Choice& choice);
  Task<> pump_up(UpstreamSide& upstream);
  static void moved_down(void* self, std::size_t bytes);
  static void moved_up(void* self, std::size_t bytes);
  void note_tunnel_use() noexcept;
  [[nodiscard]] bool refuses_upgrade() const noexcept;
  Task<> reply_redirect(const config::Redirect& redirect);
  Task<> reply_fixed(const config::FixedResponse& fixed);
  Task<> reply_error(Error error);
  Task<Result<void>> reply(LocalReply local);
  Task<Result<void>> dial(const UpstreamTo& to, const Choice& choice, UpstreamSide& upstream);
  [[nodiscard]] bool is_stale(const Error& error, const UpstreamSide& upstream) const noexcept;
  [[nodiscard]] net::ProxyHeader proxy_header() const noexcept;
  void start_upload(UpstreamSide& upstream);
  Task<> end_upload(UpstreamSide& upstream);
  [[nodiscard]] RetryAnswer ask_retry(const Error& error) const noexcept;
  [[nodiscard]] bool may_try_again(const Error& error);
  void take_newest_group();
  [[nodiscard]] Error called_off_error() const noexcept;
  void call_off(Fault why) noexcept;
  void note_unsent(const Error& error) noexcept;
  [[nodiscard]] AttemptRecord& this_attempt() noexcept;
  void note_head(const Choice& choice);
  void note_success(upstream::TargetLoad& load, bool failed);
  void note_grpc(const Choice& choice, const std::vector<http::Header>* trailers);
  void count_grpc() noexcept;
  Task<Result<void>> reply_grpc(int status);
  void note_tls(const Choice& choice, net::TlsFailure failure);
  void note_result(const Choice& choice, const Error& error);
  void start_record();
  void finish_record();
  void describe_request();
  [[nodiscard]] const config::TargetGroup& group_settings() const noexcept {
    return group_->settings;
  }
  /// What responses say in Via.
  [[nodiscard]] std::string_view via() const noexcept {
    return listener_.settings.forwarded_headers.via ? std::string_view(pinned_.snapshot->via)
                                                    : std::string_view();
  }
  static void client_gone(void* self, Fault why);
  static void total_expired(void* self);

  WorkerContext& worker_;
  ClientSide& client_;
  const upstream::SnapshotListener& listener_;
  const Pinned& pinned_;
  /// Newer snapshots that retries went by, the last of which group_ is from. All are held to the
  /// end: the record and `tried_` name targets of each.
  std::vector<boost::local_shared_ptr<Pinned>> newer_;
  std::unique_ptr<ExchangeState> state_;
  const upstream::SnapshotRoute* route_ = nullptr;
  const http::RequestHead* outgoing_ = nullptr;  // what targets get
  std::optional<route::IpBytes> source_;         // where rules or limits ask for it
  Duration retry_after_{};                       // with rate_limited, in_flight_limited
  std::array<char, 5> port_storage_{};           // of #{port}
  const upstream::SnapshotGroup* group_ = nullptr;
  upstream::GroupLoad* group_load_ = nullptr;
  GroupTurns* turns_ = nullptr;
  UpstreamSide* current_ = nullptr;  // while a target has the request, or is connected to
  std::array<char, 32> id_storage_{};
  std::unique_ptr<http::Encoder> encoder_;  // of the response's body; null: as it comes
  RequestRecord record_;
  TimePoint started_{};
  TimePoint attempt_started_{};
  Timer total_;
  TimePoint total_due_ = TimePoint::max();
  BodyPiece first_;  // of the request's body: what is here, kept for retries
  TaskGroup upload_;
  std::unique_ptr<MirrorCopy> mirror_;  // while its body is not whole
  Error upload_error_{};
  Tried tried_;
  upstream::Waiting waiting_{this};  // while a target owes a head to a request that is all sent
  bool connecting_ = false;
  bool moved_ = false;        // leave_target has called the attempt off
  bool upload_over_ = false;  // nobody wants the rest of the request's body any more
  bool uploading_ = false;    // more of the body than `first_` was asked for: no replay
  bool uploaded_ = false;     // and all of it went to the target
  bool response_started_ = false;
  bool tunnelling_ = false;
  bool grpc_ = false;         // the request is one of gRPC
  bool keep_cookie_ = false;  // its target is full: it goes elsewhere this once
  bool sticky_share_known_ = false;
  std::uint32_t wanted_target_ = upstream::StickyTokens::kNone;  // by its cookie, in group_
  std::uint32_t sticky_share_ = 0;                               // of a forward to several groups
  /// What ended the request from outside, the first of them: client_gone, drain_deadline,
  /// target_timeout (the total deadline) or tunnel_timeout.
  Fault called_off_ = Fault::none;
  bool* destroyed_ = nullptr;  // set while a call of ours may end this exchange
};

/// Answers a request that could not even be read (malformed, too large, too slow).
Task<> refuse_request(WorkerContext& worker, ClientSide& client,
                      const upstream::SnapshotListener& listener, Fault fault);

/// Counts and logs one that got no answer but the end of its stream.
void note_refusal(WorkerContext& worker, ClientSide& client,
                  const upstream::SnapshotListener& listener, Fault fault);

}  // namespace lbd::proxy
