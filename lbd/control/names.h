// Targets by name: looks the names up, again and again, and says what they stand for now.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "lbd/base/log.h"
#include "lbd/base/rng.h"
#include "lbd/control/name_answers.h"
#include "lbd/control/targets.h"

namespace lbd::control {

/// How the look-ups of one name go.
struct NameRow {
  std::string group;
  std::string name;
  std::size_t addresses = 0;
  bool answered = false;                      // at least once
  net::DnsFault fault = net::DnsFault::none;  // of the last look-up
  std::uint32_t failures = 0;                 // in a row
  WallTime answered_at{};                     // the last good answer
  Duration again_in{};                        // until the next look-up
};

/// Thread: the control loop. Lifetime: `stop` must have run and its look-ups ended (`running` is 0)
/// before it is destroyed.
class Names {
 public:
  /// `changed` is called when names stand for other addresses, never inside `configure`.
  using OnChange = std::function<void()>;
  Names(net::Loop& loop, Log& log, Rng rng, OnChange changed);
  ~Names();
  Names(const Names&) = delete;
  Names& operator=(const Names&) = delete;

  /// Looks up exactly the names of this configuration from now on. Those that stay keep their
  /// answers and their turn, unless the resolvers are others.
  void configure(const config::Config& config);
  /// By target group.
  [[nodiscard]] std::map<std::string, std::vector<NamedTarget>> targets() const;

  [[nodiscard]] std::vector<NameRow> rows() const;
  /// Look-ups of a group's names by how they ended, since it is there.
  using Counts = std::array<std::uint64_t, static_cast<std::size_t>(net::DnsFault::kCount)>;
  [[nodiscard]] const std::map<std::string, Counts>& counts() const noexcept { return counts_; }
  /// Every name was looked up at least once, well or not.
  [[nodiscard]] bool first_round_done() const noexcept;
  /// No further look-up, and those under way end soon.
  void stop();
  [[nodiscard]] std::size_t running() const noexcept { return tasks_.running(); }

 private:
  struct Entry;
  struct Found;
  using Key = std::pair<std::string, std::string>;  // group, config::Target::text

  static Task<> look(Names& names, std::shared_ptr<Entry> entry);
  static Task<Found> ask(Names& names, std::shared_ptr<Entry> entry);
  static Task<> ask_host(Names& names, std::string host, HostAddresses before, HostAnswer& into);
  static Task<> ask_family(Names& names, std::string host, int family, net::DnsAddresses& into);
  void start(const std::shared_ptr<Entry>& entry);
  void take(Entry& entry, Found found);
  void tell(Entry& entry, const std::vector<NameAddress>& before);
  [[nodiscard]] std::int64_t settings_written() const;
  [[nodiscard]] bool settings_changed() const;
  void renew_client();

  net::Loop& loop_;
  Log& log_;
  Rng rng_;
  OnChange changed_;
  std::vector<std::string> resolvers_;
  TtlLimits limits_{};
  std::unique_ptr<net::DnsClient> client_;
  std::int64_t host_settings_ = 0;  // when resolv.conf was last written, as the client knows it
  std::map<Key, std::shared_ptr<Entry>> entries_;
  std::map<std::string, Counts> counts_;
  TaskGroup tasks_;
  bool stopped_ = false;
};

}  // namespace lbd::control
