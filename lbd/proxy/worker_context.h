// What a worker lends to its sessions and exchanges. One per worker thread; nothing in it is
// shared.
#pragma once

#include <array>
#include <boost/smart_ptr/local_shared_ptr.hpp>
#include <boost/smart_ptr/make_local_shared.hpp>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lbd/balance/zones.h"
#include "lbd/base/buffer.h"
#include "lbd/base/rng.h"
#include "lbd/base/task.h"
#include "lbd/http/encoder.h"
#include "lbd/net/loop.h"
#include "lbd/proxy/record.h"
#include "lbd/upstream/connection.h"
#include "lbd/upstream/h2_connections.h"
#include "lbd/upstream/snapshot.h"

namespace lbd::proxy {

class MirrorCopy;
class UpstreamSide;
class Session;
struct ExchangeState;

/// A worker's own state for one target group: where its turns stand, how it spreads over zones.
struct GroupTurns {
  std::vector<std::uint64_t> round_robin;  // per zone
  std::vector<double> shares;              // per zone, sum 1
  std::vector<balance::ZoneLoad> loads;    // per zone, what the shares were made of
  double own_share = 1;                    // of the node's zone, see balance/zones.h
  TimePoint shares_until{};
  const upstream::SnapshotGroup* shares_of = nullptr;
};

/// A snapshot as one worker holds it: counted without atomics, so that requests on different
/// workers never touch one cache line.
struct Pinned {
  std::shared_ptr<const upstream::Snapshot> snapshot;
  std::vector<boost::local_shared_ptr<GroupTurns>> turns;  // per group
};

/// A worker's copies of requests for other groups (mirror.h).
struct Mirrors {
  std::size_t copies = 0;
  std::size_t bytes = 0;       // of all of them
  MirrorCopy* sent = nullptr;  // list head
};

/// What is on its way to a connection that is to end has come by then.
inline constexpr std::chrono::milliseconds kLastLook{100};

struct WorkerContext {
  WorkerContext(std::size_t worker_index, net::Loop& worker_loop, std::uint64_t seed);
  ~WorkerContext();

  std::size_t index;
  net::Loop& loop;
  Clock& clock;
  Rng rng;
  BufferPool buffers;
  TaskGroup tasks;
  upstream::IdleConnections idle;
  upstream::H2Connections http2;
  boost::local_shared_ptr<Pinned> pinned;
  std::unordered_map<const upstream::LiveGroup*, boost::local_shared_ptr<GroupTurns>> turns;
  RecordSink* records = nullptr;  // access log; may be null
  RecordSink* notable = nullptr;  // those that `is_notable` names; may be null
  std::uint64_t slow_us = UINT64_MAX;
  bool draining = false;        // the process is stopping: answer with Connection: close
  Duration drain_grace{};       // how long after its last response a client may send one more
  Session* sessions = nullptr;  // list head
  std::size_t session_count = 0;
  Mirrors mirrors;

  /// Now, for a Date field. Holds until the next call.
  [[nodiscard]] std::string_view date() noexcept;

  void write(const RequestRecord& record, bool is_notable) noexcept {
    if (records != nullptr) records->write(record);
    if (is_notable && notable != nullptr) notable->write(record);
  }

  std::unique_ptr<UpstreamSide> take_upstream(config::HttpVersion version);
  void give_back(std::unique_ptr<UpstreamSide> upstream, config::HttpVersion version) noexcept;
  /// Null: as many as may be are in use, or no memory is left.
  std::unique_ptr<http::Encoder> take_encoder(http::Coding coding, http::Effort effort);
  void give_back(std::unique_ptr<http::Encoder> encoder) noexcept;
  std::unique_ptr<ExchangeState> take_state();
  void give_back(std::unique_ptr<ExchangeState> state) noexcept;
  /// Room for the fields of a head.
  std::vector<http::Header> take_fields() noexcept;
  void give_back(std::vector<http::Header> fields) noexcept;

 private:
  std::array<char, 29> date_{};
  std::int64_t date_second_ = -1;
  std::array<std::vector<std::unique_ptr<UpstreamSide>>, 2> free_upstreams_;  // by version
  std::vector<std::unique_ptr<ExchangeState>> free_states_;
  std::vector<std::vector<http::Header>> free_fields_;
  std::vector<std::unique_ptr<http::Encoder>> free_encoders_;
  std::size_t encoders_ = 0;  // in use
};

}  // namespace lbd::proxy
