#include "lbd/net/curl_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <coroutine>
#include <cstring>
#include <vector>

#include "lbd/base/check.h"
#include "lbd/net/loop_core.h"

namespace lbd::net {
namespace {

constexpr long kKeptConnections = 64;
constexpr std::size_t kKeptHandles = 16;
constexpr std::size_t kHeaderBytesMax = 256 * 1024;

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return made;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::strchr(" \t\r\n", text.front()) != nullptr) text.remove_prefix(1);
  while (!text.empty() && std::strchr(" \t\r\n", text.back()) != nullptr) text.remove_suffix(1);
  return text;
}

std::string in_seconds(Duration duration) {
  return fmt::format("{:g} s", std::chrono::duration<double>(duration).count());
}

long in_millis(Duration duration) {
  const auto millis = std::chrono::ceil<std::chrono::milliseconds>(duration).count();
  return static_cast<long>(std::max<std::int64_t>(millis, 1));  // 0 would mean no limit
}

std::string errno_text(long code) {
  return code == 0 ? std::string() : lower(std::strerror(static_cast<int>(code)));
}

bool fit_for_header(const std::string& text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos;
}

/// One exchange: the request while curl reads it, the reply while curl writes it.
struct Transfer {
  HttpRequest request;
  HttpReply reply;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  std::coroutine_handle<> waiter;
  std::size_t header_bytes = 0;
  bool too_large = false;
  std::array<char, CURL_ERROR_SIZE> error_text{};
};

std::size_t on_body(char* data, std::size_t, std::size_t size, void* context) {
  auto* transfer = static_cast<Transfer*>(context);
  if (transfer->reply.body.size() + size > transfer->request.reply_bytes_max) {
    transfer->too_large = true;
    return 0;
  }
  transfer->reply.body.append(data, size);
  return size;
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* context) {
  auto* transfer = static_cast<Transfer*>(context);
  transfer->header_bytes += size;
  if (transfer->header_bytes > kHeaderBytesMax) {
    transfer->too_large = true;
    return 0;
  }
  const std::string_view line(data, size);
  const std::size_t colon = line.find(':');
  if (line.starts_with("HTTP/")) {
    transfer->reply.headers.clear();  // a 1xx came before
  } else if (colon != std::string_view::npos) {
    transfer->reply.headers.emplace_back(lower(trimmed(line.substr(0, colon))),
                                         trimmed(line.substr(colon + 1)));
  }
  return size;
}

curl_slist* header_list(const HttpRequest& request) {
  curl_slist* list = nullptr;
  bool typed = false;
  bool accepts = false;
  for (const auto& [name, value] : request.headers) {
    const std::string lowered = lower(name);
    typed = typed || lowered == "content-type";
    accepts = accepts || lowered == "accept";
    // "Name;" is curl's way to say: this header, with no value.
    const std::string line =
        value.empty() ? fmt::format("{};", name) : fmt::format("{}: {}", name, value);
    list = curl_slist_append(list, line.c_str());
  }
  list = curl_slist_append(list, "Expect:");
  if (!typed) list = curl_slist_append(list, "Content-Type:");
  if (!accepts) list = curl_slist_append(list, "Accept:");
  return list;
}

void set_method(CURL* easy, const HttpRequest& request) {
  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET" || !request.body.empty()) {
    const auto size = static_cast<curl_off_t>(request.body.size());
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
    if (request.method != "POST") {
      curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
  }
}

/// Everything curl is told of one exchange.
void prepare(Transfer& transfer) {
  CURL* easy = transfer.easy;
  const HttpRequest& request = transfer.request;
  transfer.headers = header_list(request);
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);  // what was signed is what is sent
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NETRC, CURL_NETRC_IGNORED);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, in_millis(request.connect_timeout));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, in_millis(request.timeout));
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, request.verify_tls ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, request.verify_tls ? 2L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
  if (!request.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, request.ca_file.c_str());
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error_text.data());
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  set_method(easy, request);
}

std::string timeout_text(const Transfer& transfer) {
  curl_off_t connected = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
  if (connected == 0 && transfer.request.connect_timeout < transfer.request.timeout) {
    return "connect timed out after " + in_seconds(transfer.request.connect_timeout);
  }
  return "timed out after " + in_seconds(transfer.request.timeout);
}

