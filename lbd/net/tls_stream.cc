#include <fmt/format.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "lbd/base/check.h"
#include "lbd/net/socket_stream.h"
#include "lbd/net/tls_parts.h"

namespace lbd::net {
namespace {

constexpr std::size_t kRecordMax = 16 * 1024;
// Until a client's window has opened, records that fit a packet: it can show what came before the
// last packet of a large one is there.
constexpr std::size_t kFirstRecord = 1400;
constexpr std::size_t kFirstBytes = 16 * 1024;
constexpr Duration kQuiet = std::chrono::seconds(1);  // then it is "first" again
constexpr Duration kFarewell = std::chrono::seconds(5);
constexpr std::size_t kBatchBytes = 64 * 1024;  // encrypted before they are sent
constexpr std::size_t kUnsentMax = 256 * 1024;  // a peer that asks and never reads

/// Sends the last bytes of a connection that is closed while its socket has no room: without the
/// close_notify among them the peer must take what it has for cut off.
class Farewell final : public Watch {
 public:
  Farewell(LoopCore& core, int fd, std::vector<char> bytes)
      : core_(core), fd_(fd), bytes_(std::move(bytes)), timer_(core, this, [](void* self) {
          auto* farewell = static_cast<Farewell*>(self);
          farewell->core_.gone(*farewell);
        }) {
    timer_.set(core.now() + kFarewell);
    if (core_.watch(fd_, *this, EPOLLOUT | EPOLLET) != 0) core_.defer(*this);
  }
  ~Farewell() override {
    core_.forget(fd_, *this);
    ::close(fd_);
  }
  Farewell(const Farewell&) = delete;
  Farewell& operator=(const Farewell&) = delete;

  void ready(std::uint32_t /*events*/) override {
    const char* from = bytes_.data() + sent_;
    const ssize_t step = ::send(fd_, from, bytes_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (step < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (step > 0) sent_ += static_cast<std::size_t>(step);
    if (step < 0 || sent_ == bytes_.size()) core_.gone(*this);
  }
  void resume_deferred() override { core_.gone(*this); }

 private:
  LoopCore& core_;
  int fd_;
  std::vector<char> bytes_;
  std::size_t sent_ = 0;
  Timer timer_;
};

class TlsStream final : public SocketStream {
 public:
  TlsStream(LoopCore& core, std::shared_ptr<const TlsServer> server)
      : SocketStream(core), server_(std::move(server)) {
    slow_handshake_ = true;
    ssl_.reset(SSL_new(server_->parts().context.get()));
    LBD_CHECK(ssl_ != nullptr);
    BIO* bio = BIO_new(method());
    LBD_CHECK(bio != nullptr);
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);  // takes it over
    SSL_set_accept_state(ssl_.get());
  }

  bool begin_handshake(IoWait& wait) { return begin_open(wait); }
  [[nodiscard]] TlsFailure take_failure() { return std::move(handshake_failure_); }

  [[nodiscard]] TlsInfo info() const {
    TlsInfo info;
    info.version = SSL_get_version(ssl_.get());
    info.cipher = SSL_get_cipher_name(ssl_.get());
    info.resumed = SSL_session_reused(ssl_.get()) == 1;
    const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
    if (name != nullptr) info.server_name = name;
    for (char& c : info.server_name) {
      c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    }
    const unsigned char* alpn = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &alpn, &size);
    if (size > 0) info.alpn.assign(reinterpret_cast<const char*>(alpn), size);
    if (const X509* peer = SSL_get0_peer_certificate(ssl_.get())) describe(*peer, info);
    return info;
  }

 private:
  static void describe(const X509& peer, TlsInfo& info) {
    const Owned<BIO, BIO_free_all> text(BIO_new(BIO_s_mem()));
    X509_NAME_print_ex(text.get(), X509_get_subject_name(&peer), 0, XN_FLAG_RFC2253);
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(text.get(), &bytes);
    if (size > 0) info.client_subject.assign(bytes, static_cast<std::size_t>(size));
    const Owned<BIGNUM, BN_free> serial(ASN1_INTEGER_to_BN(X509_get0_serialNumber(&peer), nullptr));
    if (char* hex = serial ? BN_bn2hex(serial.get()) : nullptr) {
      info.client_serial = hex;
      OPENSSL_free(hex);
    }
  }

