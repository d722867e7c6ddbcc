// `lbd explain`: which rule a request takes, why each earlier one lost, and who would answer it.
#pragma once

#include <boost/json/value.hpp>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "lbd/base/result.h"
#include "lbd/route/table.h"
#include "lbd/upstream/snapshot.h"

namespace lbd::control {

/// A request that nobody sent.
struct ExplainQuestion {
  std::string method = "GET";
  std::string scheme;
  std::string authority;
  std::string path;
  std::string query;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string source;       // the client's address as lbd would believe it; empty: not known
  std::string server_name;  // TLS SNI
  std::string listener;     // empty: each of them
};

/// From what was asked: `method`, `url`, `headers` ("Name: value", one a line), `source`, `sni` and
/// `listener`; all but the URL may be absent. With https, the server name is the URL's host if none
/// is given. Fails with a sentence for the user.
[[nodiscard]] Outcome<ExplainQuestion> explain_question(
    const std::map<std::string, std::string>& asked);

/// A target, as a row of the answer shows it.
struct ExplainTarget {
  std::string address;
  std::string zone;
  std::uint32_t weight = 1;
  std::string state;  // empty: not known, as in a file
  bool usable = true;
};
using TargetsOf = std::function<std::vector<ExplainTarget>(const std::string& group)>;

/// One listener's part of the answer: its rules up to the one that takes the request, each with
/// what became of it, and what would be done.
[[nodiscard]] boost::json::value explain(const config::Listener& listener,
                                         const route::Table& table, const ExplainQuestion& question,
                                         const TargetsOf& targets_of);

class Plane;
/// The running configuration's answer.
[[nodiscard]] Outcome<boost::json::value> explain_running(Plane& plane,
                                                          const ExplainQuestion& question);
/// That of a configuration that does not run.
[[nodiscard]] Outcome<boost::json::value> explain_file(const config::Config& config,
                                                       const ExplainQuestion& question);

}  // namespace lbd::control
