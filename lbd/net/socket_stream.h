// What TCP and TLS streams share: a socket in the loop's set and the operations that wait for it.
#pragma once

#include <array>
#include <string_view>

#include "lbd/net/address.h"
#include "lbd/net/loop_core.h"
#include "lbd/net/stream.h"
#include "lbd/net/tls.h"

namespace lbd::net {

/// Registered once, edge-triggered: `readable_` is what the kernel has told and no read has used up
/// yet. A waiting write is tried at each EPOLLOUT, which is asked for from the first write that did
/// not fit. Thread: the loop's.
class SocketStream : public Stream, protected Watch {
 public:
  explicit SocketStream(LoopCore& core) noexcept : core_(core) {}
  ~SocketStream() override { release(); }
  SocketStream(const SocketStream&) = delete;
  SocketStream& operator=(const SocketStream&) = delete;

  /// Takes over a connected descriptor. Should it not be watchable, each operation fails with the
  /// reason.
  void adopt(int fd) noexcept;
  /// Connects, sends `greeting` (at most a few hundred bytes, which live until it is over), and on
  /// TLS shakes hands. As begin_write: true when it is over.
  bool begin_dial(const Endpoint& to, std::string_view greeting, IoWait& wait);

  /// Of a handshake that failed; `none` when it never came to one.
  [[nodiscard]] virtual TlsFailure take_failure() { return {TlsFault::none, {}}; }

  bool begin_read(std::span<char> into, IoWait& wait) override;
  bool begin_read(RoomMaker room, IoWait& wait) override;
  bool begin_write(std::span<const iovec> pieces, IoWait& wait) override;
  void cancel() noexcept override;
  void shutdown_write() noexcept override;
  void close(bool reset) noexcept override;

 protected:
  static constexpr std::size_t kPiecesMax = 8;

  // What the protocol adds. Each is true when the operation is over, well or not, with its result;
  // false when it has to wait for the socket.
  virtual bool receive_some(std::span<char> into, IoResult& result) noexcept = 0;
  virtual bool send_some(IoResult& result) noexcept = 0;
  /// After connecting, on the loop's slow lane when `slow_handshake_`.
  virtual bool shake_hands(IoResult& /*result*/) noexcept { return true; }
  /// The socket has room again and no write waits.
  virtual void flush_rest() noexcept {}
  /// Before the end of the stream goes out.
  virtual void say_goodbye() noexcept {}
  /// Whether a read could find something without waiting for the socket.
  [[nodiscard]] virtual bool may_receive() const noexcept { return readable_; }

  /// Bytes, 0 at the end of the stream, or a negative errno. -EAGAIN without a system call when
  /// nothing can be there.
  ssize_t receive(std::span<char> into) noexcept;
  /// Bytes or a negative errno.
  ssize_t send(std::span<iovec> pieces) noexcept;
  /// Counts `sent` bytes of the pieces as written.
  void advance(std::size_t sent) noexcept;
  /// The pieces that are not written yet.
  [[nodiscard]] std::span<iovec> left() noexcept;
  /// Begins the handshake of an adopted socket.
  bool begin_open(IoWait& wait);
  void watch_writes() noexcept;
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }
  /// Gives the descriptor away: closed, as far as this stream is concerned.
  [[nodiscard]] int detach() noexcept;

  LoopCore& core_;
  std::size_t written_ = 0;
  bool slow_handshake_ = false;

 private:
  void ready(std::uint32_t events) override;
  void resume_deferred() override;
  bool post_read(IoWait& wait);
  void go_on_opening();
  void go_on_reading();
  void go_on_writing();
  [[nodiscard]] IoResult connected() noexcept;
  bool greet(IoResult& result) noexcept;
  void no_delay() const noexcept;
  void release() noexcept;
  static bool over(IoWait& wait, int error);

  int fd_ = -1;
  int failure_ = 0;  // errno of a descriptor that the loop could not watch
  bool readable_ = false;
  bool ended_ = false;  // the peer's end or an error is behind what there is to read
  bool connecting_ = false;
  bool connected_ = false;
  bool writes_watched_ = false;
  bool open_cancelled_ = false;
  bool read_cancelled_ = false;
  bool write_cancelled_ = false;
  IoWait* open_ = nullptr;  // connect and handshake
  IoWait* read_ = nullptr;
  IoWait* write_ = nullptr;
  std::string_view greeting_;
  std::span<char> into_;
  RoomMaker room_;  // that into_ will be, when it is empty
  std::array<iovec, kPiecesMax> pieces_{};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace lbd::net
