// One HTTP/2 connection to a target, which the requests of a worker share (docs/adr/0012).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "lbd/base/buffer.h"
#include "lbd/base/clock.h"
#include "lbd/base/task.h"
#include "lbd/http/h2_client.h"
#include "lbd/net/next_turn.h"
#include "lbd/net/stream.h"
#include "lbd/net/tcp_stream.h"
#include "lbd/upstream/live.h"

namespace lbd::upstream {

class H2Connections;
struct H2Opening;

/// A request's stream on it. `reserve`d, then `open`ed, then `release`d.
class H2Carried : public http::H2Stream {
 public:
  /// What it had to send has gone out. Never called from inside the codec.
  virtual void sent() = 0;
  /// The connection is gone, and must not be used any more. `broke_rules`: the target did.
  virtual void disconnected(bool broke_rules) = 0;

 private:
  friend class H2Connection;
  bool asked_ = false;  // its request was sent
};

/// How a group's connections are used.
struct H2Ways {
  explicit H2Ways(const config::TargetGroup& group);
  http::H2Limits limits;
  Duration idle;                    // unused, then closed
  Duration stalled;                 // the target reads nothing for so long, then closed
  std::uint32_t connections_max{};  // that are kept when unused
};

/// Thread: its worker's. All output of a turn of the loop goes out in one write at its end.
/// Lifetime: H2Connections' task's.
class H2Connection {
 public:
  struct Made {
    std::unique_ptr<net::Stream> stream;
    std::shared_ptr<LiveTarget> target;
    std::string owner;
    H2Ways ways;
  };
  H2Connection(H2Connections& pool, Made made);
  ~H2Connection();
  H2Connection(const H2Connection&) = delete;
  H2Connection& operator=(const H2Connection&) = delete;

  [[nodiscard]] http::H2Client& codec() noexcept { return codec_; }
  [[nodiscard]] net::Stream& stream() noexcept { return *made_.stream; }
  /// A response has come on it.
  [[nodiscard]] bool proven() const noexcept { return proven_; }
  void note_answer() noexcept { proven_ = true; }
  /// It may carry another request.
  [[nodiscard]] bool has_room() const noexcept;

  void reserve(H2Carried& user);
  /// False: the request cannot be sent here any more; none of it has been.
  [[nodiscard]] bool open(H2Carried& user, const http::H2Client::Request& request);
  void release(H2Carried& user);
  /// What the codec was told goes out at the end of the turn.
  void ask() noexcept { turn_end_.ask(); }
  /// `user` has nothing more to send for now: told after the flush.
  void note_sent(H2Carried& user) { sent_.push_back(&user); }
  /// Somebody waited here in vain: it shows that it is alive, or is closed.
  void doubt();
  /// No new requests; it ends with the last one.
  void retire();
  /// It ends now.
  void stop() noexcept;

 private:
  friend class H2Connections;
  Task<> run();
  Task<> read_all();
  void take(std::string_view bytes);
  Task<> close();
  void flush();
  bool tell_sent();
  void leave_if_over();
  void set_idle() noexcept;
  [[nodiscard]] net::DialFailure failure() const;
  static void turn_ended(void* self);
  static void write_ended(void* self);
  static void write_expired(void* self);
  static void idle_expired(void* self);
  static void doubt_expired(void* self);

  H2Connections& pool_;
  Made made_;
  Clock& clock_;
  Buffer in_;
  Buffer out_;
  http::H2Client codec_;
  net::TurnEnd turn_end_;
  net::NextTurn next_turn_;
  net::IoWait write_;
  net::IoResult read_result_;
  Timer write_watchdog_;
  Timer idle_;   // or, while it opens, until the target's settings have come
  Timer doubt_;  // until it has shown that it is alive
  TimePoint heard_{};
  std::vector<H2Carried*> users_;
  std::vector<H2Carried*> sent_;  // in the flush under way
  std::size_t reserved_ = 0;      // users that have not sent their request yet
  bool reading_ = false;
  bool writing_ = false;
  bool stopped_ = false;  // reads no more
  bool failed_ = false;   // writes no more
  bool retired_ = false;
  bool said_goodbye_ = false;
  bool expired_ = false;  // the target's settings did not come in time
  bool proven_ = false;
  // H2Connections'.
  std::shared_ptr<H2Opening> opening_;
  H2Connection* next_ = nullptr;  // of the same target
  H2Connection* previous_ = nullptr;
};

}  // namespace lbd::upstream
