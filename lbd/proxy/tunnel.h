// Bytes from one end of a tunnel to the other: of a WebSocket's after its 101, and of a connection
// at layer 4.
#pragma once

#include <cstddef>

#include "lbd/proxy/sides.h"

namespace lbd::proxy {

/// One direction. All of it outlives the pump.
struct Flow {
  TunnelEnd& from;
  TunnelEnd& to;
  /// Called for each piece that has come, before it goes on; 0 bytes: the end.
  void (*moved)(void* context, std::size_t bytes);
  void* context;
  /// Nobody wants the rest: what is under way ends without a word. May be null.
  const bool* over = nullptr;
};

/// Passes on each piece before it asks for the next, which is the back-pressure, and the end as a
/// half-close. `none` at the end, or when it is over; else the failure of the side that failed.
Task<Error> pump(Flow flow);

}  // namespace lbd::proxy
