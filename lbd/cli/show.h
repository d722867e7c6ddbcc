// JSON answers of the daemon as text for a terminal.
#pragma once

#include <boost/json/value.hpp>
#include <string>

namespace lbd::cli {

[[nodiscard]] std::string show_status(const boost::json::value& answer);
[[nodiscard]] std::string show_targets(const boost::json::value& answer);
[[nodiscard]] std::string show_scale_status(const boost::json::value& answer);
[[nodiscard]] std::string show_history(const boost::json::value& answer);
[[nodiscard]] std::string show_decision(const boost::json::value& answer);
[[nodiscard]] std::string show_explanation(const boost::json::value& answer);

}  // namespace lbd::cli
