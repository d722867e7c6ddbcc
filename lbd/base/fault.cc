#include <array>

#include "lbd/base/check.h"
#include "lbd/base/result.h"

namespace lbd {
namespace {

struct Row {
  std::string_view name;
  std::string_view flag;
  int status;
};

constexpr std::array<Row, static_cast<std::size_t>(Fault::kCount)> kRows{{
    {"none", "-", 0},
    {"no_route", "NR", 404},
    {"no_healthy_target", "UH", 503},
    {"connect_failed", "UF", 502},
    {"connect_timeout", "UF", 504},
    {"tls_failed", "UF", 502},
    {"target_reset", "UC", 502},
    {"bad_response", "UPE", 502},
    {"target_timeout", "UT", 504},
    {"queue_full", "UO", 503},
    {"overload_shed", "OM", 503},
    {"client_gone", "DC", 499},
    {"client_protocol", "DPE", 400},
    {"client_timeout", "DT", 408},
    {"body_too_large", "DPE", 413},
    {"header_too_large", "DPE", 431},
    {"unsupported", "DPE", 501},
    {"bad_expectation", "DPE", 417},
    {"drain_deadline", "DD", 502},
    {"loop_detected", "LD", 508},
    {"tunnel_timeout", "SI", 504},
    {"access_denied", "AD", 403},
    {"rate_limited", "RL", 429},
    {"upgrade_unsupported", "UPE", 502},
    {"target_down", "-", 0},
    {"closed", "-", 0},
    {"cancelled", "-", 0},
    {"io_error", "-", 0},
}};

const Row& row(Fault fault) noexcept { return kRows[static_cast<std::size_t>(fault)]; }

}  // namespace

std::string_view fault_name(Fault fault) noexcept { return row(fault).name; }
std::string_view fault_flag(Fault fault) noexcept { return row(fault).flag; }
int fault_status(Fault fault) noexcept { return row(fault).status; }

void throw_exception_from_error(const Error& error, const boost::source_location& where) {
  bug("value() of a failed result", fault_name(error.fault), where.file_name(),
      static_cast<int>(where.line()));
}

void throw_exception_from_error(const Failure& error, const boost::source_location& where) {
  bug("value() of a failed result", error.message, where.file_name(),
      static_cast<int>(where.line()));
}

}  // namespace lbd
