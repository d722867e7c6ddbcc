// Boost.Asio on a Loop, for libraries that need it (Beast, signals): the control loop only.
#pragma once

#include <boost/asio/io_context.hpp>

#include "lbd/net/loop.h"

namespace lbd::net {

/// The loop's io_context, made by the first call, after which it runs the loop's thread. Thread:
/// the loop's, before `Loop::run`. Lifetime: the loop's.
[[nodiscard]] boost::asio::io_context& asio_of(Loop& loop);

}  // namespace lbd::net
