#include "lbd/route/literals.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace lbd::route {
namespace {

constexpr std::uint64_t kFirst = 0x9e3779b97f4a7c15ULL;
constexpr std::uint64_t kSecond = 0xe7037ed1a0b428dbULL;

/// Both halves of a 128-bit product, folded (as in wyhash).
std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::vector<std::size_t> lengths_of(const std::vector<Numbered>& texts) {
  std::vector<std::size_t> lengths;
  lengths.reserve(texts.size());
  for (const auto& [text, number] : texts) lengths.push_back(text.size());
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

}  // namespace

std::uint64_t hash_bytes(std::uint64_t seed, std::string_view bytes) noexcept {
  std::uint64_t hash = seed ^ (bytes.size() * kFirst);
  std::uint64_t word = 0;
  while (bytes.size() >= sizeof word) {
    std::memcpy(&word, bytes.data(), sizeof word);
    hash = mix(hash ^ word, kSecond);
    bytes.remove_prefix(sizeof word);
  }
  word = 0;
  if (!bytes.empty()) std::memcpy(&word, bytes.data(), bytes.size());
  return mix(hash ^ word, kFirst);
}

HashSlots::HashSlots(std::size_t count) : slots_(std::bit_ceil(2 * count + 1)) {}

void HashSlots::add(std::uint64_t hash, std::string_view text, std::uint32_t number) {
  std::size_t at = hash & (slots_.size() - 1);
  while (slots_[at].number != kNone) at = (at + 1) & (slots_.size() - 1);
  slots_[at] = {hash, number, static_cast<std::uint32_t>(texts_.size()),
                static_cast<std::uint32_t>(text.size())};
  texts_ += text;
}

std::uint32_t HashSlots::find(std::uint64_t hash, std::string_view text) const noexcept {
  for (std::size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[at];
    if (slot.number == kNone) return kNone;
    if (slot.hash == hash && slot.length == text.size() &&
        std::memcmp(texts_.data() + slot.offset, text.data(), text.size()) == 0) {
      return slot.number;
    }
  }
}

Literals::Literals(const std::vector<Numbered>& texts) : slots_(texts.size()) {
  for (const auto& [text, number] : texts) slots_.add(hash_bytes(0, text), text, number);
}

Prefixes::Prefixes(const std::vector<Numbered>& texts)
    : lengths_(lengths_of(texts)), slots_(texts.size()) {
  for (const auto& [text, number] : texts) slots_.add(hash_of(text), text, number);
}

std::uint64_t Prefixes::hash_of(std::string_view prefix) const noexcept {
  std::uint64_t hash = 0;
  std::size_t hashed = 0;
  for (const std::size_t length : lengths_) {
    if (length > prefix.size()) break;
    hash = hash_bytes(hash, prefix.substr(hashed, length - hashed));
    hashed = length;
  }
  return hash;
}

}  // namespace lbd::route
