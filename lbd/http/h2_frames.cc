#include "lbd/http/h2_frames.h"

#include <algorithm>

namespace lbd::http {
namespace {

constexpr std::uint8_t kData = 0x0;
constexpr std::uint8_t kPriority = 0x2;
constexpr std::uint8_t kLastKnown = 0x9;
constexpr std::uint32_t kStreamBits = 0x7fff'ffff;

}  // namespace

std::uint32_t H2FrameScanner::number(std::size_t at, std::size_t size) const noexcept {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8 | part_[at + i];
  return value;
}

/// What was wanted of a frame is there.
void H2FrameScanner::end_of_part(Step& step) noexcept {
  const std::uint32_t length = number(0, 3);
  const auto stream = static_cast<std::int32_t>(number(5, 4) & kStreamBits);
  if (want_ == kHead && part_[3] == kPriority && length >= 4) {
    want_ = kHead + 4;
    return;
  }
  if (part_[3] == kData) step.data_of = stream;
  if (part_[3] > kLastKnown) ++step.unknown;
  if (want_ > kHead) {
    step.bad = stream == static_cast<std::int32_t>(number(kHead, 4) & kStreamBits);
  }
  skip_ = length - (want_ - kHead);
  want_ = kHead;
  have_ = 0;
}

H2FrameScanner::Step H2FrameScanner::scan(std::string_view bytes) noexcept {
  Step step;
  while (step.consumed < bytes.size() && step.data_of < 0 && !step.bad) {
    const std::string_view rest = bytes.substr(step.consumed);
    const std::size_t skipped = std::min(skip_, rest.size());
    skip_ -= skipped;
    const std::size_t taken = std::min(want_ - have_, rest.size() - skipped);
    std::copy_n(rest.begin() + static_cast<std::ptrdiff_t>(skipped), taken,
                part_.begin() + static_cast<std::ptrdiff_t>(have_));
    have_ += taken;
    step.consumed += skipped + taken;
    if (have_ == want_) end_of_part(step);
  }
  return step;
}

void H2ClosedStreams::add(std::int32_t id, Closed how) {
  if (ring_.size() < kKept) {
    ring_.push_back({id, how});
    return;
  }
  ring_[next_] = {id, how};
  next_ = (next_ + 1) % kKept;
}

H2ClosedStreams::Closed H2ClosedStreams::find(std::int32_t id) const noexcept {
  const auto found =
      std::find_if(ring_.begin(), ring_.end(), [id](const Entry& entry) { return entry.id == id; });
  return found == ring_.end() ? Closed::unknown : found->how;
}

}  // namespace lbd::http
