#include "lbd/route/changes.h"

#include <algorithm>
#include <array>

namespace lbd::route {
namespace {

/// Where values are kept apart in a buffer; no value has one (Encoding::line).
constexpr char kEnd = '\n';

std::string url_encoded(std::string_view text) {
  BufferPool pool;
  Buffer out(pool);
  append_encoded(text, Encoding::url, out);
  return std::string(out.view());
}

/// Texts encoded, variables left as they are.
std::string query_text(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const config::TemplatePiece piece = config::next_piece(text);
    out += piece.variable ? std::string(piece.text) : url_encoded(piece.text);
  }
  return out;
}

/// What follows `from` in the path, by whole segments; nothing when it does not begin with it.
std::optional<std::string_view> after_prefix(std::string_view path,
                                             std::string_view from) noexcept {
  if (from.empty() || !path.starts_with(from)) return std::nullopt;
  const std::string_view rest = path.substr(from.size());
  const bool whole = from.ends_with('/') || rest.empty() || rest.starts_with('/');
  return whole ? std::optional(rest) : std::nullopt;
}

}  // namespace

HeaderEdits::HeaderEdits(const config::HeaderEdits& edits) : gone_(edits.remove) {
  for (const config::NamedText& each : edits.set) gone_.push_back(each.name);
  for (const auto* list : {&edits.set, &edits.add}) {
    for (const config::NamedText& each : *list) {
      written_.push_back({each.name, http::header_id(each.name), Template(each.text)});
    }
  }
}

void HeaderEdits::apply(const Variables& variables, Buffer& text,
                        std::vector<http::Header>& headers) const {
  std::erase_if(headers, [this](const http::Header& header) {
    return std::any_of(gone_.begin(), gone_.end(), [&header](const std::string& name) {
      return http::equals_ignoring_case(header.name, name);
    });
  });
  text.clear();
  for (const Written& each : written_) {
    each.value.append(variables, Encoding::line, text);
    text.append(kEnd);
  }
  std::string_view rest = text.view();
  for (const Written& each : written_) {
    const std::size_t end = rest.find(kEnd);
    headers.push_back({each.name, rest.substr(0, end), each.id});
    rest.remove_prefix(end + 1);
  }
}

Rewrite::Rewrite(const config::Rewrite& rewrite)
    : empty_(rewrite.host.empty() && rewrite.path_prefix_from.empty() &&
             rewrite.path_regex.empty() && rewrite.query_remove.empty() &&
             rewrite.query_set.empty() && rewrite.query_add.empty()),
      host_(rewrite.host),
      prefix_from_(rewrite.path_prefix_from),
      prefix_to_(rewrite.path_prefix_to),
      dropped_(rewrite.query_remove) {
  if (auto compiled = Regex::compile(rewrite.path_regex); compiled && !rewrite.path_regex.empty()) {
    expression_ = std::move(*compiled);
  }
  std::string_view to = rewrite.path_to;
  while (!to.empty()) {
    const std::size_t slash = to.find('\\');
    if (slash != 0) path_.push_back({std::string(to.substr(0, slash)), std::nullopt});
    if (slash == to.npos || slash + 1 >= to.size()) break;
    path_.push_back({"", static_cast<std::size_t>(to[slash + 1] - '0')});
    to.remove_prefix(slash + 2);
  }
  for (const config::NamedText& each : rewrite.query_set) dropped_.push_back(each.name);
  for (const auto* list : {&rewrite.query_set, &rewrite.query_add}) {
    for (const config::NamedText& each : *list) {
      written_.push_back({url_encoded(each.name), Template(query_text(each.text))});
    }
  }
}

void Rewrite::write_path(std::string_view path, Buffer& text) const {
  if (const auto rest = after_prefix(path, prefix_from_)) {
    text.append(prefix_to_);
    const bool first = prefix_to_.ends_with('/');
    const bool second = rest->starts_with('/');
    if (!first && !second && !rest->empty()) text.append('/');
    text.append(rest->substr(first && second ? 1 : 0));
    return;
  }
  std::array<std::string_view, Regex::kGroupsMax> groups;
  if (!expression_ || !path.starts_with('/') || !expression_->capture(path, groups)) {
    text.append(path);
    return;
  }
  const std::size_t start = text.size();
  for (const Piece& piece : path_) {
    const std::string_view added = piece.group ? groups[*piece.group] : piece.text;
    if (text.size() == start && !added.empty() && !added.starts_with('/')) text.append('/');
    text.append(added);
  }
  if (text.size() == start) text.append('/');
}

bool Rewrite::is_dropped(std::string_view name) const noexcept {
  return std::find(dropped_.begin(), dropped_.end(), name) != dropped_.end();
}

/// Everything after the path, with the '?'.
void Rewrite::write_query(const http::RequestHead& request, const Variables& variables,
                          Buffer& text) const {
  if (dropped_.empty() && written_.empty()) {
    if (request.target.find('?') == std::string_view::npos) return;
    text.append('?');
    text.append(request.query);
    return;
  }
  char before = '?';
  const auto begin_pair = [&] { text.append(std::exchange(before, '&')); };
  std::string_view rest = request.query;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (is_dropped(pair.substr(0, pair.find('=')))) continue;
    begin_pair();
    text.append(pair);
  }
  for (const Pair& each : written_) {
    begin_pair();
    text.append(each.name);
    text.append('=');
    each.value.append(variables, Encoding::url, text);
  }
}

Rewritten Rewrite::apply(const http::RequestHead& request, const Variables& variables,
                         Buffer& text) const {
  text.clear();
  host_.append(variables, Encoding::line, text);
  const std::size_t host_end = text.size();
  write_path(request.path, text);
  const std::size_t path_end = text.size();
  write_query(request, variables, text);
  const std::string_view all = text.view();
  Rewritten rewritten;
  rewritten.authority = host_.empty() ? request.authority : all.substr(0, host_end);
  rewritten.target = all.substr(host_end);
  rewritten.path = all.substr(host_end, path_end - host_end);
  rewritten.query = all.substr(std::min(path_end + 1, all.size()));
  return rewritten;
}

}  // namespace lbd::route