std::string error_text(const Transfer& transfer, CURLcode code) {
  long os_errno = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_OS_ERRNO, &os_errno);
  if (transfer.too_large && transfer.header_bytes > kHeaderBytesMax) {
    return fmt::format("reply head larger than {} bytes", kHeaderBytesMax);
  }
  if (transfer.too_large) {
    return fmt::format("reply larger than {} bytes", transfer.request.reply_bytes_max);
  }
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return timeout_text(transfer);
    case CURLE_COULDNT_CONNECT: {
      std::string text = errno_text(os_errno);
      return text.empty() ? "connection failed" : text;
    }
    case CURLE_GOT_NOTHING:
      return "connection closed without a reply";
    case CURLE_PARTIAL_FILE:
      return "connection closed in the middle of the reply";
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR: {
      std::string text = errno_text(os_errno);
      return text.empty() ? "connection reset by peer" : text;
    }
    default: {
      const std::string detail(transfer.error_text.data());
      return detail.empty() ? std::string(curl_easy_strerror(code)) : detail;
    }
  }
}

/// Fills in the reply's verdict once curl is done with the exchange.
void conclude(Transfer& transfer, CURLcode code) {
  HttpReply& reply = transfer.reply;
  long status = 0;
  long request_bytes = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(transfer.easy, CURLINFO_REQUEST_SIZE, &request_bytes);
  reply.sent = request_bytes > 0 || status != 0;
  if (code == CURLE_OK && status != 0) {
    reply.status = static_cast<int>(status);
    return;
  }
  reply.error = code == CURLE_OK ? "no HTTP status" : error_text(transfer, code);
  reply.headers.clear();
  reply.body.clear();
}

std::string refusal(const HttpRequest& request) {
  for (const auto& [name, value] : request.headers) {
    if (!fit_for_header(name) || !fit_for_header(value) || name.empty()) {
      return "a header holds a line break";
    }
  }
  return fit_for_header(request.method) ? "" : "the method holds a line break";
}

}  // namespace

