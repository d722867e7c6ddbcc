// A plain connection whose first bytes decide between HTTP/1.1 and HTTP/2 with prior knowledge (RFC
// 9113 §3.3).
#pragma once

#include <memory>

#include "lbd/base/buffer.h"
#include "lbd/net/stream.h"
#include "lbd/proxy/session.h"
#include "lbd/proxy/sides.h"

namespace lbd::proxy {

/// Reads until it knows and then is what it found.
class PrefaceSession final : public Session {
 public:
  PrefaceSession(WorkerContext& worker, std::unique_ptr<net::Stream> stream, ClientInfo client,
                 std::shared_ptr<upstream::LiveListener> listener);
  ~PrefaceSession() override;
  PrefaceSession(const PrefaceSession&) = delete;
  PrefaceSession& operator=(const PrefaceSession&) = delete;

  Task<> run() override;
  void kill() noexcept override;

 private:
  void begin_drain() noexcept override;
  Task<bool> read_enough();
  static void expired(void* self);

  std::unique_ptr<net::Stream> stream_;
  ClientInfo client_;
  Buffer in_;
  Timer watchdog_;
  std::unique_ptr<Session> found_;
  bool killed_ = false;
};

}  // namespace lbd::proxy
