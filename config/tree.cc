#include "config/tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "config/interpolate.h"
#include "config/utf8.h"

namespace lbd::config {
namespace {

/// Thrown through yaml-cpp to end a parse whose reason is already among the problems.
struct Refused {};

/// The lines of a file, and places in it.
class Lines {
 public:
  Lines(std::string file, std::string_view text) : file_(std::move(file)) {
    for (std::size_t start = 0;;) {
      const auto end = text.find('\n', start);
      const auto length = end == std::string_view::npos ? end : end - start;
      lines_.push_back(text.substr(start, length));
      if (end == std::string_view::npos) break;
      start = end + 1;
    }
    if (lines_.size() > 1 && lines_.back().empty()) lines_.pop_back();
  }

  /// `line` and `column` from 0, column in bytes, as yaml-cpp counts; clamped into the file.
  [[nodiscard]] Place place(int line, int column, int width = 1) const {
    const auto last = static_cast<int>(lines_.size()) - 1;
    if (line > last) {  // yaml-cpp's end of file: the end of the last line
      line = last;
      column = static_cast<int>(lines_.back().size());
    }
    line = std::max(line, 0);
    const auto bytes = std::min(static_cast<std::size_t>(std::max(column, 0)), at(line).size());
    const auto characters = count_characters(at(line).substr(0, bytes));
    return Place{file_, line + 1, static_cast<int>(characters) + 1, width};
  }

  [[nodiscard]] std::string_view at(int line) const {
    return line >= 0 && line < count() ? lines_[static_cast<std::size_t>(line)]
                                       : std::string_view();
  }
  [[nodiscard]] int count() const { return static_cast<int>(lines_.size()); }

 private:
  std::string file_;
  std::vector<std::string_view> lines_;
};

/// Bytes of an anchor or tag ("&name ", "!tag ") in front of a value on the same line.
std::size_t properties_width(std::string_view rest) {
  std::size_t width = 0;
  while (width < rest.size() && (rest[width] == '&' || rest[width] == '!')) {
    const auto end = rest.find(' ', width);
    if (end == std::string_view::npos) break;
    const auto next = rest.find_first_not_of(' ', end);
    if (next == std::string_view::npos) break;
    width = next;
  }
  return width;
}

/// Characters from the start of a scalar as written to its end on the same line.
std::size_t scalar_width(std::string_view rest, const std::string& text) {
  if (rest.starts_with('"') || rest.starts_with('\'')) {
    const char quote = rest.front();
    std::size_t end = 1;
    while (end < rest.size() && rest[end] != quote)
      end += rest[end] == '\\' && quote == '"' ? 2 : 1;
    return count_characters(rest.substr(0, std::min(end + 1, rest.size())));
  }
  if (rest.starts_with(text)) return std::max<std::size_t>(count_characters(text), 1);
  return 1;
}

class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const TreeInput& input, const Lines& lines, std::vector<Problem>& problems)
      : input_(input), lines_(lines), problems_(problems) {}

  [[nodiscard]] ValuePtr root() const { return root_; }
  [[nodiscard]] std::optional<Place> open_flow() const {
    for (auto it = open_.rbegin(); it != open_.rend(); ++it) {
      if (it->flow) return it->value->place;
    }
    return std::nullopt;
  }

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto value = std::make_shared<Value>();
    value->place = lines_.place(mark.line, mark.column);
    add(std::move(value), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto place = lines_.place(mark.line, mark.column);
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      refuse(place, "E1012", "an alias may not be inside the value that it names");
    }
    add_value(found->second, place);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    auto value = std::make_shared<Value>();
    value->kind = ValueKind::scalar;
    value->plain = tag == "?";
    value->text = text;
    const auto line = lines_.at(mark.line);
    const auto offset = std::min(static_cast<std::size_t>(std::max(mark.column, 0)), line.size());
    const auto skipped = properties_width(line.substr(offset));
    const auto rest = line.substr(offset + skipped);
    value->place = lines_.place(mark.line, mark.column + static_cast<int>(skipped),
                                static_cast<int>(scalar_width(rest, text)));
    if (tag != "?" && tag != "!") {
      refuse_tag(value->place, tag);
      value->broken = true;
    }
    if (const auto bad = find_bad_utf8(text)) {  // by an escape such as "\e"
      problems_.push_back(
          problem_at(value->place, "E1003", describe_bad_utf8(text, *bad) + " in a text"));
      value->broken = true;
    }
    if (!expects_key() && !value->broken) substitute(*value);
    add(std::move(value), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    open(ValueKind::sequence, {mark, tag, anchor, style});
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    open(ValueKind::mapping, {mark, tag, anchor, style});
  }
  void OnMapEnd() override { close(); }

 private:
  struct Start {
    const YAML::Mark& mark;
    const std::string& tag;
    YAML::anchor_t anchor;
    YAML::EmitterStyle::value style;
  };
  struct Open {
    std::shared_ptr<Value> value;
    YAML::anchor_t anchor = 0;
    bool flow = false;
    bool has_key = false;   // mapping: a key waits for its value
    bool repeated = false;  // that key was there before: its value is dropped
    std::string key;
    Place key_place;
    std::unordered_map<std::string, int> keys;  // → the line of the first of that name
  };

