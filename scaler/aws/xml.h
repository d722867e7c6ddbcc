// AWS's XML answers as plain values. The only user of pugixml.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lbd::aws {

/// An element. Names carry no namespace prefix; attributes are left out: no answer we read has any
/// that matter.
struct XmlNode {
  std::string name;
  std::string text;  // of an element without children, entities resolved
  std::vector<XmlNode> children;

  /// The first descendant along a path of names, "instancesSet/item/instanceId"; null when there is
  /// none.
  [[nodiscard]] const XmlNode* find(std::string_view path) const;
  /// Its text; empty when there is none.
  [[nodiscard]] std::string_view text_at(std::string_view path) const;
  /// The children named `item` of the element at `path`: EC2's lists ("item"), the query protocol's
  /// ("member").
  [[nodiscard]] std::vector<const XmlNode*> list_at(std::string_view path,
                                                    std::string_view item = "item") const;
};

/// Nothing for what is not one well-formed element, is deeper than 32 or has more than a million
/// elements.
[[nodiscard]] std::optional<XmlNode> parse_xml(std::string_view text);

}  // namespace lbd::aws
