// Which target gets the request: zone first, then the group's algorithm within it.
#pragma once

#include <array>
#include <cstdint>

#include "lbd/proxy/worker_context.h"
#include "lbd/upstream/snapshot.h"

namespace lbd::proxy {

struct Choice {
  const upstream::SnapshotTarget* target = nullptr;
  Fault why_not = Fault::none;  // with no target: no_healthy_target or queue_full
  bool cross_zone = false;
};

/// Targets an exchange has failed at already.
struct Tried {
  std::array<const upstream::LiveTarget*, 8> targets{};
  std::uint32_t count = 0;
  static constexpr std::uint32_t kZonesKnown = 64;
  std::uint64_t zones = 0;  // bit per zone, of the first kZonesKnown
  void add(const upstream::LiveTarget* target, std::uint32_t zone) noexcept {
    if (count < targets.size()) targets[count++] = target;
    if (zone < kZonesKnown) zones |= std::uint64_t{1} << zone;
  }
  [[nodiscard]] bool has(const upstream::LiveTarget* target) const noexcept {
    for (std::uint32_t i = 0; i < count; ++i) {
      if (targets[i] == target) return true;
    }
    return false;
  }
};

/// What has become of the target that a client is to be kept with.
enum class Kept : std::uint8_t { serves, full, gone };
/// `index`: into the group's targets. One of weight 0 serves those it has.
[[nodiscard]] Kept look_at_kept(const upstream::SnapshotGroup& group, std::uint32_t index,
                                const Tried& tried) noexcept;

/// Never a closed (draining) target; a tried one only when no other is left. No allocation.
[[nodiscard]] Choice pick_target(WorkerContext& worker, const upstream::SnapshotGroup& group,
                                 GroupTurns& turns, const Tried& tried);

}  // namespace lbd::proxy
