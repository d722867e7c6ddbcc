// The pieces of the request path by themselves: to see which of them a change made slower. What a
// request costs as a whole is for bench/macro to say.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "lbd/balance/pick.h"
#include "lbd/http/h1_head.h"
#include "lbd/http/h1_write.h"
#include "lbd/net/loop.h"
#include "lbd/route/table.h"

namespace lbd {
namespace {

constexpr std::string_view kRequest =
    "GET /products/4711?page=2 HTTP/1.1\r\n"
    "Host: shop.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

void scan_and_parse_a_request_head(benchmark::State& state) {
  const http::HeadLimits limits;
  http::RequestHead head;
  for (auto _ : state) {
    http::HeadScanner scanner(limits);
    benchmark::DoNotOptimize(scanner.scan(kRequest));
    benchmark::DoNotOptimize(http::parse_request_head(kRequest, head));
  }
}
BENCHMARK(scan_and_parse_a_request_head);

void write_a_request_head(benchmark::State& state) {
  BufferPool pool;
  Buffer out(pool);
  http::RequestHead head;
  if (http::parse_request_head(kRequest, head) != Fault::none) state.SkipWithError("not parsed");
  for (auto _ : state) {
    out.clear();
    http::write_request_head(head, head.headers, out);
    benchmark::DoNotOptimize(out.view().data());
  }
}
BENCHMARK(write_a_request_head);

void find_the_last_of_rules(benchmark::State& state) {
  std::vector<config::Rule> rules;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    config::Rule& rule = rules.emplace_back();
    rule.when.hosts = {fmt::format("host{}.example.com", i)};
    rule.when.paths = {"/products/*"};
    rule.then = config::Forward{"web"};
  }
  const route::Table table(rules);
  const std::string host = rules.back().when.hosts.front();
  for (auto _ : state) benchmark::DoNotOptimize(table.find(host, "/products/4711"));
}
BENCHMARK(find_the_last_of_rules)->Arg(1)->Arg(100)->Arg(10'000);

template <class Pick>
void pick(benchmark::State& state, Pick choose) {
  std::vector<balance::Candidate> candidates(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    candidates[i] = {static_cast<std::uint32_t>(i), 1, static_cast<std::uint32_t>(i % 7), 1000.0F};
  }
  for (auto _ : state) benchmark::DoNotOptimize(choose(candidates));
}

void pick_by_least_requests(benchmark::State& state) {
  Rng rng(1);
  pick(state, [&](const auto& all) { return balance::least_requests(all, rng); });
}
BENCHMARK(pick_by_least_requests)->Arg(3)->Arg(16);

void pick_by_round_robin(benchmark::State& state) {
  std::uint64_t turn = 0;
  pick(state, [&](const auto& all) { return balance::round_robin(all, turn); });
}
BENCHMARK(pick_by_round_robin)->Arg(3)->Arg(16);

void move_a_deadline(benchmark::State& state) {
  net::Loop loop;
  Timer timer(loop.clock(), nullptr, [](void*) {});
  TimePoint due = loop.clock().now() + std::chrono::seconds(60);
  for (auto _ : state) timer.set(due += std::chrono::microseconds(10));
}
BENCHMARK(move_a_deadline);

}  // namespace
}  // namespace lbd
