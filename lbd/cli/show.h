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
/// All that is known of each request.
[[nodiscard]] std::string show_why(const boost::json::value& answer);
/// One line for each request, the newest last.
[[nodiscard]] std::string show_notable(const boost::json::value& answer);
[[nodiscard]] std::string show_explanation(const boost::json::value& answer);

}  // namespace lbd::cli
