#include "lbd/proxy/request_id.h"

#include <cstdint>

namespace lbd::proxy {
namespace {

/// Two digits of each byte.
constexpr std::array<std::array<char, 2>, 256> kHex = [] {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<std::array<char, 2>, 256> table{};
  for (std::size_t i = 0; i < 256; ++i) table[i] = {kDigits[i >> 4], kDigits[i & 15]};
  return table;
}();

void write_hex(std::uint64_t number, char* at) noexcept {
  for (int i = 0; i < 8; ++i, number <<= 8) {
    const std::array<char, 2>& digits = kHex[number >> 56];
    at[2 * i] = digits[0];
    at[2 * i + 1] = digits[1];
  }
}

}  // namespace

std::string_view new_id(Rng& rng, IdStorage& storage) noexcept {
  write_hex(rng.next(), storage.data());
  write_hex(rng.next(), storage.data() + 16);
  return {storage.data(), storage.size()};
}

}  // namespace lbd::proxy
