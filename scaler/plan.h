// What we are about to make the provider do, written down before it is asked, so that a crash at
// any moment neither forgets an instance nor launches one twice.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lbd/base/clock.h"

namespace lbd::scaler {

enum class IntentKind : std::uint8_t { launch, drain, terminate };
enum class IntentState : std::uint8_t {
  intended,   // written; the call may have been made
  sent,       // answered with "it may have happened"
  acked,      // done
  failed,     // definitely did not happen
  abandoned,  // given up: taken back, or no longer of use
  ended,      // launch: its instance is gone
};
[[nodiscard]] std::string_view intent_kind_name(IntentKind kind);
[[nodiscard]] std::string_view intent_state_name(IntentState state);

/// One launch, or the drain or termination of one instance.
struct Intent {
  IntentKind kind = IntentKind::launch;
  IntentState state = IntentState::intended;
  std::string group;
  std::string token;     // launch: the provider's client token
  std::string zone;      // launch
  std::string instance;  // drain, terminate; launch once acked
  std::uint64_t decision = 0;
  WallTime created{};
  WallTime updated{};
  std::string outcome;

  /// Unique per intent: "launch:<token>", "drain:<instance>", "terminate:<instance>".
  [[nodiscard]] std::string key() const;
  /// What it asked for is not settled yet.
  [[nodiscard]] bool open() const noexcept {
    return state == IntentState::intended || state == IntentState::sent;
  }
  /// A restart must know of it: not settled, or a launch whose instance should be there.
  [[nodiscard]] bool live() const noexcept {
    return open() || (kind == IntentKind::launch && state == IntentState::acked);
  }
};

/// What makes one launch attempt itself.
struct LaunchIdentity {
  std::string_view store;  // the store's own random identity: a new store never repeats a token
  std::string_view group;
  std::uint64_t decision = 0;
  std::string_view zone;
  std::uint32_t attempt = 0;
};

/// 36 ASCII characters, the same for the same identity (two 64-bit hashes).
[[nodiscard]] std::string client_token(const LaunchIdentity& identity);

}  // namespace lbd::scaler
