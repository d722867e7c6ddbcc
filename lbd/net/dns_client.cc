#include "lbd/net/dns_client.h"

// What is deprecated in newer versions is all that older ones have (Debian 12: 1.18).
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <coroutine>
#include <span>
#include <string_view>
#include <utility>

#include "lbd/base/check.h"
#include "lbd/net/loop_core.h"

namespace lbd::net {
namespace {

constexpr int kTryMs = 1500;  // of one server; longer with each round
constexpr int kTries = 2;     // rounds over all servers
constexpr int kClassInternet = 1;
constexpr int kTypeSrv = 33;

DnsFault fault_of(int status) noexcept {
  switch (status) {
    case ARES_SUCCESS:
      return DnsFault::none;
    case ARES_ENOTFOUND:
      return DnsFault::no_such_name;
    case ARES_ENODATA:
      return DnsFault::no_records;
    case ARES_ESERVFAIL:
    case ARES_EREFUSED:
    case ARES_ENOTIMP:
    case ARES_ECONNREFUSED:
      return DnsFault::server_failure;
    case ARES_ETIMEOUT:
      return DnsFault::timeout;
    case ARES_EBADRESP:
    case ARES_EFORMERR:
      return DnsFault::malformed;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
      return DnsFault::cancelled;
    default:
      return DnsFault::other;
  }
}

/// One question under way; in the frame of who asked it.
struct Question {
  DnsFault fault = DnsFault::none;
  std::vector<SocketAddress> addresses;
  DnsServiceRecords records;
  std::uint32_t ttl_seconds = 0;
  std::vector<Question*>* ended = nullptr;  // where to go when somebody waits
  std::coroutine_handle<> waiter;
  bool done = false;

  void end(DnsFault outcome) {
    fault = outcome;
    done = true;
    if (waiter) ended->push_back(this);
  }
};

SocketAddress address_of(const sockaddr* from) noexcept {
  if (from->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(from);
    return SocketAddress::of({reinterpret_cast<const std::uint8_t*>(&v4->sin_addr), 4}, 0);
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(from);
  return SocketAddress::of({v6->sin6_addr.s6_addr, 16}, 0);
}

void on_addresses(void* context, int status, int /*timeouts*/, ares_addrinfo* result) {
  auto* question = static_cast<Question*>(context);
  std::uint32_t ttl = UINT32_MAX;
  const auto shorten = [&ttl](int seconds) {
    ttl = std::min(ttl, static_cast<std::uint32_t>(std::max(seconds, 0)));
  };
  if (result != nullptr) {
    for (const auto* node = result->nodes; node != nullptr; node = node->ai_next) {
      question->addresses.push_back(address_of(node->ai_addr));
      shorten(node->ai_ttl);
    }
    for (const auto* alias = result->cnames; alias != nullptr; alias = alias->next) {
      shorten(alias->ttl);
    }
    ares_freeaddrinfo(result);
  }
  question->ttl_seconds = ttl;
  const bool nothing = status == ARES_SUCCESS && question->addresses.empty();
  question->end(nothing ? DnsFault::no_records : fault_of(status));
}

/// RFC 6761 §6.3: this host, without asking anyone.
bool is_localhost(std::string_view name) noexcept {
  if (name.ends_with('.')) name.remove_suffix(1);
  return name == "localhost" || name.ends_with(".localhost");
}

DnsAddresses loopback(int family) {
  const auto address = SocketAddress::parse(family == AF_INET ? "127.0.0.1" : "::1", 0);
  return {DnsFault::none, {*address}, std::chrono::hours(24)};
}

void end_services(Question& question, int status, std::span<const std::uint8_t> message) {
  if (status != ARES_SUCCESS) return question.end(fault_of(status));
  auto records = read_services(message);
  if (!records) return question.end(DnsFault::malformed);
  question.records = std::move(*records);
  question.ttl_seconds = question.records.ttl_seconds;
  question.end(question.records.services.empty() ? DnsFault::no_records : DnsFault::none);
}

}  // namespace

std::string_view dns_fault_name(DnsFault fault) noexcept {
  constexpr std::array<std::string_view, static_cast<std::size_t>(DnsFault::kCount)> kNames{
      "none",    "no_such_name", "no_records", "server_failure",
      "timeout", "malformed",    "cancelled",  "other"};
  return kNames[static_cast<std::size_t>(fault)];
}

/// c-ares' sockets live in an epoll set of their own, which the loop watches.
class DnsClient::Core final : public Watch {
 public:
  Core(Loop& loop, const std::vector<std::string>& servers)
      : core_(loop.core()),
        timer_(core_, this, [](void* self) { static_cast<Core*>(self)->process_late(); }) {
    ares_library_init(ARES_LIB_INIT_ALL);
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    usable_ = epoll_ >= 0 && core_.watch(epoll_, *this, EPOLLIN) == 0 && open(servers);
  }
  ~Core() override {
    LBD_CHECK(asked_ == 0);
    if (channel_ != nullptr) ares_destroy(channel_);
    if (epoll_ >= 0) {
      core_.forget(epoll_, *this);
      ::close(epoll_);
    }
    ares_library_cleanup();
  }
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Suspends who asks until the answer is there. `Ask` hands the question to c-ares, which may
  /// answer at once.
  template <class Ask>
  struct Answered {
    Core& core;
    Question& question;
    Ask ask;
    [[nodiscard]] bool await_ready() {
      if (!core.usable_) question.end(core.closed_ ? DnsFault::cancelled : DnsFault::other);
      if (question.done) return true;
      ask(core.channel_);
      core.arm();
      if (!core.ended_.empty()) core.core_.defer(core);  // others that asking has brought to an end
      return question.done;
    }
    void await_suspend(std::coroutine_handle<> waiter) noexcept {
      question.ended = &core.ended_;
      question.waiter = waiter;
      ++core.asked_;
    }
    static void await_resume() noexcept {}
  };