  bool shake_hands(IoResult& result) noexcept override {
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_.get());
    const int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), done);
    if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ) {
      note_failure(error);
      flush();  // the alert
      result = {Fault::io_error, socket_error_ != 0 ? socket_error_ : EPROTO, 0};
      return true;
    }
    flush();
    if (socket_error_ != 0) {
      handshake_failure_ = {TlsFault::closed, std::strerror(socket_error_)};
      result = {Fault::io_error, socket_error_, 0};
      return true;
    }
    return done == 1;
  }

  void note_failure(int error) {
    const unsigned long reason = ERR_peek_error();
    handshake_failure_.fault = fault_of(error, reason);
    handshake_failure_.detail = reason != 0 ? openssl_error() : "connection closed";
  }

  [[nodiscard]] TlsFault fault_of(int error, unsigned long reason) const noexcept {
    if (error != SSL_ERROR_SSL || reason == 0) return TlsFault::closed;
    if (ERR_GET_LIB(reason) != ERR_LIB_SSL) return TlsFault::other;
    const int code = ERR_GET_REASON(reason);
    if (code >= SSL_AD_REASON_OFFSET) return TlsFault::peer_alert;
    switch (code) {
      case SSL_R_HTTP_REQUEST:
      case SSL_R_HTTPS_PROXY_REQUEST:
      case SSL_R_WRONG_VERSION_NUMBER:
      case SSL_R_BAD_PACKET_LENGTH:
      case SSL_R_UNEXPECTED_MESSAGE:
        return TlsFault::not_tls;
      case SSL_R_UNSUPPORTED_PROTOCOL:
      case SSL_R_VERSION_TOO_LOW:
      case SSL_R_NO_PROTOCOLS_AVAILABLE:
        return TlsFault::version;
      case SSL_R_NO_SHARED_CIPHER:
      case SSL_R_NO_SUITABLE_GROUPS:
      case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
      case SSL_R_NO_SUITABLE_KEY_SHARE:
      case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
        return TlsFault::cipher;
      case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      case SSL_R_CERTIFICATE_VERIFY_FAILED:
      case SSL_R_BAD_SIGNATURE:
        return TlsFault::client_certificate;
      case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return TlsFault::closed;
      default:
        return TlsFault::other;
    }
  }

  bool receive_some(std::span<char> into, IoResult& result) noexcept override {
    ERR_clear_error();
    std::size_t got = 0;
    const int done = SSL_read_ex(ssl_.get(), into.data(), into.size(), &got);
    const int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), done);
    flush();  // what reading made it answer, as a key update
    if (error == SSL_ERROR_NONE) {
      result = {Fault::none, 0, got};
    } else if (error == SSL_ERROR_WANT_READ) {
      return false;
    } else if (error == SSL_ERROR_ZERO_RETURN || (ended_cleanly_ && socket_error_ == 0)) {
      result = {Fault::closed, 0, 0};
    } else {
      broken_ = true;
      result = {Fault::io_error, socket_error_ != 0 ? socket_error_ : EPROTO, 0};
    }
    return true;
  }

  [[nodiscard]] bool may_receive() const noexcept override {
    return SocketStream::may_receive() || SSL_has_pending(ssl_.get()) == 1;
  }

  bool send_some(IoResult& result) noexcept override {
    for (;;) {
      if (!flush()) {
        if (socket_error_ == 0) return false;
        result = {Fault::io_error, socket_error_, written_};
        return true;
      }
      if (left().empty()) {
        result = {Fault::none, 0, written_};
        return true;
      }
      while (!left().empty() && outgoing().size() < kBatchBytes) {
        if (encrypt_some()) continue;
        result = {Fault::io_error, EPROTO, written_};
        return true;
      }
    }
  }

  /// One record of what is left to write.
  bool encrypt_some() noexcept {
    const std::size_t most = record_size();
    const std::span<iovec> rest = left();
    std::array<char, kRecordMax> gathered;  // small pieces share a record
    const char* from = static_cast<const char*>(rest.front().iov_base);
    std::size_t size = std::min(rest.front().iov_len, most);
    if (size < most && rest.size() > 1) {
      size = 0;
      for (const iovec& piece : rest) {
        const std::size_t step = std::min(piece.iov_len, most - size);
        if (step == 0) continue;
        std::memcpy(gathered.data() + size, piece.iov_base, step);
        size += step;
      }
      from = gathered.data();
    }
    ERR_clear_error();
    std::size_t taken = 0;
    if (SSL_write_ex(ssl_.get(), from, size, &taken) != 1) {
      broken_ = true;
      return false;
    }
    sent_since_quiet_ += taken;
    advance(taken);
    return true;
  }

  std::size_t record_size() noexcept {
    const TimePoint now = core_.now();
    if (now - last_sent_ > kQuiet) sent_since_quiet_ = 0;
    last_sent_ = now;
    return sent_since_quiet_ < kFirstBytes ? kFirstRecord : kRecordMax;
  }

  /// Sends what is encrypted; true when nothing is left of it.
  bool flush() noexcept {
    if (socket_error_ != 0 || !is_open()) {
      outgoing().clear();
      return false;
    }
    if (unsent_.empty()) {
      std::vector<char>& fresh = outgoing();
      const std::size_t sent = push(fresh);
      if (sent < fresh.size()) {
        unsent_.assign(fresh.begin() + static_cast<std::ptrdiff_t>(sent), fresh.end());
      }
      fresh.clear();
    } else {
      unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(push(unsent_)));
      if (unsent_.empty()) std::vector<char>().swap(unsent_);
    }
    return unsent_.empty() && socket_error_ == 0;
  }

  std::size_t push(std::span<char> bytes) noexcept {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      iovec piece{bytes.data() + sent, bytes.size() - sent};
      const ssize_t step = send({&piece, 1});
      if (step == -EAGAIN) {
        watch_writes();
        break;
      }
      if (step < 0) {
        socket_error_ = static_cast<int>(-step);
        break;
      }
      sent += static_cast<std::size_t>(step);
    }
    return sent;
  }

  void flush_rest() noexcept override {
    if (!unsent_.empty()) flush();
  }

  void say_goodbye() noexcept override {
    if (broken_ || socket_error_ != 0 || SSL_is_init_finished(ssl_.get()) == 0) return;
    if ((SSL_get_shutdown(ssl_.get()) & SSL_SENT_SHUTDOWN) != 0) return;
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    if (!flush() && socket_error_ == 0) {
      core_.see_off(std::make_unique<Farewell>(core_, detach(), std::move(unsent_)));
    }
  }

  // --- the BIO under OpenSSL

  /// One operation's records on their way to `send`.
  [[nodiscard]] std::vector<char>& outgoing() noexcept { return core_.scratch(); }

  static TlsStream& of(BIO* bio) { return *static_cast<TlsStream*>(BIO_get_data(bio)); }

  static int bio_read(BIO* bio, char* into, int size) {
    TlsStream& self = of(bio);
    BIO_clear_retry_flags(bio);
    const ssize_t got = self.receive({into, static_cast<std::size_t>(size)});
    if (got > 0) return static_cast<int>(got);
    if (got == -EAGAIN) {
      BIO_set_retry_read(bio);
    } else if (got == 0) {
      self.ended_cleanly_ = true;
      return 0;
    } else {
      self.socket_error_ = static_cast<int>(-got);
    }
    return -1;
  }

  /// Takes everything: `flush` sends it.
  static int bio_write(BIO* bio, const char* from, int size) {
    TlsStream& self = of(bio);
    BIO_clear_retry_flags(bio);
    std::vector<char>& to = self.unsent_.empty() ? self.outgoing() : self.unsent_;
    if (to.size() > kUnsentMax) {
      self.socket_error_ = ENOBUFS;
      return -1;
    }
    to.insert(to.end(), from, from + size);
    return size;
  }

  static long bio_control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_EOF) return of(bio).ended_cleanly_ ? 1 : 0;
    return 0;
  }

  static BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      BIO_METHOD* table = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lbd");
      LBD_CHECK(table != nullptr);
      BIO_meth_set_read(table, &TlsStream::bio_read);
      BIO_meth_set_write(table, &TlsStream::bio_write);
      BIO_meth_set_ctrl(table, &TlsStream::bio_control);
      return table;
    }();
    return made;
  }

  std::shared_ptr<const TlsServer> server_;
  Owned<SSL, SSL_free> ssl_;
  std::vector<char> unsent_;  // encrypted, and the socket had no room
  TlsFailure handshake_failure_;
  std::size_t sent_since_quiet_ = 0;
  TimePoint last_sent_{};
  int socket_error_ = 0;
  bool ended_cleanly_ = false;
  bool broken_ = false;  // OpenSSL must not be asked for anything more
};

}  // namespace