  [[noreturn]] void refuse(const Place& place, std::string_view code, std::string message,
                           std::string hint = {}) {
    problems_.push_back(problem_at(place, code, std::move(message), std::move(hint)));
    throw Refused{};
  }

  void refuse_tag(const Place& place, const std::string& tag) {
    constexpr std::string_view kYamlTags = "tag:yaml.org,2002:";
    const auto shown = tag.starts_with(kYamlTags) ? "!!" + tag.substr(kYamlTags.size()) : tag;
    problems_.push_back(problem_at(place, "E1013", fmt::format("tag '{}' is not supported", shown),
                                   "remove it: types follow from the key"));
  }

  [[nodiscard]] bool expects_key() const {
    return !open_.empty() && open_.back().value->kind == ValueKind::mapping &&
           !open_.back().has_key;
  }

  void substitute(Value& value) {
    if (!wants_interpolation(value.text)) return;
    auto result = interpolate(value.text, input_.file, input_.reader);
    if (!result) {
      problems_.push_back(problem_at(value.place, "E1015", result.error().message));
      value.secret = true;
      value.broken = true;
      return;
    }
    value.text = std::move(result->text);
    value.secret = result->secret;
    value.plain = value.plain || result->secret;  // "${env:PORT}" in quotes may be a number
  }

  void open(ValueKind kind, const Start& start) {
    auto value = std::make_shared<Value>();
    value->kind = kind;
    value->place = lines_.place(start.mark.line, start.mark.column);
    if (expects_key()) {
      refuse(value->place, "E1014", "a key must be a plain word, not a list or a mapping",
             "put '${…}' or '{…}' in quotes if it is meant as text");
    }
    if (!start.tag.empty() && start.tag != "?" && start.tag != "!") {
      refuse_tag(value->place, start.tag);
    }
    if (static_cast<int>(open_.size()) >= kDepthMax) {
      refuse(value->place, "E1008", fmt::format("nested deeper than {} levels", kDepthMax));
    }
    Open next;
    next.value = std::move(value);
    next.anchor = start.anchor;
    next.flow = start.style == YAML::EmitterStyle::Flow;
    open_.push_back(std::move(next));
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    add(done.value, done.anchor);
  }

  void add(const ValuePtr& value, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = value;
    add_value(value, value->place);
  }

  /// Gives a finished value to the mapping or sequence that is open; `place` is where it is used.
  void add_value(const ValuePtr& value, const Place& place) {
    if (expects_key()) return add_key(*value, place);
    count(*value, place);
    if (open_.empty()) {
      root_ = value;
      return;
    }
    Open& parent = open_.back();
    parent.value->height = std::max(parent.value->height, value->height + 1);
    if (parent.value->kind == ValueKind::sequence) {
      parent.value->items.push_back(value);
      return;
    }
    parent.has_key = false;
    if (parent.repeated) return;
    parent.value->members.push_back({std::move(parent.key), parent.key_place, value});
  }

  void add_key(const Value& key, const Place& place) {
    Open& parent = open_.back();
    parent.has_key = true;
    parent.key_place = place;
    parent.key = key.text;
    if (key.kind != ValueKind::scalar) {
      refuse(place, "E1014", "a key must be a plain word, not " + describe(key));
    }
    if (key.plain && key.text == "<<") {
      refuse(place, "E1010", "merge keys ('<<') are not supported",
             "repeat the keys, or use an alias for a whole value");
    }
    const auto [first, fresh] = parent.keys.emplace(key.text, place.line);
    parent.repeated = !fresh;
    if (fresh) return;
    problems_.push_back(problem_at(place, "E1011", fmt::format("duplicate key '{}'", key.text),
                                   fmt::format("already given on line {}", first->second)));
  }

  void count(const Value& value, const Place& place) {
    const auto depth = static_cast<int>(open_.size()) + value.height;
    if (depth > kDepthMax + 1) {
      refuse(place, "E1008", fmt::format("nested deeper than {} levels", kDepthMax));
    }
    if (open_.empty()) return;
    auto& size = open_.back().value->size;
    size += value.size;  // both are at most kValuesMax: no overflow
    total_ += value.kind == ValueKind::scalar || value.kind == ValueKind::null ? 1 : 0;
    if (size > kValuesMax || total_ > kValuesMax) {
      refuse(place, "E1009",
             fmt::format("more than {} values in one file, aliases expanded", kValuesMax));
    }
  }

  const TreeInput& input_;
  const Lines& lines_;
  std::vector<Problem>& problems_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, ValuePtr> anchors_;
  ValuePtr root_;
  std::uint32_t total_ = 0;
};

