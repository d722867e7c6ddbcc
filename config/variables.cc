#include "config/variables.h"

#include <algorithm>

namespace lbd::config {
namespace {

std::optional<Variable> variable_of(std::string_view name) noexcept {
  const auto found = std::find(kVariableNames.begin(), kVariableNames.end(), name);
  if (found == kVariableNames.end()) return std::nullopt;
  return static_cast<Variable>(found - kVariableNames.begin());
}

}  // namespace

TemplatePiece next_piece(std::string_view& rest) noexcept {
  std::size_t end = rest.find("#{");
  if (end == 0) {
    const std::size_t close = rest.find('}');
    const auto variable =
        close == rest.npos ? std::nullopt : variable_of(rest.substr(2, close - 2));
    if (variable) {
      const std::string_view text = rest.substr(0, close + 1);
      rest.remove_prefix(text.size());
      return {text, variable};
    }
    end = rest.find("#{", 2);
  }
  const std::string_view text = rest.substr(0, end);
  rest.remove_prefix(text.size());
  return {text, std::nullopt};
}

}  // namespace lbd::config
