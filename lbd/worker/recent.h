// The last requests of a worker that somebody may ask about (`lbd why`): what went wrong, was tried
// again, or was slow. Fixed memory, written by the worker alone.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "lbd/proxy/record.h"

namespace lbd::worker {

/// A record that holds its own texts; what is too long is cut and ends in "...". User agent,
/// referer, cipher, X-Amzn-Trace-Id and Location are left out: the access log has them.
class KeptRecord {
 public:
  explicit KeptRecord(const proxy::RequestRecord& record) noexcept { keep(record); }
  KeptRecord(const KeptRecord& other) noexcept { keep(other.record_); }
  KeptRecord& operator=(const KeptRecord& other) noexcept {
    if (this != &other) keep(other.record_);
    return *this;
  }
  ~KeptRecord() = default;

  void keep(const proxy::RequestRecord& record) noexcept;
  /// Its views hold until this changes or ends.
  [[nodiscard]] const proxy::RequestRecord& record() const noexcept { return record_; }

 private:
  static constexpr std::size_t kTextBytes = 1024;  // of all texts together
  proxy::RequestRecord record_;
  std::array<char, kTextBytes> text_{};
};

/// Two rings, so that a flood of the one kind does not wash away the other: requests that were
/// refused or given up for what their client did (reasons below 500), and all others. Memory comes
/// as the rings fill and stays; nothing is allocated from then on.
class Recent final : public proxy::RecordSink {
 public:
  static constexpr std::size_t kOfClientsMax = 1024;
  static constexpr std::size_t kOthersMax = 1024;

  Recent();
  void write(const proxy::RequestRecord& record) noexcept override;
  /// Newest first within each kind; at most `most` of each. `id`: only those of that request;
  /// empty: all.
  [[nodiscard]] std::vector<KeptRecord> find(std::string_view id, std::size_t most) const;

 private:
  class Ring {
   public:
    explicit Ring(std::size_t records_max);
    void push(const proxy::RequestRecord& record) noexcept;
    void find(std::string_view id, std::size_t most, std::vector<KeptRecord>& out) const;

   private:
    std::size_t max_;
    std::size_t next_ = 0;             // is written next
    std::vector<KeptRecord> records_;  // its room is taken at once, and touched as it fills
  };
  Ring of_clients_{kOfClientsMax};
  Ring others_{kOthersMax};
};

}  // namespace lbd::worker
