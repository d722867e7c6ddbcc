#include "lbd/control/certificates.h"

#include <fmt/format.h>

#include <utility>

namespace lbd::control {
namespace {

constexpr std::chrono::hours kTicketKeyLife{12};

}  // namespace

FileStamp stamp_of(const std::string& path) {
  struct stat found {};
  if (path.empty() || ::stat(path.c_str(), &found) != 0) return {};
  return {found.st_dev, found.st_ino, found.st_size,
          found.st_mtim.tv_sec * 1'000'000'000 + found.st_mtim.tv_nsec};
}

/// The same files as now: not read twice.
const Certificates::Loaded* Certificates::known(const std::string& name,
                                                const config::CertificateFiles& files) const {
  const auto listener = listeners_.find(name);
  if (listener == listeners_.end()) return nullptr;
  for (const Loaded& each : listener->second.certificates) {
    const bool same = each.files.chain == files.chain && each.files.key == files.key;
    if (same && each.chain == stamp_of(files.chain) && each.key == stamp_of(files.key)) {
      return each.current ? &each : nullptr;
    }
  }
  return nullptr;
}

Outcome<Certificates::Listener> Certificates::load(const config::Listener& configured) const {
  const std::string& name = configured.name;
  const config::ListenerTls& settings = *configured.tls;
  Listener listener;
  listener.settings = settings;
  listener.http2 = configured.http2.enabled;
  listener.trust = stamp_of(settings.client_certificates.trust);
  for (const config::CertificateFiles& files : settings.certificates) {
    if (const Loaded* same = known(name, files)) {
      listener.certificates.push_back(*same);
      continue;
    }
    Loaded loaded{files, stamp_of(files.chain), stamp_of(files.key), nullptr, true};
    const auto read = net::load_certificate(files.chain, files.key);
    if (!read) return failure(fmt::format("listener {}: {}", name, read.error().message));
    loaded.certificate = *read;
    listener.certificates.push_back(std::move(loaded));
  }
  if (const auto built = build(name, listener); !built) return built.error();
  return listener;
}

Outcome<void> Certificates::build(const std::string& name, Listener& listener) const {
  net::TlsServerSettings settings;
  settings.policy = listener.settings.policy == config::TlsPolicy::modern
                        ? net::TlsPolicy::modern
                        : net::TlsPolicy::intermediate;
  if (listener.http2) settings.alpn.insert(settings.alpn.begin(), "h2");
  for (const Loaded& each : listener.certificates) {
    settings.certificates.push_back(each.certificate);
  }
  const config::ClientCertificates& clients = listener.settings.client_certificates;
  settings.client_certificates = static_cast<net::ClientCertificates>(clients.verify);
  settings.client_trust_file = clients.trust;
  // Who was let in under other rules has to show itself again.
  settings.session_context = fmt::format("{} {} {} {}", name, static_cast<int>(clients.verify),
                                         clients.trust, listener.trust.changed_ns);
  if (listener.settings.session_tickets) settings.tickets = tickets_;
  auto made = net::make_tls_server(std::move(settings));
  if (!made) return failure(fmt::format("listener {}: {}", name, made.error().message));
  listener.server = *made;
  return {};
}

Outcome<void> Certificates::prepare(const config::Config& config) {
  prepared_.clear();
  for (const auto& [name, listener] : config.listeners) {
    if (!listener.tls) continue;
    auto loaded = load(listener);
    if (!loaded) {
      rollback();
      return loaded.error();
    }
    prepared_.emplace(name, std::move(*loaded));
  }
  return {};
}

void Certificates::commit() { listeners_ = std::exchange(prepared_, {}); }

std::shared_ptr<const net::TlsServer> Certificates::find(const std::string& listener) const {
  const auto found = listeners_.find(listener);
  return found == listeners_.end() ? nullptr : found->second.server;
}

bool Certificates::sweep() {
  bool changed = false;
  for (auto& [name, listener] : listeners_) changed = reload_changed(name, listener) || changed;
  return changed;
}

bool Certificates::reload_changed(const std::string& name, Listener& listener) {
  bool changed = false;
  for (Loaded& each : listener.certificates) {
    const FileStamp chain = stamp_of(each.files.chain);
    const FileStamp key = stamp_of(each.files.key);
    if (chain == each.chain && key == each.key) continue;
    each.chain = chain;
    each.key = key;
    const auto read = net::load_certificate(each.files.chain, each.files.key);
    each.current = read.has_value();
    if (!read) {
      log_.error("certificate not read again; the one before stays",
                 {{"listener", name}, {"reason", read.error().message}});
      continue;
    }
    each.certificate = *read;
    changed = true;
    log_.info("certificate read again", {{"listener", name}, {"file", each.files.chain}});
  }
  const FileStamp trust = stamp_of(listener.settings.client_certificates.trust);
  if (!changed && trust == listener.trust) return false;
  listener.trust = trust;
  if (const auto built = build(name, listener); !built) {
    log_.error("certificates not used; those before stay", {{"reason", built.error().message}});
    return false;
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
      rows.push_back({name, names.empty() ? "" : names.front(), each.files.chain,
                      each.certificate->not_after(), each.current});
    }
  }
  return rows;
}

}  // namespace lbd::control