  void close() {
    closed_ = true;
    usable_ = false;
    timer_.cancel();
    if (channel_ != nullptr) ares_cancel(channel_);
    if (!ended_.empty()) core_.defer(*this);
  }
  [[nodiscard]] bool closed() const noexcept { return closed_; }

 private:
  bool open(const std::vector<std::string>& servers) {
    ares_options options{};
    int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
    options.sock_state_cb = &Core::on_socket;
    options.sock_state_cb_data = this;
    options.timeout = kTryMs;
    options.tries = kTries;
    std::string lookups = "b";
    if (!servers.empty()) {  // nobody else's hosts file or search list
      options.lookups = lookups.data();
      mask |= ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS;
    }
#ifdef ARES_OPT_QUERY_CACHE
    options.qcache_max_ttl = 0;  // whoever asks again wants to know
    mask |= ARES_OPT_QUERY_CACHE;
#endif
    if (ares_init_options(&channel_, &options, mask) != ARES_SUCCESS) return false;
    const std::string list = fmt::format("{}", fmt::join(servers, ","));
    return list.empty() || ares_set_servers_ports_csv(channel_, list.c_str()) == ARES_SUCCESS;
  }

  static void on_socket(void* context, ares_socket_t socket, int readable, int writable) {
    auto* self = static_cast<Core*>(context);
    epoll_event event{};
    event.data.fd = socket;
    event.events = (readable != 0 ? +EPOLLIN : 0U) | (writable != 0 ? +EPOLLOUT : 0U);
    if (event.events == 0) {
      ::epoll_ctl(self->epoll_, EPOLL_CTL_DEL, socket, &event);
    } else if (::epoll_ctl(self->epoll_, EPOLL_CTL_MOD, socket, &event) != 0) {
      ::epoll_ctl(self->epoll_, EPOLL_CTL_ADD, socket, &event);
    }
  }

  void ready(std::uint32_t /*events*/) override {
    std::array<epoll_event, 32> events{};
    const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events.at(static_cast<std::size_t>(i));
      const bool in = (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
      const bool out = (event.events & EPOLLOUT) != 0;
      ares_process_fd(channel_, in ? event.data.fd : ARES_SOCKET_BAD,
                      out ? event.data.fd : ARES_SOCKET_BAD);
    }
    finish();
  }
  void resume_deferred() override { finish(); }

  void process_late() {
    ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    finish();
  }

  /// Resumes those whose answers have come, outside of c-ares: they may ask again.
  void finish() {
    arm();
    std::vector<Question*> ended = std::exchange(ended_, {});
    asked_ -= ended.size();
    for (Question* each : ended) each->waiter.resume();
  }

  void arm() noexcept {
    timeval left{};
    if (!usable_ || ares_timeout(channel_, nullptr, &left) == nullptr) return timer_.cancel();
    timer_.cancel();
    timer_.set(core_.now() + std::chrono::seconds(left.tv_sec) +
               std::chrono::microseconds(left.tv_usec) + std::chrono::milliseconds(1));
  }

  LoopCore& core_;
  Timer timer_;
  ares_channel channel_ = nullptr;
  int epoll_ = -1;
  std::vector<Question*> ended_;
  std::size_t asked_ = 0;
  bool usable_ = false;
  bool closed_ = false;
};

DnsClient::DnsClient(Loop& loop, const std::vector<std::string>& servers)
    : core_(std::make_unique<Core>(loop, servers)) {}

DnsClient::~DnsClient() = default;

void DnsClient::close() { core_->close(); }

bool DnsClient::closed() const noexcept { return core_->closed(); }

Task<DnsAddresses> DnsClient::addresses(std::string name, int family) {
  if (is_localhost(name)) co_return loopback(family);
  Question question;
  ares_addrinfo_hints hints{};
  hints.ai_flags = ARES_AI_NOSORT;
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  const auto ask = [&](ares_channel channel) {
    ares_getaddrinfo(channel, name.c_str(), nullptr, &hints, &on_addresses, &question);
  };
  Core::Answered<decltype(ask)> answered{*core_, question, ask};
  co_await answered;
  co_return DnsAddresses{question.fault, std::move(question.addresses),
                         std::chrono::seconds(question.ttl_seconds)};
}

Task<DnsServices> DnsClient::services(std::string name) {
  Question question;
  const auto ask = [&](ares_channel channel) {
    ares_query(
        channel, name.c_str(), kClassInternet, kTypeSrv,
        [](void* asked, int status, int /*timeouts*/, unsigned char* bytes, int size) {
          end_services(*static_cast<Question*>(asked), status,
                       {bytes, static_cast<std::size_t>(size)});
        },
        &question);
  };
  Core::Answered<decltype(ask)> answered{*core_, question, ask};
  co_await answered;
  co_return DnsServices{question.fault, std::move(question.records.services),
                        std::chrono::seconds(question.ttl_seconds)};
}

}  // namespace lbd::net
