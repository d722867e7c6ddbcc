#include "config/interpolate.h"

#include <fmt/format.h>

#include <filesystem>

#include "config/tree.h"
#include "config/utf8.h"

namespace lbd::config {
namespace {

Outcome<std::string> resolve(std::string_view reference, const std::string& file,
                             const FileReader& reader) {
  const auto colon = reference.find(':');
  const auto scheme = reference.substr(0, colon);
  const auto name =
      colon == std::string_view::npos ? std::string() : std::string(reference.substr(colon + 1));
  if (scheme != "env" && scheme != "file") {
    return failure(fmt::format(
        "'${{{}}}' is not a reference: write ${{env:NAME}} or ${{file:/path}}, or $${{ for a "
        "literal ${{",
        reference));
  }
  if (name.empty()) return failure(fmt::format("'${{{}}}' names nothing", reference));
  if (scheme == "env") {
    auto value = reader.environment(name);
    if (!value) return failure(fmt::format("environment variable '{}' is not set", name));
    return {boost::system::in_place_value, std::move(*value)};
  }
  auto content = reader.read(beside(file, name), kSecretBytesMax);
  if (!content) {
    return failure(fmt::format("cannot read '{}': {}", name, content.error().message));
  }
  if (content->size() > kSecretBytesMax) {
    return failure(fmt::format("'{}' is larger than {} KiB", name, kSecretBytesMax / 1024));
  }
  if (content->ends_with('\n')) content->pop_back();
  if (content->ends_with('\r')) content->pop_back();
  return {boost::system::in_place_value, std::move(*content)};
}

}  // namespace

std::string beside(const std::string& file, const std::string& path) {
  return (std::filesystem::path(file).parent_path() / path).lexically_normal().string();
}

bool wants_interpolation(std::string_view text) {
  return text.find("${") != std::string_view::npos;
}

Outcome<Interpolated> interpolate(std::string_view text, const std::string& file,
                                  const FileReader& reader) {
  Interpolated result;
  while (true) {
    const auto start = text.find("${");
    if (start == std::string_view::npos) break;
    if (start > 0 && text[start - 1] == '$') {  // $${ → ${
      result.text += text.substr(0, start - 1);
      result.text += "${";
      text.remove_prefix(start + 2);
      continue;
    }
    result.text += text.substr(0, start);
    const auto end = text.find('}', start);
    if (end == std::string_view::npos) return failure("'${' is not closed by '}'");
    auto value = resolve(text.substr(start + 2, end - start - 2), file, reader);
    if (!value) return value.error();
    if (find_bad_utf8(*value)) {
      return failure(
          fmt::format("what '{}' holds is not UTF-8 text", text.substr(start, end - start + 1)));
    }
    result.text += *value;
    result.secret = true;
    text.remove_prefix(end + 1);
  }
  result.text += text;
  return result;
}

}  // namespace lbd::config
