// HTTP/2 from a client (docs/adr/0008): one connection, an exchange for each of its streams.
#pragma once

#include <memory>
#include <vector>

#include "lbd/base/buffer.h"
#include "lbd/http/h2_server.h"
#include "lbd/net/loop.h"
#include "lbd/net/next_turn.h"
#include "lbd/net/stream.h"
#include "lbd/proxy/session.h"
#include "lbd/proxy/sides.h"

namespace lbd::proxy {

class H2Stream;

/// One client connection. All output of a turn of the loop goes out in one write at its end.
class H2Session final : public Session, private http::H2Streams {
 public:
  H2Session(WorkerContext& worker, std::unique_ptr<net::Stream> stream, ClientInfo client,
            std::shared_ptr<upstream::LiveListener> listener);
  ~H2Session() override;
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  /// Bytes that were read already; before `run`.
  void begin_with(std::string_view came) { in_.append(came); }
  Task<> run() override;
  void kill() noexcept override;

 private:
  friend class H2Stream;

  void begin_drain() noexcept override;
  http::H2Stream* open_stream() override;
  bool load_settings() noexcept;
  [[nodiscard]] static http::H2Limits limits_of(const upstream::SnapshotListener* listener);
  Task<> read_all();
  Task<> close();
  bool take(std::string_view bytes);
  void flush();
  bool tell_sent();
  void written();
  void reap() noexcept;
  void set_idle() noexcept;
  void finish_drain() noexcept;
  void stop_reading() noexcept;
  void lose_streams(Fault why) noexcept;
  void note_flood() const noexcept;
  Task<> last_words();
  Task<> linger();
  static void turn_ended(void* self);
  static void write_ended(void* self);
  static void write_expired(void* self);
  static void idle_expired(void* self);
  static void drain_expired(void* self);

  std::unique_ptr<net::Stream> stream_;
  ClientInfo client_;
  config::ListenerTimeouts timeouts_;  // of the last request
  config::ListenerLimits body_limits_;
  Buffer in_;
  Buffer out_;
  http::H2Server codec_;
  net::TurnEnd turn_end_;
  net::NextTurn next_turn_;
  net::IoWait write_;
  Timer write_watchdog_;
  Timer idle_;
  Timer drain_timer_;
  TimePoint idle_since_{};
  TimePoint block_since_{};  // of the header block under way
  TaskGroup exchanges_;
  std::vector<std::unique_ptr<H2Stream>> streams_;  // open, or with an exchange that goes on
  std::vector<std::unique_ptr<H2Stream>> free_;
  std::vector<H2Stream*> sent_;  // in the flush under way
  /// Whose heads came with what is being read. They begin when all of it was looked at: a request
  /// that is reset in the same read costs its head alone.
  std::vector<H2Stream*> starting_;
  bool* destroyed_ = nullptr;  // set while a call of ours may end this session
  std::uint64_t requests_ = 0;
  std::size_t head_bytes_ = 0;      // of open streams
  Fault why_ = Fault::client_gone;  // of the end, for what is still under way then
  bool reading_ = false;
  bool writing_ = false;
  bool flushing_ = false;
  bool stopped_ = false;  // reads no more
  bool failed_ = false;   // writes no more
  bool killed_ = false;
  bool announced_ = false;  // the client knows that the end is near
  bool ended_ = false;      // and opens no more streams
};

}  // namespace lbd::proxy
