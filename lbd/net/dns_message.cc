#include "lbd/net/dns_message.h"

#include <algorithm>

namespace lbd::net {
namespace {

constexpr std::size_t kHeaderBytes = 12;
constexpr std::size_t kNameBytesMax = 255;
constexpr std::uint16_t kTypeSrv = 33;
constexpr std::uint16_t kClassInternet = 1;

bool fits_host_name(std::uint8_t c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

/// Walks over a message. `good` is false once it has run over its end.
class Walker {
 public:
  explicit Walker(std::span<const std::uint8_t> message) noexcept : message_(message) {}

  [[nodiscard]] bool good() const noexcept { return good_; }
  [[nodiscard]] std::size_t at() const noexcept { return at_; }
  void go_to(std::size_t at) noexcept {
    good_ = good_ && at <= message_.size();
    at_ = at;
  }
  std::uint8_t byte() noexcept {
    if (at_ >= message_.size()) good_ = false;
    return good_ ? message_[at_++] : std::uint8_t{0};
  }
  std::uint16_t two() noexcept {
    const int high = byte();
    return static_cast<std::uint16_t>(high << 8 | byte());
  }
  std::uint32_t four() noexcept {
    const std::uint32_t high = two();
    return high << 16 | two();
  }

  /// Stands behind the name then. With `text`: in lower case, empty when it is no host's.
  void name(std::string* text) {
    odd_ = false;
    std::size_t limit = at_;  // pointers lead back, each further than the one before
    std::size_t after = 0;
    std::size_t length = 0;
    while (good_) {
      const std::uint8_t size = byte();
      if (size == 0) break;
      if ((size & 0xc0) == 0xc0) {
        const std::size_t target = static_cast<std::size_t>(size & 0x3f) << 8 | byte();
        if (after == 0) after = at_;
        good_ = good_ && target < limit;
        limit = at_ = target;
        continue;
      }
      length += size + 1U;
      good_ = good_ && (size & 0xc0) == 0 && length <= kNameBytesMax;
      label(size, text);
    }
    if (after != 0) at_ = after;
    if (text != nullptr && odd_) text->clear();
  }

 private:
  void label(std::size_t size, std::string* text) {
    if (text != nullptr && !text->empty()) text->push_back('.');
    for (std::size_t i = 0; i < size && good_; ++i) {
      const std::uint8_t c = byte();
      if (text == nullptr) continue;
      odd_ = odd_ || !fits_host_name(c);
      text->push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c));
    }
  }

  std::span<const std::uint8_t> message_;
  std::size_t at_ = 0;
  bool good_ = true;
  bool odd_ = false;  // the name has a byte that no host's has
};

}  // namespace

std::optional<DnsServiceRecords> read_services(std::span<const std::uint8_t> message) {
  Walker walker(message);
  walker.go_to(4);
  const std::uint16_t questions = walker.two();
  const std::uint16_t answers = walker.two();
  walker.go_to(kHeaderBytes);
  for (std::uint16_t i = 0; i < questions && walker.good(); ++i) {
    walker.name(nullptr);
    walker.four();  // type and class
  }
  DnsServiceRecords records;
  records.ttl_seconds = UINT32_MAX;
  for (std::uint16_t i = 0; i < answers && walker.good(); ++i) {
    walker.name(nullptr);
    const std::uint16_t type = walker.two();
    const std::uint16_t of_class = walker.two();
    const std::uint32_t ttl = walker.four();
    const std::uint16_t size = walker.two();
    const std::size_t end = walker.at() + size;
    if (type == kTypeSrv && of_class == kClassInternet) {
      DnsService service;
      service.priority = walker.two();
      service.weight = walker.two();
      service.port = walker.two();
      walker.name(&service.host);
      if (walker.at() != end) return std::nullopt;
      if (!service.host.empty()) records.services.push_back(std::move(service));
    }
    // RFC 2181 §8: with its highest bit set it is 0.
    records.ttl_seconds = std::min(records.ttl_seconds, ttl > INT32_MAX ? 0U : ttl);
    walker.go_to(end);
  }
  if (!walker.good()) return std::nullopt;
  if (answers == 0) records.ttl_seconds = 0;
  return records;
}

}  // namespace lbd::net
