#include "lbd/control/names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

namespace lbd::control {

using net::DnsFault;

namespace {

constexpr std::chrono::milliseconds kAfterOthers{20};
constexpr std::size_t kShown = 20;  // addresses in a line of the log
constexpr const char* kHostSettings = "/etc/resolv.conf";

std::int64_t written(const char* path) noexcept {
  struct stat found {};
  if (::stat(path, &found) != 0) return 0;
  return std::int64_t{found.st_mtim.tv_sec} * 1'000'000'000 + found.st_mtim.tv_nsec;
}

std::set<std::string> texts_of(const std::vector<NameAddress>& addresses) {
  std::set<std::string> texts;
  for (const NameAddress& each : addresses) texts.insert(each.address.text());
  return texts;
}

/// Those of `in` that `from` lacks.
std::string missing(const std::set<std::string>& from, const std::set<std::string>& in) {
  std::vector<std::string> found;
  std::set_difference(in.begin(), in.end(), from.begin(), from.end(), std::back_inserter(found));
  const std::size_t more = found.size() - std::min(found.size(), kShown);
  if (more > 0) found.resize(kShown);
  return fmt::format("{}{}", fmt::join(found, " "),
                     more > 0 ? fmt::format(" and {} more", more) : "");
}

bool same(const std::vector<NameAddress>& a, const std::vector<NameAddress>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const NameAddress& x, const NameAddress& y) {
                      return x.address.text() == y.address.text() && x.weight == y.weight;
                    });
}

}  // namespace

/// What one look-up brought.
struct Names::Found {
  DnsFault fault = DnsFault::none;  // of any part
  std::chrono::seconds ttl{0};
  std::vector<net::DnsService> services;
  std::map<std::string, HostAddresses> hosts;
};

struct Names::Entry {
  Entry(Names& owner, std::string of_group, const config::Target& of)
      : names(owner),
        group(std::move(of_group)),
        target(of),
        again(owner.loop_.clock(), this, due) {}
  static void due(void* self) {
    auto* entry = static_cast<Entry*>(self);
    entry->names.start(entry->names.entries_.at({entry->group, entry->target.text()}));
  }

  Names& names;
  std::string group;
  config::Target target;
  Timer again;
  std::vector<net::DnsService> services;  // of the last good answer
  std::map<std::string, HostAddresses> hosts;
  std::vector<NameAddress> addresses;
  bool looking = false;
  bool gone = false;
  bool looked = false;
  bool answered = false;
  DnsFault fault = DnsFault::none;
  std::uint32_t failures = 0;
  WallTime answered_at{};
};

Names::Names(net::Loop& loop, Log& log, Rng rng, OnChange changed)
    : loop_(loop), log_(log), rng_(rng), changed_(std::move(changed)) {}

Names::~Names() = default;

void Names::configure(const config::Config& config) {
  std::vector<std::string> resolvers;
  for (const config::Address& each : config.node.dns.resolvers) resolvers.push_back(each.text());
  const bool others = resolvers != resolvers_;
  resolvers_ = std::move(resolvers);
  limits_ = {config.node.dns.min_ttl, config.node.dns.max_ttl};
  if (others && client_) client_->close();  // what is under way is asked again below
  std::map<Key, std::shared_ptr<Entry>> next;
  for (const auto& [name, group] : config.target_groups) {
    for (const config::Target& target : group.targets) {
      if (!target.by_name()) continue;
      const auto known = entries_.find({name, target.text()});
      std::shared_ptr<Entry>& entry = next[{name, target.text()}];
      entry =
          known != entries_.end() ? known->second : std::make_shared<Entry>(*this, name, target);
      entry->target = target;
    }
  }
  for (auto& [key, entry] : entries_) {
    if (next.contains(key)) continue;
    entry->gone = true;
    entry->again.cancel();
  }
  entries_ = std::move(next);
  std::erase_if(counts_,
                [&](const auto& each) { return !config.target_groups.contains(each.first); });
  const TimePoint now = loop_.clock().now();
  const TimePoint latest = now + next_look(std::chrono::seconds::max(), 0, limits_, 1);
  for (auto& [key, entry] : entries_) {
    if (others || (!entry->looking && !entry->again.is_set())) {
      entry->again.set(now);
    } else if (entry->again.is_set() && entry->again.due() > latest) {
      entry->again.set(latest);
    }
  }
}

