// What a rule changes on the way: header fields and the URL. Compiled; without allocation but for
// what the buffers grow.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.h"
#include "lbd/base/regex.h"
#include "lbd/http/message.h"
#include "lbd/route/template.h"

namespace lbd::route {

/// Immutable; any thread.
class HeaderEdits {
 public:
  explicit HeaderEdits(const config::HeaderEdits& edits);
  [[nodiscard]] bool empty() const noexcept { return gone_.empty() && written_.empty(); }
  /// New names are views into this, new values into `text`, which is cleared first.
  void apply(const Variables& variables, Buffer& text, std::vector<http::Header>& headers) const;

 private:
  struct Written {
    std::string name;
    http::HeaderId id;
    Template value;
  };
  std::vector<std::string> gone_;  // removed, or set anew
  std::vector<Written> written_;
};

/// Views into the buffer that it was written to, or into the request.
struct Rewritten {
  std::string_view authority;
  std::string_view target;  // path and query
  std::string_view path;
  std::string_view query;
};

/// Immutable; any thread.
class Rewrite {
 public:
  explicit Rewrite(const config::Rewrite& rewrite);
  [[nodiscard]] bool empty() const noexcept { return empty_; }
  /// `text` is cleared first. What the rewrite leaves alone is as in `request`.
  [[nodiscard]] Rewritten apply(const http::RequestHead& request, const Variables& variables,
                                Buffer& text) const;

 private:
  struct Pair {
    std::string name;  // encoded
    Template value;
  };
  /// A text, or what a group has matched.
  struct Piece {
    std::string text;
    std::optional<std::size_t> group;
  };
  void write_path(std::string_view path, Buffer& text) const;
  void write_query(const http::RequestHead& request, const Variables& variables,
                   Buffer& text) const;
  [[nodiscard]] bool is_dropped(std::string_view name) const noexcept;

  bool empty_;
  Template host_;
  std::string prefix_from_;
  std::string prefix_to_;
  std::optional<Regex> expression_;
  std::vector<Piece> path_;
  std::vector<std::string> dropped_;  // parameters that are removed, or set anew
  std::vector<Pair> written_;
};

}  // namespace lbd::route
