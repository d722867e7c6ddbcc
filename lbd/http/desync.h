// How far a request departs from RFC 9110 and 9112 in ways that two readers could take differently
// (request smuggling, "desync"): the four classes of AWS's desync mitigation, and why.
#pragma once

#include <cstdint>
#include <string_view>

namespace lbd::http {

enum class DesyncClass : std::uint8_t {
  compliant,
  acceptable,  // departs from the RFCs, without a known danger
  ambiguous,   // servers are known to read it differently
  severe,      // an attack, or as good as one
};

/// The worst thing found in a request; docs/operations/desync.md says what each is. Those from
/// `bad_method` on are refused whatever the mode.
enum class DesyncReason : std::uint8_t {
  none,
  zero_length_without_use,
  padded_length,
  non_ascii_header,
  non_compliant_uri,
  length_without_use,
  coding_without_use,
  suspicious_header,
  ambiguous_uri,
  host_mismatch,
  connection_names_field,
  suspicious_framing,
  bad_method,
  bad_version,
  bad_request_line,
  bad_uri,
  bad_line_end,
  bad_header,
  bad_host,
  bad_content_length,
  multiple_content_length,
  bad_transfer_encoding,
  both_length_and_coding,
  body_with_upgrade,
  bad_chunk,
  bad_trailer,
  kCount,
};

[[nodiscard]] DesyncClass desync_class(DesyncReason reason) noexcept;
/// The machine name (`both_length_and_coding`), used in the access log and in metrics.
[[nodiscard]] std::string_view desync_name(DesyncReason reason) noexcept;
[[nodiscard]] std::string_view desync_class_name(DesyncClass of) noexcept;
/// The worse of two; the first when they are as bad.
[[nodiscard]] DesyncReason worse(DesyncReason first, DesyncReason second) noexcept;

}  // namespace lbd::http