/// curl's sockets are in an epoll set of their own, which the loop watches. Nothing of it runs
/// after `close`.
class CurlClient::Core final : private Watch {
 public:
  explicit Core(Loop& loop)
      : loop_(loop),
        timer_(loop.clock(), this, &Core::on_timer),
        multi_(curl_multi_init()),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    LBD_CHECK(epoll_ >= 0 && multi_ != nullptr);
    LBD_CHECK(loop_.core().watch(epoll_, *this, EPOLLIN) == 0);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &Core::on_socket);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &Core::on_timeout_change);
    curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, kKeptConnections);
  }
  ~Core() {
    for (CURL* easy : spare_) curl_easy_cleanup(easy);
    curl_multi_cleanup(multi_);
  }
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Suspends the sender until its transfer is over.
  struct Exchange {
    Core& core;
    Transfer& transfer;
    [[nodiscard]] bool await_ready() const { return !core.begin(transfer); }
    void await_suspend(std::coroutine_handle<> waiter) const noexcept { transfer.waiter = waiter; }
    static void await_resume() noexcept {}
  };

  /// The frame's hold on its transfer: whatever ends the frame takes it out of curl.
  struct Hold {
    Core& core;
    Transfer& transfer;
    ~Hold() {
      if (transfer.easy != nullptr) core.drop(transfer);
    }
  };

  bool begin(Transfer& transfer) {
    transfer.reply.error = closed_ ? "cancelled" : refusal(transfer.request);
    if (!transfer.reply.error.empty()) return false;
    transfer.easy = take_handle();
    prepare(transfer);
    active_.push_back(&transfer);
    const CURLMcode added = curl_multi_add_handle(multi_, transfer.easy);
    if (added == CURLM_OK) return true;
    transfer.reply.error = curl_multi_strerror(added);
    drop(transfer);
    return false;
  }

  void drop(Transfer& transfer) {
    std::erase(active_, &transfer);
    if (transfer.easy == nullptr) return;
    curl_multi_remove_handle(multi_, transfer.easy);
    curl_easy_reset(transfer.easy);
    if (spare_.size() < kKeptHandles && !closed_) {
      spare_.push_back(transfer.easy);
    } else {
      curl_easy_cleanup(transfer.easy);
    }
    transfer.easy = nullptr;
    curl_slist_free_all(transfer.headers);
    transfer.headers = nullptr;
  }

  void close() {
    closed_ = true;
    while (!active_.empty()) {
      Transfer& transfer = *active_.back();
      conclude(transfer, CURLE_ABORTED_BY_CALLBACK);
      transfer.reply.status = 0;
      transfer.reply.error = "cancelled";
      drop(transfer);
      transfer.waiter.resume();
    }
    timer_.cancel();
    if (epoll_ < 0) return;
    loop_.core().forget(epoll_, *this);
    ::close(std::exchange(epoll_, -1));  // curl's clean-up still calls on_socket
  }

 private:
  CURL* take_handle() {
    if (spare_.empty()) return curl_easy_init();
    CURL* easy = spare_.back();
    spare_.pop_back();
    return easy;
  }

  void ready(std::uint32_t /*events*/) override {
    std::array<epoll_event, 32> events{};
    const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events.at(static_cast<std::size_t>(i));
      int bits = 0;
      if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) bits |= CURL_CSELECT_IN;
      if ((event.events & EPOLLOUT) != 0) bits |= CURL_CSELECT_OUT;
      if ((event.events & EPOLLERR) != 0) bits |= CURL_CSELECT_ERR;
      act(event.data.fd, bits);
    }
    finish_done();
  }
  void resume_deferred() override { expire(); }

  void act(curl_socket_t socket, int bits) {
    int running = 0;
    curl_multi_socket_action(multi_, socket, bits, &running);
  }

  void expire() {
    if (closed_) return;
    act(CURL_SOCKET_TIMEOUT, 0);
    finish_done();
  }

  /// Resumes the senders whose exchange is over. They run outside of curl and may send again.
  void finish_done() {
    std::vector<Transfer*> done;
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      conclude(*transfer, message->data.result);
      done.push_back(transfer);
    }
    for (Transfer* each : done) drop(*each);
    for (Transfer* each : done) each->waiter.resume();
  }

  // NOLINTNEXTLINE(readability-function-size): curl says what it takes
  static int on_socket(CURL*, curl_socket_t socket, int what, void* context, void*) {
    auto* self = static_cast<Core*>(context);
    epoll_event event{};
    event.data.fd = socket;
    if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
    if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
    if (what == CURL_POLL_REMOVE) {
      ::epoll_ctl(self->epoll_, EPOLL_CTL_DEL, socket, &event);  // or closed already
    } else if (::epoll_ctl(self->epoll_, EPOLL_CTL_MOD, socket, &event) != 0) {
      ::epoll_ctl(self->epoll_, EPOLL_CTL_ADD, socket, &event);
    }
    return 0;
  }

  static int on_timeout_change(CURLM*, long millis, void* context) {
    auto* self = static_cast<Core*>(context);
    self->timer_.cancel();
    if (millis > 0) {
      self->timer_.set(self->loop_.clock().now() + std::chrono::milliseconds(millis));
    } else if (millis == 0 && !self->closed_) {  // now, but not inside curl
      self->loop_.core().defer(*self);
    }
    return 0;
  }

  static void on_timer(void* context) { static_cast<Core*>(context)->expire(); }

  Loop& loop_;
  Timer timer_;
  CURLM* multi_;
  int epoll_;
  std::vector<CURL*> spare_;
  std::vector<Transfer*> active_;
  bool closed_ = false;
};

CurlClient::CurlClient(Loop& loop) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  core_ = std::make_unique<Core>(loop);
}

CurlClient::~CurlClient() {
  core_->close();
  core_.reset();
  curl_global_cleanup();
}

void CurlClient::close() { core_->close(); }

Task<HttpReply> CurlClient::send(HttpRequest request) {
  Transfer transfer;
  transfer.request = std::move(request);
  {
    Core& core = *core_;
    const Core::Hold hold{core, transfer};
    Core::Exchange exchange{core, transfer};
    co_await exchange;
  }
  co_return std::move(transfer.reply);
}

}  // namespace lbd::net
