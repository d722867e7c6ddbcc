// Errors as values: what failed, whose fault it is, and whether doing it again is safe.
#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace lbd {

/// Why something failed. The first group are the reasons lbd answers a request itself
/// (docs/reference/reasons.md); each has a machine name, an Envoy-style short flag and an HTTP
/// status, all in fault.cc and nowhere else.
enum class Fault : std::uint8_t {
  none,
  no_route,             // no rule matched
  no_healthy_target,    // the group has no target that may be used
  connect_failed,       // the target refused or reset the connection attempt
  connect_timeout,      // no connection within the connect deadline
  tls_failed,           // the target's TLS handshake failed: certificate, name, version, not TLS
  target_reset,         // the target closed before its response was complete
  bad_response,         // the target's bytes are not an HTTP response
  target_timeout,       // no response head within the deadline, or the body stalled
  queue_full,           // every permitted slot at the targets is taken
  overload_shed,        // lbd itself is out of a resource (descriptors, local ports, memory)
  client_gone,          // the client closed before its response was complete
  client_protocol,      // the client's bytes are not an HTTP request we accept
  client_timeout,       // the client did not send its request in time
  body_too_large,       // the request body exceeds its limit
  header_too_large,     // the request head exceeds a limit
  unsupported,          // a method, version or upgrade we refuse
  bad_expectation,      // an Expect other than 100-continue
  drain_deadline,       // cut because draining reached its deadline
  loop_detected,        // the request came through this lbd too often already
  tunnel_timeout,       // a tunnel in which nothing moved for too long, or that lasted too long
  access_denied,        // the client's address may not come in here
  rate_limited,         // the request's key has no token left
  in_flight_limited,    // as many requests of its key are under way as may be
  upgrade_unsupported,  // the target speaks HTTP/2 without extended CONNECT
  // Below: what is translated before it reaches a client.
  target_down,  // taken away from a target that went down; tried elsewhere
  closed,       // end of stream
  cancelled,    // the wait was called off
  io_error,     // any other errno
  kCount,
};

/// Which side is to blame.
enum class Side : std::uint8_t { self, client, upstream };

struct Error {
  Fault fault = Fault::none;
  Side side = Side::self;
  /// True when the peer cannot have acted on what we sent, so doing it again cannot do it twice.
  bool retry_safe = false;
};

/// An error of the control plane: a sentence for an admin, with everything needed to act on it.
struct Failure {
  std::string message;
};

template <class T, class E = Error>
using Result = boost::system::result<T, E>;
template <class T>
using Outcome = boost::system::result<T, Failure>;

/// Makes a Failure. Usage: `return failure(fmt::format("cannot bind {}: {}", address, reason));`
[[nodiscard]] inline Failure failure(std::string message) { return Failure{std::move(message)}; }

/// The machine name (`connect_failed`), used in logs, metrics and `x-lbd-reason`.
[[nodiscard]] std::string_view fault_name(Fault fault) noexcept;
/// The short flag of the field (`UF`), as Envoy's RESPONSE_FLAGS; `-` when it has none.
[[nodiscard]] std::string_view fault_flag(Fault fault) noexcept;
/// The HTTP status a client gets for it, 0 when it never reaches one.
[[nodiscard]] int fault_status(Fault fault) noexcept;
/// What happened, and what to look at, in a few words of Markdown; empty for what reaches no
/// client.
[[nodiscard]] std::string_view fault_what(Fault fault) noexcept;
[[nodiscard]] std::string_view fault_look(Fault fault) noexcept;

/// Lets boost::system::result<T, Error>::value() compile; reaching it is a bug of ours, so it ends
/// the process.
[[noreturn]] void throw_exception_from_error(const Error& error,
                                             const boost::source_location& where);
[[noreturn]] void throw_exception_from_error(const Failure& error,
                                             const boost::source_location& where);

}  // namespace lbd