void Names::start(const std::shared_ptr<Entry>& entry) {
  if (stopped_) return;
  if (tasks_.running() == 0) {
    renew_client();
  } else if (settings_changed()) {
    client_->close();  // what is under way is asked again
  }
  if (entry->looking || client_->closed()) {  // what asks other servers has yet to end
    entry->again.set(loop_.clock().now() + kAfterOthers);
    return;
  }
  entry->looking = true;
  tasks_.spawn(look(*this, entry));
}

/// When the host's settings were written; the same at all times while they do not count.
std::int64_t Names::settings_written() const {
  return resolvers_.empty() ? written(kHostSettings) : -1;
}

bool Names::settings_changed() const { return settings_written() != host_settings_; }

/// A client of its own for other resolvers, and when the host's settings have changed. Only while
/// nobody is asking.
void Names::renew_client() {
  if (client_ && !client_->closed() && !settings_changed()) return;
  host_settings_ = settings_written();
  client_ = std::make_unique<net::DnsClient>(loop_, resolvers_);
}

Task<> Names::look(Names& names, std::shared_ptr<Entry> entry) {
  Found found = co_await ask(names, entry);
  entry->looking = false;
  if (entry->gone || names.stopped_) co_return;
  if (found.fault == DnsFault::cancelled) {
    entry->again.set(names.loop_.clock().now());  // with a new client
  } else {
    names.take(*entry, std::move(found));
  }
}

Task<Names::Found> Names::ask(Names& names, std::shared_ptr<Entry> entry) {
  Found found;
  found.ttl = std::chrono::seconds::max();
  if (entry->target.srv.empty()) {
    found.services = {{entry->target.name, entry->target.port, 0, 1}};
  } else {
    net::DnsServices answer = co_await names.client_->services(entry->target.srv);
    found.services = usable_services(std::move(answer.found));
    found.fault = answer.fault;
    found.ttl = answer.ttl;
    const bool none = found.fault == DnsFault::none && found.services.empty();
    if (none) found.fault = DnsFault::no_records;
    if (found.fault != DnsFault::none) found.services = entry->services;
  }
  std::map<std::string, HostAnswer> answers;
  for (const net::DnsService& each : found.services) answers[each.host];
  TaskGroup asking;
  for (auto& [host, answer] : answers) {
    const auto before = entry->hosts.find(host);
    HostAddresses known = before == entry->hosts.end() ? HostAddresses{} : before->second;
    asking.spawn(ask_host(names, host, std::move(known), answer));
  }
  co_await asking.join();
  for (auto& [host, answer] : answers) {
    found.hosts[host] = std::move(answer.known);
    if (answer.fault == DnsFault::none) found.ttl = std::min(found.ttl, answer.ttl);
    if (answer.fault != DnsFault::none) found.fault = answer.fault;
  }
  co_return found;
}

Task<> Names::ask_host(Names& names, std::string host, HostAddresses before, HostAnswer& into) {
  net::DnsAddresses v4;
  net::DnsAddresses v6;
  TaskGroup asking;
  asking.spawn(ask_family(names, host, AF_INET, v4));
  asking.spawn(ask_family(names, host, AF_INET6, v6));
  co_await asking.join();
  into = merge_families(before, v4, v6);
}

Task<> Names::ask_family(Names& names, std::string host, int family, net::DnsAddresses& into) {
  into = co_await names.client_->addresses(std::move(host), family);
}

