#include "lbd/worker/recent.h"

#include <algorithm>
#include <cstring>

namespace lbd::worker {
namespace {

using proxy::AttemptRecord;
using proxy::RequestRecord;

constexpr std::size_t kIdBytesMax = 128;  // as long as any id is: ids are never cut
constexpr std::size_t kNameBytesMax = 64;
constexpr std::size_t kAddressBytesMax = 108;  // a Unix socket's
constexpr std::size_t kLongBytesMax = 320;
constexpr std::string_view kCut = "...";
static_assert(sizeof(KeptRecord) * (Recent::kOfClientsMax + Recent::kOthersMax) <= 4 << 20,
              "docs/operations/why.md says what it takes");

struct Text {
  std::string_view RequestRecord::*member;
  std::size_t bytes_max;
};
/// In the order in which they get room; the request-target comes after the attempts.
constexpr std::array<Text, 12> kTexts{{
    {&RequestRecord::id, kIdBytesMax},
    {&RequestRecord::client_ip, kNameBytesMax},
    {&RequestRecord::method, 32},
    {&RequestRecord::listener, kNameBytesMax},
    {&RequestRecord::rule, kNameBytesMax},
    {&RequestRecord::group, kNameBytesMax},
    {&RequestRecord::zone, 32},
    {&RequestRecord::trace_id, 32},
    {&RequestRecord::tls_version, 16},
    {&RequestRecord::authority, kIdBytesMax},
    {&RequestRecord::server_name, kNameBytesMax},
    {&RequestRecord::target, kLongBytesMax},
}};

/// Fills storage with texts, one behind the other.
class Packing {
 public:
  explicit Packing(std::array<char, 1024>& storage) noexcept
      : at_(storage.data()), end_(storage.data() + storage.size()) {}

  [[nodiscard]] std::string_view put(std::string_view text, std::size_t bytes_max) noexcept {
    const std::size_t room = std::min(bytes_max, static_cast<std::size_t>(end_ - at_));
    const std::size_t size = std::min(text.size(), room);
    char* start = at_;
    if (size > 0) std::memcpy(start, text.data(), size);
    if (size < text.size() && size >= kCut.size()) {
      std::memcpy(start + size - kCut.size(), kCut.data(), kCut.size());
    }
    at_ += size;
    return {start, size};
  }

 private:
  char* at_;
  char* end_;
};

}  // namespace

/// `record` has its texts elsewhere than here.
void KeptRecord::keep(const RequestRecord& record) noexcept {
  record_ = record;
  record_.user_agent = record_.referer = record_.tls_cipher = record_.amzn_trace_id =
      record_.redirect_url = {};
  Packing packing(text_);
  for (const Text& each : kTexts) {
    if (each.member == &RequestRecord::target) {
      for (AttemptRecord& attempt : record_.attempts) {
        attempt.target = packing.put(attempt.target, kAddressBytesMax);
        attempt.zone = packing.put(attempt.zone, 32);
      }
    }
    record_.*each.member = packing.put(record_.*each.member, each.bytes_max);
  }
}

Recent::Ring::Ring(std::size_t records_max) : max_(records_max) { records_.reserve(records_max); }

void Recent::Ring::push(const RequestRecord& record) noexcept {
  if (records_.size() < max_) {
    records_.emplace_back(record);
  } else {
    records_[next_].keep(record);
  }
  next_ = (next_ + 1) % max_;
}

void Recent::Ring::find(std::string_view id, std::size_t most, std::vector<KeptRecord>& out) const {
  std::size_t found = 0;
  for (std::size_t back = 1; back <= records_.size() && found < most; ++back) {
    const KeptRecord& each = records_[(next_ + max_ - back) % max_];
    if (!id.empty() && each.record().id != id) continue;
    out.push_back(each);
    ++found;
  }
}

Recent::Recent() = default;

void Recent::write(const RequestRecord& record) noexcept {
  const bool of_client = record.reason != Fault::none && fault_status(record.reason) < 500;
  (of_client ? of_clients_ : others_).push(record);
}

std::vector<KeptRecord> Recent::find(std::string_view id, std::size_t most) const {
  std::vector<KeptRecord> found;
  of_clients_.find(id, most, found);
  others_.find(id, most, found);
  return found;
}

}  // namespace lbd::worker
