// A copy of a request for another target group, sent beside it. Whatever becomes of the copy, the
// client's request never waits for it and never fails by it (docs/adr/0014).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/proxy/pick.h"
#include "lbd/proxy/sides.h"
#include "lbd/proxy/worker_context.h"

namespace lbd::proxy {

/// Thread: the worker's. Lifetime: the exchange's until `send`, then that of a task of the
/// worker's.
class MirrorCopy {
 public:
  using Outcome = upstream::MirrorOutcome;

  /// At most so many of a worker's at a time, and so many bytes in all of them.
  static constexpr std::size_t kCopiesMax = 1024;
  static constexpr std::size_t kBytesMax = 64 * 1024 * 1024;
  /// A longer answer ends with its connection.
  static constexpr std::uint64_t kAnswerBytesMax = 1024 * 1024;

  /// What is copied; as the target gets it.
  struct Of {
    const upstream::SnapshotMirror& mirror;
    const upstream::SnapshotGroup& group;  // that gets the copy
    const http::RequestHead& head;
    const std::vector<http::Header>& headers;
    const ClientInfo& client;
  };

  /// Null when the copy may not be: its outcome is counted.
  static std::unique_ptr<MirrorCopy> make(WorkerContext& worker, const Of& of);
  /// Sends a copy that is whole, as soon as the loop has nothing else to do.
  static void send(std::unique_ptr<MirrorCopy> copy);
  /// Calls off those under way; none may be begun after it.
  static void abort_all(WorkerContext& worker) noexcept;

  /// One that was never sent is counted as cut.
  ~MirrorCopy();
  MirrorCopy(const MirrorCopy&) = delete;
  MirrorCopy& operator=(const MirrorCopy&) = delete;

  /// The next piece of the body. False: it is too much, and the copy of no use.
  [[nodiscard]] bool add(std::string_view bytes);

 private:
  MirrorCopy(WorkerContext& worker, const Of& of);

  void copy_head(const Of& of);
  static Task<> run(std::unique_ptr<MirrorCopy> copy);
  Task<Outcome> deliver();
  Task<Outcome> deliver_to(const upstream::SnapshotGroup& group, const Choice& choice);
  Task<Result<bool>> converse(UpstreamSide& upstream);
  Task<Result<bool>> drop_answer(UpstreamSide& upstream);
  [[nodiscard]] bool is_stale(const Error& error, const UpstreamSide& upstream) const noexcept;
  [[nodiscard]] bool take_bytes(std::size_t size) noexcept;
  void count(Outcome outcome) noexcept;
  void link() noexcept;
  void unlink() noexcept;

  WorkerContext& worker_;
  std::shared_ptr<upstream::LiveGroup> group_;
  Duration timeout_;
  TimePoint due_{};
  std::uint64_t body_bytes_max_;
  std::size_t bytes_ = 0;  // of ours among the worker's
  net::SocketAddress peer_;
  net::SocketAddress local_;
  std::string text_;  // what the views of the head and its fields are of
  std::string body_;
  http::RequestHead head_;
  std::vector<http::Header> headers_;
  UpstreamSide* current_ = nullptr;  // while a target has it, or is connected to
  MirrorCopy* next_ = nullptr;       // of those that are sent
  MirrorCopy* previous_ = nullptr;
  bool linked_ = false;
  bool counted_ = false;
  bool aborted_ = false;
};

}  // namespace lbd::proxy
