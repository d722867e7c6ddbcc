#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "lbd/base/check.h"
#include "lbd/net/farewell.h"
#include "lbd/net/goodbye.h"
#include "lbd/net/tls_dial.h"
#include "lbd/net/tls_parts.h"

namespace lbd::net {
namespace {

constexpr std::size_t kRecordMax = 16 * 1024;
// Until a client's window has opened, records that fit a packet: it can show what came before the
// last packet of a large one is there.
constexpr std::size_t kFirstRecord = 1400;
constexpr std::size_t kFirstBytes = 16 * 1024;
constexpr Duration kQuiet = std::chrono::seconds(1);  // then it is "first" again
constexpr std::size_t kBatchBytes = 64 * 1024;        // encrypted before they are sent
constexpr std::size_t kUnsentMax = 256 * 1024;        // a peer that asks and never reads

class TlsStream final : public SocketStream {
 public:
  TlsStream(LoopCore& core, std::shared_ptr<const TlsServer> server)
      : SocketStream(core), server_(std::move(server)) {
    slow_handshake_ = true;
    attach(server_->parts().context.get());
    SSL_set_accept_state(ssl_.get());
  }
  TlsStream(LoopCore& core, std::shared_ptr<const TlsClient> client, const Endpoint& peer)
      : SocketStream(core), client_(std::move(client)), peer_(peer.host() + " " + peer.text()) {
    const TlsClient::Parts& ours = client_->parts();
    attach(ours.context.get());
    SSL_set_connect_state(ssl_.get());
    SSL_set_app_data(ssl_.get(), &peer_);
    expect(ours.server_name.empty() ? peer.host() : ours.server_name);
    const TlsClient::Parts::Session session = ours.take(peer_);
    if (session) SSL_set_session(ssl_.get(), session.get());
  }

  /// A connection that ends without goodbyes leaves its session good for others (RFC 5246 §7.2.1).
  ~TlsStream() override {
    if (client_ == nullptr || SSL_is_init_finished(ssl_.get()) == 0) return;
    SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  }
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  bool begin_handshake(IoWait& wait) { return begin_open(wait); }
  [[nodiscard]] TlsFailure take_failure() override { return std::move(handshake_failure_); }
  [[nodiscard]] std::string failure_text() const override { return handshake_failure_.detail; }
  [[nodiscard]] const TlsClient* tls_client() const noexcept override { return client_.get(); }
  [[nodiscard]] TlsKind tls_kind() const noexcept override {
    const bool resumed = SSL_session_reused(ssl_.get()) == 1;
    if (SSL_version(ssl_.get()) >= TLS1_3_VERSION) {
      return resumed ? TlsKind::tls13_resumed : TlsKind::tls13;
    }
    return resumed ? TlsKind::tls12_resumed : TlsKind::tls12;
  }

  [[nodiscard]] TlsInfo info() const {
    TlsInfo info;
    info.version = SSL_get_version(ssl_.get());
    info.cipher = SSL_get_cipher_name(ssl_.get());
    info.kind = tls_kind();
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
    X509* shown = SSL_get0_peer_certificate(ssl_.get());
    if (shown != nullptr && server_ != nullptr && server_->parts().describes_clients) {
      info.client_certificate = describe_client(*shown);
    }
    return info;
  }

 private:
  void attach(SSL_CTX* context) {
    ssl_.reset(SSL_new(context));
    LBD_CHECK(ssl_ != nullptr);
    BIO* bio = BIO_new(method());
    LBD_CHECK(bio != nullptr);
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);  // takes it over
  }

  /// The name or IP address that the target's certificate must be good for; a name is asked for.
  void expect(const std::string& wanted) {
    X509_VERIFY_PARAM* param = SSL_get0_param(ssl_.get());
    if (X509_VERIFY_PARAM_set1_ip_asc(param, wanted.c_str()) == 1) return;
    ERR_clear_error();
    SSL_set_hostflags(ssl_.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    LBD_CHECK(SSL_set1_host(ssl_.get(), wanted.c_str()) == 1);
    LBD_CHECK(SSL_set_tlsext_host_name(ssl_.get(), wanted.c_str()) == 1);
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
    if (done == 1 && !has_wanted_alpn()) result = {Fault::io_error, EPROTO, 0};
    return done == 1;
  }

  /// False: the target chose another protocol, or none.
  bool has_wanted_alpn() {
    if (client_ == nullptr || client_->parts().wanted_alpn.empty()) return true;
    const unsigned char* chosen = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &chosen, &size);
    const std::string_view name(reinterpret_cast<const char*>(chosen), size);
    const std::string& wanted = client_->parts().wanted_alpn;
    if (name == wanted) return true;
    handshake_failure_ = {TlsFault::alpn,
                          "by ALPN, '" + wanted + "' was asked for and " +
                              (size > 0 ? "'" + std::string(name) + "'" : "nothing") + " chosen"};
    return false;
  }

