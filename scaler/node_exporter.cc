#include "scaler/node_exporter.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace lbd::scaler {
namespace {

using std::chrono::seconds;

constexpr seconds kInterval{5};
constexpr seconds kTimeout{2};
constexpr seconds kIntervalMax{60};
constexpr std::size_t kRunningMax = 64;
constexpr std::size_t kReplyBytesMax = 4 << 20;
constexpr std::string_view kMetric = "node_cpu_seconds_total{";

std::string_view label(std::string_view labels, std::string_view name) {
  const std::string start = fmt::format("{}=\"", name);
  std::size_t at = labels.find(start);
  while (at != std::string_view::npos && at > 0 && labels[at - 1] != ',' && labels[at - 1] != ' ') {
    at = labels.find(start, at + 1);  // the end of a longer name
  }
  if (at == std::string_view::npos) return {};
  labels.remove_prefix(at + start.size());
  return labels.substr(0, labels.find('"'));
}

std::optional<double> value_of(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  text = text.substr(0, text.find(' '));  // a timestamp may follow
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (text.empty() || !whole || !std::isfinite(value) || value < 0) return std::nullopt;
  return value;
}

}  // namespace

std::optional<CpuTimes> parse_node_cpu(std::string_view text) {
  CpuTimes times;
  bool idle_seen = false;
  bool busy_seen = false;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.starts_with(kMetric)) continue;
    line.remove_prefix(kMetric.size());
    const std::size_t close = line.find('}');
    if (close == std::string_view::npos) continue;
    const std::string_view mode = label(line.substr(0, close), "mode");
    const std::optional<double> value = value_of(line.substr(close + 1));
    if (!value || mode.empty()) continue;
    const bool idle = mode == "idle" || mode == "iowait";
    idle_seen = idle_seen || mode == "idle";
    busy_seen = busy_seen || !idle;
    times.total += *value;
    if (idle) times.idle += *value;
  }
  if (!idle_seen || !busy_seen) return std::nullopt;
  return times;
}

std::optional<double> cpu_ratio(const CpuTimes& before, const CpuTimes& after) {
  const double passed = after.total - before.total;
  const double idle = after.idle - before.idle;
  // Linux's iowait can run backwards a little; a reboot runs back far.
  if (passed <= 0 || idle < -0.05 * passed) return std::nullopt;
  return std::clamp(1 - idle / passed, 0.0, 1.0);
}

void NodeExporterScraper::set_targets(const std::vector<ScrapeTarget>& targets) {
  std::map<std::string, Watched> kept;
  for (const ScrapeTarget& each : targets) {
    if (each.address.empty()) continue;
    const auto known = watched_.find(each.instance);
    const bool same = known != watched_.end() && known->second.address == each.address;
    Watched watched;
    watched.address = each.address;
    kept[each.instance] = same ? std::move(known->second) : std::move(watched);
  }
  watched_ = std::move(kept);
}

void NodeExporterScraper::tick() {
  const TimePoint now = parts_.clock.now();
  std::vector<ScrapeTarget> due;
  for (auto& [instance, watched] : watched_) {
    if (stopped_ || watched.running || now < watched.next) continue;
    if (calls_.running() + due.size() >= kRunningMax) break;
    watched.running = true;
    watched.next = now + kInterval;
    due.push_back({instance, watched.address});
  }
  for (ScrapeTarget& each : due) calls_.spawn(scrape(std::move(each)));
}

Task<> NodeExporterScraper::scrape(ScrapeTarget target) {
  net::HttpRequest request;
  const bool v6 = target.address.find(':') != std::string::npos;
  request.url = fmt::format("http://{}{}{}:{}{}", v6 ? "[" : "", target.address, v6 ? "]" : "",
                            parts_.port, parts_.path);
  request.headers.emplace_back("accept", "text/plain;version=0.0.4");
  request.connect_timeout = kTimeout;
  request.timeout = kTimeout;
  request.reply_bytes_max = kReplyBytesMax;
  const net::HttpReply reply = co_await parts_.http.send(std::move(request));
  std::optional<CpuTimes> times;
  if (reply.status == 200) times = parse_node_cpu(reply.body);
  learn(target, times);
}

void NodeExporterScraper::learn(const ScrapeTarget& target, std::optional<CpuTimes> times) {
  const auto found = watched_.find(target.instance);
  if (stopped_ || found == watched_.end() || found->second.address != target.address) return;
  Watched& watched = found->second;
  const TimePoint now = parts_.clock.now();
  watched.running = false;
  if (!times) {
    const std::uint32_t doublings = std::min<std::uint32_t>(++watched.failures, 4);
    watched.next = now + std::min(kInterval * (1U << doublings), kIntervalMax);
    watched.last.reset();
    return;
  }
  watched.failures = 0;
  std::optional<double> ratio;
  if (watched.last) ratio = cpu_ratio(*watched.last, *times);
  watched.last = times;
  if (ratio) parts_.report(CpuSample{target.instance, *ratio, now});
}

}  // namespace lbd::scaler
