#include "scaler/plan.h"

#include <fmt/format.h>

namespace lbd::scaler {
namespace {

/// FNV-1a, finished by splitmix64's mixer.
std::uint64_t hash(std::string_view text, std::uint64_t seed) {
  std::uint64_t value = 0xcbf29ce484222325ULL ^ seed;
  for (const char c : text) {
    value ^= static_cast<unsigned char>(c);
    value *= 0x100000001b3ULL;
  }
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

}  // namespace

std::string_view intent_kind_name(IntentKind kind) {
  switch (kind) {
    case IntentKind::launch:
      return "launch";
    case IntentKind::drain:
      return "drain";
    case IntentKind::terminate:
      return "terminate";
  }
  return "?";
}

std::string_view intent_state_name(IntentState state) {
  switch (state) {
    case IntentState::intended:
      return "intended";
    case IntentState::sent:
      return "sent";
    case IntentState::acked:
      return "acked";
    case IntentState::failed:
      return "failed";
    case IntentState::abandoned:
      return "abandoned";
    case IntentState::ended:
      return "ended";
  }
  return "?";
}

std::string Intent::key() const {
  return fmt::format("{}:{}", intent_kind_name(kind),
                     kind == IntentKind::launch ? token : instance);
}

std::string client_token(const LaunchIdentity& identity) {
  const std::string text = fmt::format("{}\n{}\n{}\n{}\n{}", identity.store, identity.group,
                                       identity.decision, identity.zone, identity.attempt);
  return fmt::format("lbd-{:016x}{:016x}", hash(text, 0), hash(text, 0x9e3779b97f4a7c15ULL));
}

}  // namespace lbd::scaler
