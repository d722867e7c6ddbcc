// The rules of one listener, compiled: first match wins, at the same cost however many there are
// (docs/adr/0007). An index by host or server name, and path, gives the few rules that may match,
// in order; those are then tried whole, so that the index can only ever save work.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "lbd/route/conditions.h"
#include "lbd/route/literals.h"
#include "lbd/route/request.h"

namespace lbd::route {

/// Immutable after construction; any thread.
class Table {
 public:
  static constexpr std::size_t kNone = SIZE_MAX;

  explicit Table(const std::vector<config::Rule>& rules);

  /// The index of the first rule that matches, kNone when there is none. No allocation but what RE2
  /// does to learn a state.
  [[nodiscard]] std::size_t find(const Request& request) const noexcept;
  /// The same by trying each rule: what `find` must never differ from.
  [[nodiscard]] std::size_t find_one_by_one(const Request& request) const noexcept;
  /// Whether any rule looks at Request::source, or Request::draw.
  [[nodiscard]] bool uses_source() const noexcept { return needs_.source; }
  [[nodiscard]] bool uses_draw() const noexcept { return needs_.draw; }

  enum class Fate : std::uint8_t { lost, sometimes, matched };
  struct Verdict {
    Fate fate = Fate::lost;
    std::string reason;  // "host 'a.test' matches none of: shop.test"
  };
  /// What `find` does, rule by rule up to the first that always matches, in words. `sometimes`: it
  /// depends on the lot of a percentage.
  [[nodiscard]] std::vector<Verdict> explain(const Request& request) const;

 private:
  class Builder;
  /// A part of numbers_, ascending.
  struct Range {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };
  /// The rules for one name, or for one ending of names, or for any.
  struct Bucket {
    Range always;                              // whatever the path
    std::uint32_t by_path = HashSlots::kNone;  // into paths_; kNone: `always` has them all
  };
  struct Paths {
    Literals exact;     // numbers are places in ranges_
    Prefixes prefixes;  // likewise
  };

  /// Buckets by the request's host, or by its server name.
  struct Names {
    Literals exact{{}};    // numbers are places in buckets_
    Literals endings{{}};  // ".example.com"; likewise
    std::array<bool, 256> ending_lengths{};
  };

  void look_for(std::string_view name, const Names& names, const Facts& facts,
                std::uint32_t& best) const noexcept;
  void look_into(std::uint32_t bucket, const Facts& facts, std::uint32_t& best) const noexcept;
  void try_each(Range range, const Facts& facts, std::uint32_t& best) const noexcept;

  std::vector<Conjunction> rules_;
  Needs needs_;
  std::vector<std::uint32_t> numbers_;  // of rules
  std::vector<Range> ranges_;
  std::vector<Paths> paths_;
  std::vector<Bucket> buckets_;  // the first is for any name
  Names hosts_;
  Names server_names_;  // of rules on no host
};

}  // namespace lbd::route
