// The name of a request, or of a connection at layer 4, in logs and for targets.
#pragma once

#include <array>
#include <string_view>

#include "lbd/base/rng.h"

namespace lbd::proxy {

using IdStorage = std::array<char, 32>;

/// 32 hex digits, by lot; a view of `storage`.
std::string_view new_id(Rng& rng, IdStorage& storage) noexcept;

}  // namespace lbd::proxy