void Names::take(Entry& entry, Found found) {
  const auto fault = static_cast<std::size_t>(found.fault);
  ++counts_[entry.group][fault];
  entry.looked = true;
  std::vector<NameAddress> addresses = service_addresses(found.services, found.hosts);
  if (addresses.size() > kNameAddressesMax) addresses.resize(kNameAddressesMax);
  const std::vector<NameAddress> before = entry.addresses;
  // Services whose hosts are all unknown are no reason to have nobody.
  if (!addresses.empty() || found.fault == DnsFault::none) {
    entry.services = std::move(found.services);
    entry.hosts = std::move(found.hosts);
    entry.addresses = std::move(addresses);
  }
  const DnsFault fault_before = std::exchange(entry.fault, found.fault);
  const bool first_failure = found.fault != DnsFault::none && entry.failures == 0;
  const bool recovered = found.fault == DnsFault::none && fault_before != DnsFault::none;
  entry.failures = found.fault == DnsFault::none ? 0 : entry.failures + 1;
  if (found.fault == DnsFault::none) {
    entry.answered = true;
    entry.answered_at = loop_.clock().wall();
  }
  entry.again.set(loop_.clock().now() + next_look(found.ttl, entry.failures, limits_, rng_.unit()));
  if (first_failure) {
    log_.warning("a name cannot be looked up",
                 {{"target_group", entry.group},
                  {"name", entry.target.text()},
                  {"reason", std::string(dns_fault_name(entry.fault))},
                  {"addresses_kept", std::to_string(entry.addresses.size())}});
  }
  if (recovered) {
    log_.info("a name can be looked up again",
              {{"target_group", entry.group}, {"name", entry.target.text()}});
  }
  if (same(before, entry.addresses)) return;
  tell(entry, before);
  changed_();
}

void Names::tell(Entry& entry, const std::vector<NameAddress>& before) {
  const std::set<std::string> now = texts_of(entry.addresses);
  const std::set<std::string> then = texts_of(before);
  log_.info("a name has other addresses", {{"target_group", entry.group},
                                           {"name", entry.target.text()},
                                           {"added", missing(then, now)},
                                           {"removed", missing(now, then)}});
  if (now.size() == kNameAddressesMax) {
    log_.warning("a name has more addresses than are used",
                 {{"target_group", entry.group},
                  {"name", entry.target.text()},
                  {"used", std::to_string(kNameAddressesMax)}});
  }
}

std::map<std::string, std::vector<NamedTarget>> Names::targets() const {
  std::map<std::string, std::vector<NamedTarget>> targets;
  for (const auto& [key, entry] : entries_) {
    const bool weighted = !entry->target.srv.empty();
    for (const NameAddress& each : entry->addresses) {
      targets[entry->group].push_back(
          {.address = {each.address.ip(), each.address.port()},
           .zone = entry->target.zone,
           .weight = weighted ? each.weight : entry->target.weight,
           .name = entry->target.text(),
           .host = std::string(host_of(weighted ? entry->target.srv : entry->target.name))});
    }
  }
  return targets;
}

std::vector<NameRow> Names::rows() const {
  std::vector<NameRow> rows;
  const TimePoint now = loop_.clock().now();
  for (const auto& [key, entry] : entries_) {
    NameRow row;
    row.group = entry->group;
    row.name = entry->target.text();
    row.addresses = entry->addresses.size();
    row.answered = entry->answered;
    row.fault = entry->fault;
    row.failures = entry->failures;
    row.answered_at = entry->answered_at;
    if (entry->again.is_set()) row.again_in = std::max(entry->again.due() - now, Duration::zero());
    rows.push_back(std::move(row));
  }
  return rows;
}

bool Names::first_round_done() const noexcept {
  return std::all_of(entries_.begin(), entries_.end(),
                     [](const auto& each) { return each.second->looked; });
}

void Names::stop() {
  stopped_ = true;
  for (auto& [key, entry] : entries_) entry->again.cancel();
  if (client_) client_->close();
}

}  // namespace lbd::control
