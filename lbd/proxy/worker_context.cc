#include "lbd/proxy/worker_context.h"

#include <algorithm>
#include <iterator>

#include "lbd/http/h1_write.h"
#include "lbd/proxy/exchange.h"
#include "lbd/proxy/h1_upstream.h"
#include "lbd/proxy/h2_upstream.h"

namespace lbd::proxy {
namespace {

// Some hundred KiB each: what a burst of them may take, and what is kept after it.
constexpr std::size_t kEncodersMax = 256;
constexpr std::size_t kFreeEncodersMax = 16;
// Of heads; connections that wait for a request keep none.
constexpr std::size_t kFreeFieldsMax = 1024;

}  // namespace

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

std::unique_ptr<http::Encoder> WorkerContext::take_encoder(http::Coding coding,
                                                           http::Effort effort) {
  if (encoders_ >= kEncodersMax) return nullptr;
  std::unique_ptr<http::Encoder> encoder;
  const auto found = std::find_if(
      free_encoders_.rbegin(), free_encoders_.rend(),
      [&](const auto& each) { return each->coding() == coding && each->effort() == effort; });
  if (found != free_encoders_.rend()) {
    encoder = std::move(*found);
    free_encoders_.erase(std::next(found).base());
    if (!encoder->restart()) encoder.reset();
  } else {
    encoder = http::make_encoder(coding, effort);
  }
  if (encoder != nullptr) ++encoders_;
  return encoder;
}

void WorkerContext::give_back(std::unique_ptr<http::Encoder> encoder) noexcept {
  if (encoder == nullptr) return;
  --encoders_;
  if (free_encoders_.size() < kFreeEncodersMax) free_encoders_.push_back(std::move(encoder));
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

std::vector<http::Header> WorkerContext::take_fields() noexcept {
  if (free_fields_.empty()) return {};
  std::vector<http::Header> fields = std::move(free_fields_.back());
  free_fields_.pop_back();
  return fields;
}

void WorkerContext::give_back(std::vector<http::Header> fields) noexcept {
  if (fields.capacity() == 0 || free_fields_.size() >= kFreeFieldsMax) return;
  fields.clear();
  free_fields_.push_back(std::move(fields));
}

}  // namespace lbd::proxy
