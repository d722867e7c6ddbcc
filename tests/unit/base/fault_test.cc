#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

#include "lbd/base/result.h"

namespace lbd {
namespace {

using Row = std::array<std::string, 4>;  // flag, status, what happened, what to look at

/// The table of docs/reference/reasons.md.
std::map<std::string, Row> documented() {
  std::ifstream file(LBD_SOURCE_DIR "/docs/reference/reasons.md");
  static const std::regex row(R"re(^\| `(\w+)` \| (\w+) \| (\d+) \| (.*) \| (.*) \|$)re");
  std::map<std::string, Row> rows;
  for (std::string line; std::getline(file, line);) {
    std::smatch found;
    if (std::regex_match(line, found, row))
      rows[found[1]] = {found[2], found[3], found[4], found[5]};
  }
  return rows;
}

// `lbd why` says what the reference says.
TEST(Fault, EveryReasonIsExplainedAsTheReferenceDoes) {
  std::map<std::string, Row> made;
  for (std::size_t i = 0; i < static_cast<std::size_t>(Fault::kCount); ++i) {
    const auto fault = static_cast<Fault>(i);
    if (fault_status(fault) == 0) continue;
    made[std::string(fault_name(fault))] = {
        std::string(fault_flag(fault)), std::to_string(fault_status(fault)),
        std::string(fault_what(fault)), std::string(fault_look(fault))};
  }
  EXPECT_GT(made.size(), 20u);
  EXPECT_EQ(made, documented());
}

}  // namespace
}  // namespace lbd
