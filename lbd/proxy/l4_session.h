// A connection at layer 4: routed once, and then a tunnel (docs/adr/0013).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lbd/base/buffer.h"
#include "lbd/net/stream.h"
#include "lbd/proxy/h1_upstream.h"
#include "lbd/proxy/pick.h"
#include "lbd/proxy/record.h"
#include "lbd/proxy/request_id.h"
#include "lbd/proxy/session.h"
#include "lbd/proxy/sides.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {

/// Raw bytes; of TLS that is passed through, the ClientHello is read and goes on with the rest.
/// Counts as one request of its rule, group and target for as long as it is open. It holds its
/// snapshot until it is connected, and from then on only what it counts in.
///
/// Memory: a buffer of 4 KiB each way that grows to 64 KiB at most.
class L4Session final : public Session, private TunnelEnd {
 public:
  L4Session(WorkerContext& worker, std::unique_ptr<net::Stream> stream, ClientInfo client,
            std::shared_ptr<upstream::LiveListener> listener);
  ~L4Session() override;
  L4Session(const L4Session&) = delete;
  L4Session& operator=(const L4Session&) = delete;

  Task<> run() override;
  void kill() noexcept override;

 private:
  enum class Phase : std::uint8_t { hello, dialling, open, closing };

  /// A connection may go on until the process ends it; one that has not said where to has little
  /// time left for that.
  void begin_drain() noexcept override;
  Task<Fault> hear_hello();
  [[nodiscard]] Fault route();
  [[nodiscard]] Fault admit(const upstream::SnapshotGate& gate);
  Task<Fault> forward();
  Task<Error> attempt(const Choice& choice);
  Task<Result<void>> connect(const Choice& choice);
  Task<Fault> tunnel();
  Task<> pump_up();
  Task<> close(Fault fault);
  Task<> say_why(Fault fault);
  void take_newest_group();
  void note_use() noexcept;
  void end(Fault why) noexcept;
  [[nodiscard]] AttemptRecord& this_attempt() noexcept;
  void finish_record(Fault fault);
  static void moved_up(void* self, std::size_t bytes);
  static void moved_down(void* self, std::size_t bytes);
  static void expired(void* self);

  // The client's end of the tunnel.
  Task<Result<BodyPiece>> read_body() override;
  Task<Result<void>> send_body(BodyPiece piece) override;

  std::unique_ptr<net::Stream> stream_;
  ClientInfo client_;
  Buffer in_;
  std::size_t given_ = 0;  // bytes of `in_` that `read_body` has shown
  bool filled_ = false;    // the last read took all the room it had
  H1Upstream upstream_;
  TaskGroup upload_;
  Timer watchdog_;
  TimePoint total_due_ = TimePoint::max();
  Duration idle_{};

  // Until it is connected.
  boost::local_shared_ptr<Pinned> held_;
  const upstream::SnapshotListener* listener_ = nullptr;
  const upstream::SnapshotRoute* route_ = nullptr;
  const upstream::SnapshotGroup* group_ = nullptr;
  GroupTurns* turns_ = nullptr;

  std::shared_ptr<upstream::LiveRoute> live_route_;
  std::shared_ptr<upstream::LiveGroup> live_group_;
  std::vector<std::shared_ptr<upstream::LiveTarget>> targets_;  // that were tried, in order
  struct Flight {
    std::shared_ptr<upstream::FlightTable> table;  // longer than its lease
    upstream::FlightLease lease;
  };
  std::vector<Flight> flights_;  // counted for as long as it is open
  std::string server_name_;
  std::optional<route::IpBytes> source_;
  TimePoint started_{};
  RequestRecord record_;
  IdStorage id_storage_{};
  Phase phase_ = Phase::hello;
  Fault why_ = Fault::none;  // what ended it, the first of all; none: both sides
  bool passthrough_ = false;
  bool connected_ = false;
  bool over_ = false;
  bool killed_ = false;
};

}  // namespace lbd::proxy
