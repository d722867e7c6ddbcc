#include "lbd/http/desync.h"

#include <array>

namespace lbd::http {
namespace {

struct Row {
  std::string_view name;
  DesyncClass of;
};

constexpr std::array<Row, static_cast<std::size_t>(DesyncReason::kCount)> kRows{{
    {"none", DesyncClass::compliant},
    {"zero_length_without_use", DesyncClass::acceptable},
    {"padded_length", DesyncClass::acceptable},
    {"non_ascii_header", DesyncClass::acceptable},
    {"non_compliant_uri", DesyncClass::acceptable},
    {"length_without_use", DesyncClass::ambiguous},
    {"coding_without_use", DesyncClass::ambiguous},
    {"suspicious_header", DesyncClass::ambiguous},
    {"ambiguous_uri", DesyncClass::ambiguous},
    {"host_mismatch", DesyncClass::ambiguous},
    {"connection_names_field", DesyncClass::ambiguous},
    {"suspicious_framing", DesyncClass::severe},
    {"bad_method", DesyncClass::severe},
    {"bad_version", DesyncClass::severe},
    {"bad_request_line", DesyncClass::severe},
    {"bad_uri", DesyncClass::severe},
    {"bad_line_end", DesyncClass::severe},
    {"bad_header", DesyncClass::severe},
    {"bad_host", DesyncClass::severe},
    {"bad_content_length", DesyncClass::severe},
    {"multiple_content_length", DesyncClass::severe},
    {"bad_transfer_encoding", DesyncClass::severe},
    {"both_length_and_coding", DesyncClass::severe},
    {"body_with_upgrade", DesyncClass::severe},
    {"bad_chunk", DesyncClass::severe},
    {"bad_trailer", DesyncClass::severe},
}};

constexpr std::array<std::string_view, 4> kClasses{"compliant", "acceptable", "ambiguous",
                                                   "severe"};

const Row& row(DesyncReason reason) noexcept { return kRows[static_cast<std::size_t>(reason)]; }

}  // namespace

DesyncClass desync_class(DesyncReason reason) noexcept { return row(reason).of; }
std::string_view desync_name(DesyncReason reason) noexcept { return row(reason).name; }
std::string_view desync_class_name(DesyncClass of) noexcept {
  return kClasses[static_cast<std::size_t>(of)];
}

DesyncReason worse(DesyncReason first, DesyncReason second) noexcept {
  return desync_class(second) > desync_class(first) ? second : first;
}

}  // namespace lbd::http
