// Reads the PROXY protocol's header off an accepted connection, and not a byte more: TLS or HTTP
// begins right after it.
#pragma once

#include "lbd/base/event.h"
#include "lbd/base/task.h"
#include "lbd/net/loop.h"
#include "lbd/net/loop_core.h"
#include "lbd/net/opening.h"
#include "lbd/net/proxy_protocol.h"

namespace lbd::net {

/// Thread: the loop's. Lifetime: outlives its `run`.
class ProxyAccept final : public Opening, private Watch {
 public:
  /// Takes over a connected, non-blocking descriptor.
  ProxyAccept(Loop& loop, int fd);
  ~ProxyAccept() override;

  /// Once. The descriptor is the caller's to `release` when it ends well, and closed otherwise.
  [[nodiscard]] Task<Result<std::optional<ProxyEndpoints>, ProxyFault>> run(TimePoint deadline);
  void cancel() noexcept override;
  [[nodiscard]] int release() noexcept;

 private:
  void ready(std::uint32_t events) override;
  void resume_deferred() override;
  /// True when there is nothing more to wait for.
  bool read_some();

  LoopCore& core_;
  int fd_;
  ProxyHeaderReader header_;
  Event more_;
  ProxyFault fault_ = ProxyFault::none;
  bool cancelled_ = false;
};

}  // namespace lbd::net
