#include "lbd/control/certificates.h"

#include <fmt/format.h>

#include <utility>

namespace lbd::control {
namespace {

constexpr std::chrono::hours kTicketKeyLife{12};

std::string trust_file_of(const config::UpstreamTls& settings) {
  if (!settings.verify) return {};
  return settings.trust.empty() ? net::system_trust_file() : settings.trust;
}

}  // namespace

FileStamp stamp_of(const std::string& path) {
  struct stat found {};
  if (path.empty() || ::stat(path.c_str(), &found) != 0) return {};
  return {found.st_dev, found.st_ino, found.st_size,
          found.st_mtim.tv_sec * 1'000'000'000 + found.st_mtim.tv_nsec};
}

/// What has been read before and is still the same is not read twice.
Outcome<Certificates::Loaded> Certificates::load(const config::CertificateFiles& files,
                                                 const std::vector<Loaded>& before) {
  Loaded loaded{files, stamp_of(files.chain), stamp_of(files.key), nullptr, true};
  for (const Loaded& each : before) {
    const bool same = each.files.chain == files.chain && each.files.key == files.key;
    if (!same || each.chain != loaded.chain || each.key != loaded.key) continue;
    if (each.current) return each;
  }
  const auto read = net::load_certificate(files.chain, files.key);
  if (!read) return read.error();
  loaded.certificate = *read;
  return loaded;
}

Outcome<Certificates::Listener> Certificates::load(const config::Listener& configured) const {
  const std::string& name = configured.name;
  const auto before = listeners_.find(name);
  Listener listener;
  listener.settings = *configured.tls;
  listener.http = !config::is_layer4(configured);
  listener.http2 = listener.http && configured.http2.enabled;
  listener.trust = stamp_of(listener.settings.client_certificates.trust);
  for (const config::CertificateFiles& files : listener.settings.certificates) {
    auto loaded = load(
        files, before == listeners_.end() ? std::vector<Loaded>{} : before->second.certificates);
    if (!loaded) return failure(fmt::format("listener {}: {}", name, loaded.error().message));
    listener.certificates.push_back(std::move(*loaded));
  }
  if (const auto built = build(name, listener); !built) return built.error();
  return listener;
}

/// What nothing has changed about stays as it is: connections and sessions go by it.
Outcome<Certificates::Group> Certificates::load(const config::TargetGroup& configured) const {
  const std::string& name = configured.name;
  const auto before = groups_.find(name);
  const Group known = before == groups_.end() ? Group{} : before->second;
  Group group;
  group.settings = configured.tls;
  group.http2 = configured.http_version == config::HttpVersion::http_2;
  group.trust_file = trust_file_of(group.settings);
  group.trust = stamp_of(group.trust_file);
  bool same = known.client != nullptr && known.current &&
              known.settings.verify == group.settings.verify && known.http2 == group.http2 &&
              known.settings.server_name == group.settings.server_name &&
              known.trust_file == group.trust_file && known.trust == group.trust;
  if (const auto& files = group.settings.certificate) {
    auto loaded = load(*files, known.certificates);
    if (!loaded) return failure(fmt::format("target group {}: {}", name, loaded.error().message));
    group.certificates.push_back(std::move(*loaded));
  }
  same = same && known.certificates.size() == group.certificates.size();
  for (std::size_t i = 0; same && i < group.certificates.size(); ++i) {
    same = known.certificates[i].certificate == group.certificates[i].certificate;
  }
  if (same) {
    group.client = known.client;
  } else if (const auto built = build(name, group); !built) {
    return built.error();
  }
  return group;
}

Outcome<void> Certificates::build(const std::string& name, Listener& listener) const {
  net::TlsServerSettings settings;
  settings.policy = listener.settings.policy == config::TlsPolicy::modern
                        ? net::TlsPolicy::modern
                        : net::TlsPolicy::intermediate;
  if (!listener.http) settings.alpn.clear();  // what clients speak is not known
  if (listener.http2) settings.alpn.insert(settings.alpn.begin(), "h2");
  for (const Loaded& each : listener.certificates) {
    settings.certificates.push_back(each.certificate);
  }
  const config::ClientCertificates& clients = listener.settings.client_certificates;
  settings.client_certificates = static_cast<net::ClientCertificates>(clients.verify);
  settings.client_trust_file = clients.trust;
  settings.describes_clients = clients.headers;
  // Who was let in under other rules has to show itself again.
  settings.session_context = fmt::format("{} {} {} {}", name, static_cast<int>(clients.verify),
                                         clients.trust, listener.trust.changed_ns);
  if (listener.settings.session_tickets) settings.tickets = tickets_;
  auto made = net::make_tls_server(std::move(settings));
  if (!made) return failure(fmt::format("listener {}: {}", name, made.error().message));
  listener.server = *made;
  return {};
}

Outcome<void> Certificates::build(const std::string& name, Group& group) {
  net::TlsClientSettings settings;
  settings.verify = group.settings.verify;
  settings.trust_file = group.trust_file;
  settings.server_name = group.settings.server_name;
  if (group.http2) settings.alpn = "h2";
  if (!group.certificates.empty()) settings.certificate = group.certificates.front().certificate;
  auto made = net::make_tls_client(std::move(settings));
  if (!made) return failure(fmt::format("target group {}: {}", name, made.error().message));
  group.client = *made;
  return {};
}

Outcome<void> Certificates::prepare(const config::Config& config) {
  rollback();
  auto prepared = prepare_all(config);
  if (!prepared) rollback();
  return prepared;
}

Outcome<void> Certificates::prepare_all(const config::Config& config) {
  for (const auto& [name, listener] : config.listeners) {
    if (!listener.tls) continue;
    auto loaded = load(listener);
    if (!loaded) return loaded.error();
    prepared_.emplace(name, std::move(*loaded));
  }
  for (const auto& [name, group] : config.target_groups) {
    if (!config::uses_tls(group)) continue;
    auto loaded = load(group);
    if (!loaded) return loaded.error();
    prepared_groups_.emplace(name, std::move(*loaded));
  }
  return {};
}

void Certificates::commit() {
  listeners_ = std::exchange(prepared_, {});
  groups_ = std::exchange(prepared_groups_, {});
}

void Certificates::rollback() {
  prepared_.clear();
  prepared_groups_.clear();
}

std::shared_ptr<const net::TlsServer> Certificates::find(const std::string& listener) const {
  const auto found = listeners_.find(listener);
  return found == listeners_.end() ? nullptr : found->second.server;
}

std::shared_ptr<const net::TlsClient> Certificates::find_client(const std::string& group) const {
  const auto found = groups_.find(group);
  return found == groups_.end() ? nullptr : found->second.client;
}

bool Certificates::sweep() {
  bool changed = false;
  for (auto& [name, listener] : listeners_) changed = reload_changed(name, listener) || changed;
  for (auto& [name, group] : groups_) changed = reload_changed(name, group) || changed;
  return changed;
}

/// True when one of them is another now.
bool Certificates::reread(const LogField& owner, std::vector<Loaded>& certificates) {
  bool changed = false;
  for (Loaded& each : certificates) {
    const FileStamp chain = stamp_of(each.files.chain);
    const FileStamp key = stamp_of(each.files.key);
    if (chain == each.chain && key == each.key) continue;
    each.chain = chain;
    each.key = key;
    const auto read = net::load_certificate(each.files.chain, each.files.key);
    each.current = read.has_value();
    if (!read) {
      log_.error("certificate not read again; the one before stays",
                 {owner, {"reason", read.error().message}});
      continue;
    }
    each.certificate = *read;
    changed = true;
    log_.info("certificate read again", {owner, {"file", each.files.chain}});
  }
  return changed;
}

bool Certificates::reload_changed(const std::string& name, Listener& listener) {
  const bool changed = reread({"listener", name}, listener.certificates);
  const FileStamp trust = stamp_of(listener.settings.client_certificates.trust);
  if (!changed && trust == listener.trust) return false;
  listener.trust = trust;
  if (const auto built = build(name, listener); !built) {
    log_.error("certificates not used; those before stay", {{"reason", built.error().message}});
    return false;
  }
  return true;
}

bool Certificates::reload_changed(const std::string& name, Group& group) {
  const bool changed = reread({"target_group", name}, group.certificates);
  const FileStamp trust = stamp_of(group.trust_file);
  if (!changed && trust == group.trust) return false;
  const bool trusted_otherwise = trust != group.trust;
  group.trust = trust;
  const auto built = build(name, group);
  group.current = built.has_value();
  if (!built) {
    log_.error("certificates not used; those before stay", {{"reason", built.error().message}});
    return false;
  }
  if (trusted_otherwise) {
    log_.info("authorities read again", {{"target_group", name}, {"file", group.trust_file}});
  }
  return true;
}

void Certificates::rotate_tickets(TimePoint now) {
  if (rotated_ == TimePoint{}) rotated_ = now;
  if (now - rotated_ < kTicketKeyLife) return;
  rotated_ = now;
  tickets_->rotate();
}

std::vector<CertificateRow> Certificates::rows() const {
  std::vector<CertificateRow> rows;
  for (const auto& [name, listener] : listeners_) {
    for (const Loaded& each : listener.certificates) {
      const std::vector<std::string>& names = each.certificate->names();
      rows.push_back({name, "", names.empty() ? "" : names.front(), each.files.chain,
                      each.certificate->not_after(), each.current});
    }
  }
  for (const auto& [name, group] : groups_) {
    for (const Loaded& each : group.certificates) {
      const std::vector<std::string>& names = each.certificate->names();
      rows.push_back({"", name, names.empty() ? "" : names.front(), each.files.chain,
                      each.certificate->not_after(), each.current});
    }
  }
  return rows;
}

}  // namespace lbd::control
