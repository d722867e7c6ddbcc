// How a TLS stream says that its peer ended the connection, but not the conversation.
#pragma once

#include <cerrno>

namespace lbd::net {

/// IoResult::error of a read from a target that closed without a close_notify: what it sent may
/// have been cut off by anyone on the way.
inline constexpr int kNoGoodbye = ENODATA;

}  // namespace lbd::net
