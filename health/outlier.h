// Passive health: ejects a target whose requests fail in a row (Envoy's
// consecutive ejection). Pure but for its own memory; time comes in.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "lbd/base/clock.h"

namespace lbd::health {

/// What the data plane counted for one target so far. A streak is the longest current run of
/// failures over the workers.
struct OutlierSample {
  std::string target;                  // address
  std::uint64_t connect_failures = 0;  // in all
  std::uint64_t connect_streak = 0;
  std::uint64_t errors = 0;  // 5xx and broken responses, in all
  std::uint64_t error_streak = 0;
  bool usable = true;  // would get requests were it not for an ejection
};

enum class EjectionCause : std::uint8_t { connect_errors, failed_responses };
/// By EjectionCause.
inline constexpr std::array<std::string_view, 2> kEjectionCauses{"connect_errors",
                                                                 "failed_responses"};

struct OutlierChange {
  std::string target;
  bool ejected = false;
  EjectionCause cause{};  // of an ejection
  std::string reason;     // "3 connect errors in a row"
  Duration duration{};
};

/// One per target group. Thread: the control loop.
class Outliers {
 public:
  /// Looks at all targets of the group; returns what changed. At most `ejected_share_max` of the
  /// group is ejected, but one always may be, and never the last usable target.
  std::vector<OutlierChange> observe(const config::Passive& settings, TimePoint now,
                                     std::span<const OutlierSample> samples);
  [[nodiscard]] bool any_ejected() const;
  [[nodiscard]] bool is_ejected(const std::string& target) const;
  /// A passing active check ends an ejection early.
  void readmit(const std::string& target);

 private:
  struct Memory {
    bool ejected = false;
    TimePoint until{};
    TimePoint clean_since{};
    std::uint32_t ejections = 0;     // in a row; each healthy `ejection` period takes one off
    std::uint64_t connect_base = 0;  // totals when it was readmitted: older failures are forgiven
    std::uint64_t error_base = 0;
  };
  bool forgive(const config::Passive& settings, TimePoint now, const OutlierSample& sample);
  void eject(const config::Passive& settings, TimePoint now, std::span<const OutlierSample> samples,
             std::vector<OutlierChange>& changes);
  /// Why the target is to be ejected; `reason` empty: it is not.
  [[nodiscard]] static OutlierChange fault_of(const config::Passive& settings, const Memory& memory,
                                              const OutlierSample& sample);

  std::map<std::string, Memory> memory_;
};

}  // namespace lbd::health
