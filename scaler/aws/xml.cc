#include "scaler/aws/xml.h"

#include <pugixml.hpp>

namespace lbd::aws {
namespace {

constexpr int kDepthMax = 32;
constexpr std::size_t kNodesMax = 1'000'000;

bool copy(const pugi::xml_node& from, XmlNode& to, int depth, std::size_t& budget) {
  if (depth > kDepthMax || budget == 0) return false;
  --budget;
  const std::string_view name = from.name();
  to.name = name.substr(name.find(':') == std::string_view::npos ? 0 : name.find(':') + 1);
  for (const pugi::xml_node& child : from.children()) {
    if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) {
      to.text += child.value();
    } else if (child.type() == pugi::node_element) {
      if (!copy(child, to.children.emplace_back(), depth + 1, budget)) return false;
    }
  }
  return true;
}

}  // namespace

const XmlNode* XmlNode::find(std::string_view path) const {
  const XmlNode* node = this;
  while (!path.empty()) {
    const std::string_view step = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(step.size() + 1, path.size()));
    const XmlNode* next = nullptr;
    for (const XmlNode& child : node->children) {
      if (child.name == step && next == nullptr) next = &child;
    }
    if (next == nullptr) return nullptr;
    node = next;
  }
  return node;
}

std::string_view XmlNode::text_at(std::string_view path) const {
  const XmlNode* node = find(path);
  return node == nullptr ? std::string_view() : std::string_view(node->text);
}

std::vector<const XmlNode*> XmlNode::list_at(std::string_view path, std::string_view item) const {
  std::vector<const XmlNode*> found;
  const XmlNode* list = find(path);
  if (list == nullptr) return found;
  for (const XmlNode& child : list->children) {
    if (child.name == item) found.push_back(&child);
  }
  return found;
}

std::optional<XmlNode> parse_xml(std::string_view text) {
  pugi::xml_document document;
  const pugi::xml_parse_result parsed =
      document.load_buffer(text.data(), text.size(), pugi::parse_default, pugi::encoding_utf8);
  const pugi::xml_node root = document.document_element();
  if (!parsed || !root || root.next_sibling()) return std::nullopt;
  XmlNode made;
  std::size_t budget = kNodesMax;
  if (!copy(root, made, 0, budget)) return std::nullopt;
  return made;
}

}  // namespace lbd::aws
