// Cookies that keep clients where they are (docs/adr/0011).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "lbd/route/literals.h"

namespace lbd::upstream {

/// What a client may be kept with (the targets of a group, or the shares of a weighted forward),
/// by the token that its cookie holds. Immutable; any thread.
class StickyTokens {
 public:
  static constexpr std::uint32_t kNone = route::HashSlots::kNone;

  /// `tokens`: by what they stand for; of two that are the same the first counts.
  StickyTokens(const config::StickyCookie& settings, std::string default_name,
               std::vector<std::string> tokens);

  [[nodiscard]] const std::string& cookie() const noexcept { return cookie_; }
  /// Set with every response, so that its time begins anew.
  [[nodiscard]] bool renews() const noexcept { return renews_; }
  /// What follows the token in Set-Cookie; `Secure` is left to whoever knows the connection.
  [[nodiscard]] const std::string& attributes() const noexcept { return attributes_; }
  [[nodiscard]] std::uint32_t find(std::string_view token) const noexcept {
    return by_token_.find(token);
  }
  [[nodiscard]] const std::string& token(std::uint32_t index) const { return tokens_[index]; }

 private:
  std::string cookie_;
  std::string attributes_;
  bool renews_;
  std::vector<std::string> tokens_;
  route::Literals by_token_;
};

/// 22 characters that nobody without the key can make. `kind` and `name` together are what it
/// stands for.
[[nodiscard]] std::string sticky_token(std::string_view key, std::string_view kind,
                                       std::string_view name);

}  // namespace lbd::upstream
