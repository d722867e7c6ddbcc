// The pieces of the request path by themselves: to see which of them a change made slower. What a
// request costs as a whole is for bench/macro to say.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>
#include <utility>
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

std::vector<config::Rule> rules_by_host(std::int64_t count) {
  std::vector<config::Rule> rules;
  for (std::int64_t i = 0; i < count; ++i) {
    config::Rule& rule = rules.emplace_back();
    rule.when.hosts = {fmt::format("host{}.example.com", i)};
    rule.when.paths = {"/products/*"};
  }
  return rules;
}

/// Requests for all rules in turn, so that what is looked at is not always in the cache.
void find_each(benchmark::State& state, const std::vector<config::Rule>& rules) {
  const route::Table table(rules);
  std::vector<std::pair<std::string, std::string>> asked;
  for (const config::Rule& rule : rules) {
    const config::When& when = rule.when;
    std::string path = when.paths.front();
    if (path.ends_with('*')) path.replace(path.size() - 1, 1, "4711");
    asked.emplace_back(when.hosts.empty() ? "shop.example.com" : when.hosts.front(), path);
  }
  std::size_t turn = 0;
  for (auto _ : state) {
    turn = (turn + 7919) % asked.size();
    const route::Request request{.authority = asked[turn].first, .path = asked[turn].second};
    benchmark::DoNotOptimize(table.find(request));
  }
}

void find_a_rule_by_host(benchmark::State& state) {
  find_each(state, rules_by_host(state.range(0)));
}
BENCHMARK(find_a_rule_by_host)->Arg(1)->Arg(100)->Arg(10'000);

void find_a_rule_by_server_name(benchmark::State& state) {
  std::vector<config::Rule> rules(static_cast<std::size_t>(state.range(0)));
  std::vector<std::string> asked;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    asked.push_back(fmt::format("host{}.example.com", i));
    rules[i].when.server_names = {asked.back()};
  }
  const route::Table table(rules);
  std::size_t turn = 0;
  for (auto _ : state) {
    turn = (turn + 7919) % asked.size();
    benchmark::DoNotOptimize(table.find({.server_name = asked[turn]}));
  }
}
BENCHMARK(find_a_rule_by_server_name)->Arg(1)->Arg(100)->Arg(10'000);

void find_a_rule_by_path_prefix(benchmark::State& state) {
  std::vector<config::Rule> rules(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < rules.size(); ++i) rules[i].when.paths = {fmt::format("/app{}/*", i)};
  find_each(state, rules);
}
BENCHMARK(find_a_rule_by_path_prefix)->Arg(1)->Arg(100)->Arg(10'000);

void find_a_rule_by_host_and_path(benchmark::State& state) {
  std::vector<config::Rule> rules(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < rules.size(); ++i) {
    rules[i].when.hosts = {fmt::format("host{}.example.com", i / 100)};
    rules[i].when.paths = {fmt::format("/page/{}", i % 100)};
  }
  find_each(state, rules);
}
BENCHMARK(find_a_rule_by_host_and_path)->Arg(1)->Arg(100)->Arg(10'000);

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
