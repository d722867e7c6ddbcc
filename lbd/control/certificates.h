// The certificates of listeners and target groups: read from their files, and again when those
// change.
#pragma once

#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "lbd/base/clock.h"
#include "lbd/base/log.h"
#include "lbd/base/result.h"
#include "lbd/net/tls.h"

namespace lbd::control {

/// What tells one version of a file from another; all zero when it is not there.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t bytes = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const FileStamp&) const = default;
};
[[nodiscard]] FileStamp stamp_of(const std::string& path);

struct CertificateRow {
  std::string listener;  // one of these two is empty
  std::string target_group;
  std::string name;  // the first it is good for
  std::string chain_file;
  WallTime not_after{};
  bool current = true;  // false: its files have changed since, and what is there now is no use
};

/// Thread: the control loop. Blocks on the disk.
class Certificates {
 public:
  explicit Certificates(Log& log) : log_(log) {}
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  /// Reads what a configuration needs and has not been read yet. On failure nothing has changed;
  /// the sentence names file and listener or target group.
  Outcome<void> prepare(const config::Config& config);
  /// Makes the prepared configuration's the current ones.
  void commit();
  void rollback();

  /// Null for a listener without TLS.
  [[nodiscard]] std::shared_ptr<const net::TlsServer> find(const std::string& listener) const;
  /// Null for a group that does not use TLS. The same one, sessions included, until its settings or
  /// files change.
  [[nodiscard]] std::shared_ptr<const net::TlsClient> find_client(const std::string& group) const;
  /// Reads again what has changed on disk; true when a listener or group goes by something else
  /// now. What is no use is told once, and the old stays.
  bool sweep();
  /// New ticket keys, when it is time.
  void rotate_tickets(TimePoint now);
  [[nodiscard]] std::vector<CertificateRow> rows() const;

 private:
  struct Loaded {
    config::CertificateFiles files;
    FileStamp chain;
    FileStamp key;
    std::shared_ptr<const net::TlsCertificate> certificate;
    bool current = true;
  };
  struct Listener {
    config::ListenerTls settings;
    bool http = true;  // is what TLS carries
    bool http2 = true;
    std::vector<Loaded> certificates;
    FileStamp trust;
    std::shared_ptr<const net::TlsServer> server;
  };
  struct Group {
    config::UpstreamTls settings;
    std::vector<Loaded> certificates;  // one at most
    std::string trust_file;            // the system's too; empty: no verification
    bool http2 = false;
    FileStamp trust;
    bool current = true;  // false: what is on disk now is no use
    std::shared_ptr<const net::TlsClient> client;
  };
  template <class T>
  using ByName = std::map<std::string, T>;

  Outcome<void> prepare_all(const config::Config& config);
  [[nodiscard]] static Outcome<Loaded> load(const config::CertificateFiles& files,
                                            const std::vector<Loaded>& before);
  [[nodiscard]] Outcome<Listener> load(const config::Listener& configured) const;
  [[nodiscard]] Outcome<Group> load(const config::TargetGroup& configured) const;
  Outcome<void> build(const std::string& name, Listener& listener) const;
  static Outcome<void> build(const std::string& name, Group& group);
  bool reread(const LogField& owner, std::vector<Loaded>& certificates);
  bool reload_changed(const std::string& name, Listener& listener);
  bool reload_changed(const std::string& name, Group& group);

  Log& log_;
  std::shared_ptr<net::TlsTicketKeys> tickets_ = std::make_shared<net::TlsTicketKeys>();
  TimePoint rotated_{};
  ByName<Listener> listeners_;
  ByName<Group> groups_;
  ByName<Listener> prepared_;
  ByName<Group> prepared_groups_;
};

}  // namespace lbd::control
