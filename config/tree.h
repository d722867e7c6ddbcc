// One YAML file as a tree in which every key and value knows its place. It is built from yaml-cpp's
// events (yaml-cpp's own tree accepts duplicate keys and forgets positions); tree.cc is the only
// file that includes yaml-cpp. Anchored values are shared, not copied, and the size of the expanded
// tree is counted as it grows, so that an alias bomb costs nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/files.h"
#include "config/problem.h"

namespace lbd::config {

inline constexpr std::size_t kFileBytesMax = 1024 * 1024;
inline constexpr std::size_t kSecretBytesMax = 64 * 1024;
inline constexpr std::uint32_t kValuesMax =
    100'000;  // per file, aliases expanded, keys not counted
inline constexpr int kDepthMax = 32;

struct Value;
using ValuePtr = std::shared_ptr<const Value>;

struct Member {
  std::string key;
  Place place;  // of the key
  ValuePtr value;
};

enum class ValueKind : std::uint8_t { null, scalar, sequence, mapping };

struct Value {
  ValueKind kind = ValueKind::null;
  bool plain = false;   // scalar without quotes: may be a number or a word of ours
  bool secret = false;  // holds something from ${env:} or ${file:}: never shown
  bool broken = false;  // its reference failed, which has been reported: decode nothing from it
  std::string text;     // scalar
  Place place;
  std::vector<ValuePtr> items;  // sequence
  std::vector<Member> members;  // mapping, in the order written; keys are unique
  std::uint32_t size = 1;       // values in it with aliases expanded, itself included
  int height = 1;               // levels in it, itself included
};

/// What a tree is built from. `text` must outlive the call only.
struct TreeInput {
  const std::string& file;
  const std::string& text;
  const FileReader& reader;  // for ${env:} and ${file:}
};

/// The root of the one document in the text. Null when the text is not usable as YAML (the reason
/// is then among the problems) or holds no value at all (then there is no problem either).
[[nodiscard]] ValuePtr parse_tree(const TreeInput& input, std::vector<Problem>& problems);

/// Null unless the mapping has the key.
[[nodiscard]] const Member* find_member(const Value& mapping, std::string_view key);

/// "a mapping", "a list", "nothing", "'abc'"; a secret's text is not shown.
[[nodiscard]] std::string describe(const Value& value);

}  // namespace lbd::config