std::string_view tls_fault_name(TlsFault fault) noexcept {
  constexpr std::array<std::string_view, static_cast<std::size_t>(TlsFault::kCount)> kNames{
      "none",    "timeout", "closed",     "not_tls",
      "version", "cipher",  "peer_alert", "client_certificate",
      "other"};
  return kNames[static_cast<std::size_t>(fault)];
}

namespace {

class Handshake final : public TlsHandshake {
 public:
  Handshake(Loop& loop, int fd, std::shared_ptr<const TlsServer> server)
      : clock_(loop.clock()), stream_(std::make_unique<TlsStream>(loop.core(), std::move(server))) {
    stream_->adopt(fd);
  }

  Task<Result<TlsAccepted, TlsFailure>> run(TimePoint deadline) override {
    IoWait shaken;
    if (!stream_->begin_handshake(shaken)) {
      StreamDeadline end(clock_, *stream_, deadline);
      co_await Finished(shaken);
      if (end.passed() && !shaken.result.ok()) {
        co_return TlsFailure{TlsFault::timeout, "no handshake within its deadline"};
      }
    }
    if (!shaken.result.ok()) co_return stream_->take_failure();
    TlsAccepted accepted{nullptr, stream_->info()};
    accepted.stream = std::move(stream_);
    co_return std::move(accepted);
  }

  void cancel() noexcept override {
    if (stream_) stream_->cancel();
  }

 private:
  Clock& clock_;
  std::unique_ptr<TlsStream> stream_;
};

}  // namespace

std::unique_ptr<TlsHandshake> accept_tls(Loop& loop, int fd,
                                         std::shared_ptr<const TlsServer> server) {
  return std::make_unique<Handshake>(loop, fd, std::move(server));
}

}  // namespace lbd::net
