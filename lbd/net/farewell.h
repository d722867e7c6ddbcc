// The end of a connection that nobody waits for any more.
#pragma once

#include <vector>

#include "lbd/net/loop_core.h"

namespace lbd::net {

/// Sends the last bytes of a connection that is closed while its socket has no room: without the
/// close_notify among them the peer must take what it has for cut off. Closes the descriptor. The
/// loop owns it (LoopCore::see_off).
class Farewell final : public Watch {
 public:
  Farewell(LoopCore& core, int fd, std::vector<char> bytes);
  ~Farewell() override;
  Farewell(const Farewell&) = delete;
  Farewell& operator=(const Farewell&) = delete;

  void ready(std::uint32_t events) override;
  void resume_deferred() override;

 private:
  LoopCore& core_;
  int fd_;
  std::vector<char> bytes_;
  std::size_t sent_ = 0;
  Timer timer_;
};

}  // namespace lbd::net
