#include "lbd/proxy/worker_context.h"

#include "lbd/http/h1_write.h"
#include "lbd/proxy/exchange.h"
#include "lbd/proxy/h1_upstream.h"
#include "lbd/proxy/h2_upstream.h"

namespace lbd::proxy {

WorkerContext::WorkerContext(std::size_t worker_index, net::Loop& worker_loop, std::uint64_t seed)
    : index(worker_index),
      loop(worker_loop),
      clock(worker_loop.clock()),
      rng(seed),
      idle(worker_index, clock, tasks),
      http2(worker_index, loop, buffers, tasks) {}

WorkerContext::~WorkerContext() = default;

std::string_view WorkerContext::date() noexcept {
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(clock.wall().time_since_epoch()).count();
  if (now == date_second_) return {date_.data(), date_.size()};
  date_second_ = now;
  return http::http_date(now, date_);
}

std::unique_ptr<UpstreamSide> WorkerContext::take_upstream(config::HttpVersion version) {
  auto& kept = free_upstreams_[static_cast<std::size_t>(version)];
  if (kept.empty() && version == config::HttpVersion::http_2) {
    return std::make_unique<H2Upstream>(*this);
  }
  if (kept.empty()) return std::make_unique<H1Upstream>(buffers);
  std::unique_ptr<UpstreamSide> upstream = std::move(kept.back());
  kept.pop_back();
  return upstream;
}

void WorkerContext::give_back(std::unique_ptr<UpstreamSide> upstream,
                              config::HttpVersion version) noexcept {
  free_upstreams_[static_cast<std::size_t>(version)].push_back(std::move(upstream));
}

std::unique_ptr<ExchangeState> WorkerContext::take_state() {
  if (free_states_.empty()) return std::make_unique<ExchangeState>(buffers);
  std::unique_ptr<ExchangeState> state = std::move(free_states_.back());
  free_states_.pop_back();
  return state;
}

void WorkerContext::give_back(std::unique_ptr<ExchangeState> state) noexcept {
  free_states_.push_back(std::move(state));
}

}  // namespace lbd::proxy
