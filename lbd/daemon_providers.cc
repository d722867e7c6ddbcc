#include "lbd/daemon_providers.h"

#include "scaler/process/process_provider.h"

namespace lbd {

Providers::Providers(net::Loop& loop, Log& log, Rng rng, std::string state_dir)
    : loop_(loop), log_(log), rng_(rng), state_dir_(std::move(state_dir)) {}

Providers::~Providers() = default;

std::unique_ptr<scaler::Provider> Providers::make(const config::ScalingGroup& group) {
  if (const auto* process = std::get_if<config::ProcessProvider>(&group.provider)) {
    return std::make_unique<scaler::ProcessProvider>(
        scaler::ProcessProviderParts{
            .clock = loop_.clock(), .log = log_, .state_dir = state_dir_, .group = group.name},
        *process);
  }
  return nullptr;
}

void Providers::find_zone(control::Plane&, const config::Node&) {}

}  // namespace lbd