void report_syntax(const YAML::ParserException& error, const TreeBuilder& builder,
                   const Lines& lines, std::vector<Problem>& problems) {
  constexpr std::string_view kNoBreakSpace = "\xC2\xA0";
  for (const int line : {error.mark.line, error.mark.line - 1}) {
    const auto text = lines.at(line);
    if (const auto at = text.find(kNoBreakSpace); at != std::string_view::npos) {
      problems.push_back(problem_at(lines.place(line, static_cast<int>(at)), "E1004",
                                    "this is a no-break space (U+00A0), which is part of the text",
                                    "type it again as a space"));
      return;
    }
    const auto tab = text.find_first_not_of(' ');
    if (tab == std::string_view::npos || text[tab] != '\t') continue;
    problems.push_back(problem_at(lines.place(line, static_cast<int>(tab)), "E1005",
                                  "YAML does not allow tabs for indentation", "use spaces"));
    return;
  }
  if (error.msg.starts_with("end of ") && builder.open_flow()) {
    const auto place = *builder.open_flow();
    const bool list = error.msg.find("sequence") != std::string::npos;
    const auto line = lines.at(place.line - 1);
    const auto reference = line.find("${");
    if (reference != std::string_view::npos && reference > 0 && line[reference - 1] == ' ') {
      problems.push_back(problem_at(lines.place(place.line - 1, static_cast<int>(reference), 2),
                                    "E1004", "inside '{ }' or '[ ]' a reference needs quotes",
                                    "write \"${…}\""));
      return;
    }
    problems.push_back(problem_at(place, "E1004",
                                  fmt::format("'{}' is never closed", list ? '[' : '{'),
                                  fmt::format("add '{}'", list ? ']' : '}')));
    return;
  }
  const auto place = lines.place(error.mark.line, error.mark.column);
  std::string hint;
  if (const auto flow = builder.open_flow()) {
    hint = fmt::format("opened in line {}, column {}", flow->line, flow->column);
  }
  if (error.msg == "illegal flow end") {
    problems.push_back(problem_at(place, "E1004", "this bracket does not match the last one opened",
                                  std::move(hint)));
  } else if (error.msg.starts_with("end of ")) {
    problems.push_back(problem_at(place, "E1004", "this line does not fit the lines above it",
                                  "check its indentation"));
  } else if (error.msg.starts_with("the referenced anchor is not defined")) {
    problems.push_back(problem_at(place, "E1004", "this alias has no anchor before it"));
  } else {
    problems.push_back(problem_at(place, "E1004", fmt::format("not YAML: {}", error.msg)));
  }
}

/// Position of a byte that is no UTF-8: found before yaml-cpp sees the text.
void report_bad_byte(const std::string& text, const Lines& lines, std::size_t offset,
                     std::vector<Problem>& problems) {
  const auto before = std::string_view(text).substr(0, offset);
  const auto line = static_cast<int>(std::count(before.begin(), before.end(), '\n'));
  const auto start = before.rfind('\n');
  const auto column = start == std::string_view::npos ? offset : offset - start - 1;
  problems.push_back(problem_at(lines.place(line, static_cast<int>(column)), "E1003",
                                describe_bad_utf8(text, offset) + " in the file"));
}

}  // namespace

ValuePtr parse_tree(const TreeInput& input, std::vector<Problem>& problems) {
  std::string text = input.text;
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  const Lines lines(input.file, text);
  if (const auto bad = find_bad_utf8(text)) {
    report_bad_byte(text, lines, *bad, problems);
    return nullptr;
  }
  TreeBuilder builder(input, lines, problems);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return nullptr;
    ValuePtr root = builder.root();
    TreeBuilder second(input, lines, problems);
    if (parser.HandleNextDocument(second) && second.root()) {
      problems.push_back(problem_at(second.root()->place, "E1006",
                                    "a second YAML document starts here",
                                    "one document per file; use include: for more files"));
      return nullptr;
    }
    return root;
  } catch (const Refused&) {
    return nullptr;
  } catch (const YAML::ParserException& error) {
    report_syntax(error, builder, lines, problems);
    return nullptr;
  }
}

const Member* find_member(const Value& mapping, std::string_view key) {
  for (const auto& member : mapping.members) {
    if (member.key == key) return &member;
  }
  return nullptr;
}

std::string describe(const Value& value) {
  constexpr std::size_t kShownBytesMax = 60;
  switch (value.kind) {
    case ValueKind::null:
      return "nothing";
    case ValueKind::sequence:
      return value.items.empty() ? "an empty list" : "a list";
    case ValueKind::mapping:
      return "a mapping";
    case ValueKind::scalar:
      break;
  }
  if (value.secret) return "a redacted value";
  if (value.text.empty()) return "an empty text";
  std::size_t cut = std::min(kShownBytesMax, value.text.size());
  while (cut > 0 && cut < value.text.size() && (value.text[cut] & 0xC0) == 0x80) --cut;
  std::string text = value.text.substr(0, cut);
  for (auto& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return fmt::format("'{}{}'", text, cut < value.text.size() ? "…" : "");
}

}  // namespace lbd::config
