#include "lbd/control/check_files.h"

#include <fmt/format.h>

#include "lbd/net/tls.h"

namespace lbd::control {
namespace {

class FileCheck {
 public:
  explicit FileCheck(std::string owner) : owner_(std::move(owner)) {}

  void pair(const config::CertificateFiles& files) {
    const auto read = net::load_certificate(files.chain, files.key);
    if (!read) add(files.origin, read.error().message);
  }
  void trust(const std::string& path, const config::Origin& origin) {
    if (const auto read = net::read_trust_file(path); !read) add(origin, read.error().message);
  }
  void add(const config::Origin& origin, const std::string& message) {
    problems_.push_back(config::problem_at({origin.file, origin.line, origin.column}, "E3042",
                                           fmt::format("{}: {}", owner_, message)));
  }
  void move_to(std::vector<config::Problem>& all) {
    for (config::Problem& each : problems_) all.push_back(std::move(each));
  }

 private:
  std::string owner_;
  std::vector<config::Problem> problems_;
};

}  // namespace

std::vector<config::Problem> check_files(const config::Config& config) {
  std::vector<config::Problem> problems;
  for (const auto& [name, listener] : config.listeners) {
    if (!listener.tls) continue;
    FileCheck check("listener " + name);
    for (const config::CertificateFiles& files : listener.tls->certificates) check.pair(files);
    const std::string& trust = listener.tls->client_certificates.trust;
    if (!trust.empty()) check.trust(trust, listener.origin);
    check.move_to(problems);
  }
  for (const auto& [name, group] : config.target_groups) {
    if (!config::uses_tls(group)) continue;
    FileCheck check("target group " + name);
    if (group.tls.certificate) check.pair(*group.tls.certificate);
    const std::string trust = group.tls.trust.empty() ? net::system_trust_file() : group.tls.trust;
    if (group.tls.verify && trust.empty()) {
      check.add(group.origin, "this machine has no file of authorities: give 'tls.trust'");
    } else if (group.tls.verify) {
      check.trust(trust, group.origin);
    }
    check.move_to(problems);
  }
  return problems;
}

}  // namespace lbd::control
