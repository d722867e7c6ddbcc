// Memory for short-lived objects (coroutine frames, a library's own), recycled per thread in
// classes of 32 bytes up to 4 KiB: in steady state nothing goes back to the heap. Plain heap under
// AddressSanitizer, so that it sees every use after free.
#pragma once

#include <cstddef>

namespace lbd {

/// Throws std::bad_alloc.
[[nodiscard]] void* take_recycled(std::size_t size);
/// On the thread that took it; `size` as then.
void give_recycled(void* block, std::size_t size) noexcept;

}  // namespace lbd