  void note_failure(int error) {
    const unsigned long reason = ERR_peek_error();
    handshake_failure_ = {tls_fault_of(*ssl_, error, reason),
                          reason != 0          ? tls_failure_words(*ssl_, reason)
                          : socket_error_ != 0 ? std::strerror(socket_error_)
                                               : "connection closed"};
    ERR_clear_error();
    if (client_ != nullptr) client_->parts().forget(peer_);
  }

  bool receive_some(std::span<char> into, IoResult& result) noexcept override {
    if (refused_) {
      result = {Fault::tls_failed, EPROTO, 0};
      return true;
    }
    ERR_clear_error();
    std::size_t got = 0;
    const int done = SSL_read_ex(ssl_.get(), into.data(), into.size(), &got);
    const int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), done);
    flush();  // what reading made it answer, as a key update
    if (error == SSL_ERROR_NONE) {
      heard_ = true;
      result = {Fault::none, 0, got};
    } else if (error == SSL_ERROR_WANT_READ) {
      return false;
    } else if (error == SSL_ERROR_ZERO_RETURN ||
               (client_ == nullptr && ended_cleanly_ && socket_error_ == 0)) {
      result = {Fault::closed, 0, 0};
    } else {
      note_broken(error);
      const int why = socket_error_ != 0 ? socket_error_ : ended_cleanly_ ? kNoGoodbye : EPROTO;
      result = {refused_ ? Fault::tls_failed : Fault::io_error, why, 0};
    }
    return true;
  }

  /// After a failed read, with OpenSSL's queue as it left it.
  void note_broken(int error) {
    broken_ = true;
    refused_ = client_ != nullptr && !heard_ && error == SSL_ERROR_SSL &&
               tls_wants_other_certificate(ERR_peek_error());
    if (refused_) note_failure(error);
  }

  /// Why a write failed. A target that has refused our certificate may have hung up by the time:
  /// its alert waits to be read, and says more than the socket's error.
  [[nodiscard]] IoResult failed_write(int socket_error) {
    if (client_ != nullptr && !heard_ && !broken_) {
      ERR_clear_error();
      char first = 0;
      std::size_t got = 0;
      const int done = SSL_peek_ex(ssl_.get(), &first, 1, &got);
      const int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), done);
      if (error == SSL_ERROR_SSL) note_broken(error);
    }
    outgoing().clear();  // the loop's other streams use it too
    return {refused_ ? Fault::tls_failed : Fault::io_error, socket_error, written_};
  }

  [[nodiscard]] bool may_receive() const noexcept override {
    return refused_ || SocketStream::may_receive() || SSL_has_pending(ssl_.get()) == 1;
  }

  bool send_some(IoResult& result) noexcept override {
    for (;;) {
      if (!flush()) {
        if (socket_error_ == 0) return false;
        result = failed_write(socket_error_);
        return true;
      }
      if (left().empty()) {
        result = {Fault::none, 0, written_};
        return true;
      }
      while (!left().empty() && outgoing().size() < kBatchBytes) {
        if (encrypt_some()) continue;
        result = failed_write(EPROTO);
        return true;
      }
    }
  }

  /// One record of what is left to write.
  bool encrypt_some() noexcept {
    const std::size_t most = record_size();
    const std::span<iovec> rest = left();
    // Small pieces share a record. NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
    std::array<char, kRecordMax> gathered;
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
    // OpenSSL wants it so. NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
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

  std::shared_ptr<const TlsServer> server_;  // of an accepted one
  std::shared_ptr<const TlsClient> client_;  // of a dialled one
  std::string peer_;                         // where it was dialled to
  Owned<SSL, SSL_free> ssl_;
  std::vector<char> unsent_;  // encrypted, and the socket had no room
  TlsFailure handshake_failure_{TlsFault::none, {}};
  std::size_t sent_since_quiet_ = 0;
  TimePoint last_sent_{};
  int socket_error_ = 0;
  bool ended_cleanly_ = false;
  bool heard_ = false;    // the peer has sent data
  bool broken_ = false;   // OpenSSL must not be asked for anything more
  bool refused_ = false;  // by a target, when our side of the handshake was over
};

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
    if (!shaken.result.ok()) {
      TlsFailure why = stream_->take_failure();
      if (why.fault == TlsFault::none) why.fault = TlsFault::other;  // called off
      co_return why;
    }
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

std::unique_ptr<SocketStream> make_tls_dial(LoopCore& core, std::shared_ptr<const TlsClient> client,
                                            const Endpoint& peer) {
  return std::make_unique<TlsStream>(core, std::move(client), peer);
}

std::unique_ptr<TlsHandshake> accept_tls(Loop& loop, int fd,
                                         std::shared_ptr<const TlsServer> server) {
  return std::make_unique<Handshake>(loop, fd, std::move(server));
}

}  // namespace lbd::net
