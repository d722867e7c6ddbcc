#include "lbd/proxy/request_id.h"

#include <cstdint>

namespace lbd::proxy {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";

void write_hex(std::uint64_t number, char* at) noexcept {
  for (int i = 15; i >= 0; --i, number >>= 4) at[i] = kHex[number & 15];
}

}  // namespace

std::string_view new_id(Rng& rng, IdStorage& storage) noexcept {
  write_hex(rng.next(), storage.data());
  write_hex(rng.next(), storage.data() + 16);
  return {storage.data(), storage.size()};
}

}  // namespace lbd::proxy
