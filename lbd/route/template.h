// Texts with variables: `X-Client: #{client_ip}`.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/variables.h"
#include "lbd/base/buffer.h"

namespace lbd::route {

/// By config::Variable. Views; what a request has none of is empty.
using Variables = std::array<std::string_view, config::kVariables>;

/// What becomes of bytes of variables that could mean something where they are put.
enum class Encoding : std::uint8_t {
  line,  // control characters become '?'
  url,   // all but unreserved characters (RFC 3986 §2.3) are percent-encoded
  html,  // all but those become character references
};

void append_encoded(std::string_view text, Encoding encoding, Buffer& out);

/// Immutable; any thread.
class Template {
 public:
  explicit Template(std::string_view text);
  void append(const Variables& variables, Encoding encoding, Buffer& out) const;
  [[nodiscard]] bool empty() const noexcept { return pieces_.empty(); }

 private:
  struct Piece {
    std::string text;
    std::optional<config::Variable> variable;
  };
  std::vector<Piece> pieces_;
};

struct ErrorPage {
  std::string content_type;
  Template body;
};

/// A listener's pages. Immutable; any thread.
class ErrorPages {
 public:
  explicit ErrorPages(const std::map<std::string, config::ErrorPage>& pages);
  /// That of the status itself, else of its class, else null.
  [[nodiscard]] const ErrorPage* find(int status) const noexcept;

 private:
  std::map<int, ErrorPage> pages_;  // by status; 4 and 5 are classes
};

}  // namespace lbd::route
