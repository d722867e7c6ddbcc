#include "config/include.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <unordered_map>
#include <utility>

#include "config/interpolate.h"

namespace lbd::config {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 3> kSections{"listeners", "target_groups", "scaling_groups"};

class Assembler {
 public:
  Assembler(const FileReader& reader, std::vector<Problem>& problems)
      : reader_(reader), problems_(problems) {}

  /// `named_at` is the include entry that names the file; line 0 for the main file.
  void read(const std::string& path, const Place& named_at) {
    if (already_read(path, named_at)) return;
    if (result_.files.size() >= kFilesMax) {
      if (!full_) report(named_at, "E1016", fmt::format("more than {} files", kFilesMax));
      full_ = true;
      return;
    }
    const auto content = reader_.read(path, kFileBytesMax);
    if (!content) {
      report(named_at.line > 0 ? named_at : Place{path, 0, 0, 1}, "E1001",
             fmt::format("cannot read '{}': {}", path, content.error().message));
      return;
    }
    if (content->size() > kFileBytesMax) {
      report(Place{path, 0, 0, 1}, "E1002",
             fmt::format("larger than {} KiB", kFileBytesMax / 1024));
      return;
    }
    result_.files.push_back(path);
    result_.sources[path] = *content;
    open_.push_back(path);
    const auto before = problems_.size();
    const auto root = parse_tree({path, result_.sources[path], reader_}, problems_);
    if (root) {
      add(path, root);
    } else if (problems_.size() == before) {
      report_empty(path, named_at);
    }
    open_.pop_back();
  }

  Assembled take() {
    if (!started_) return std::move(result_);
    auto root = std::make_shared<Value>(std::move(root_));
    for (auto& member : root->members) {
      const auto section = sections_.find(member.key);
      if (section == sections_.end()) continue;
      member.value = std::make_shared<Value>(std::move(section->second));
    }
    result_.root = std::move(root);
    return std::move(result_);
  }

 private:
  void report(const Place& place, std::string_view code, std::string message,
              std::string hint = {}) {
    problems_.push_back(problem_at(place, code, std::move(message), std::move(hint)));
  }

  bool already_read(const std::string& path, const Place& named_at) {
    if (std::find(open_.begin(), open_.end(), path) != open_.end()) {
      report(named_at, "E1017", fmt::format("'{}' includes itself", path),
             fmt::format("{} → {}", fmt::join(open_, " → "), path));
      return true;
    }
    return std::find(result_.files.begin(), result_.files.end(), path) != result_.files.end();
  }

  void report_empty(const std::string& path, const Place& named_at) {
    if (named_at.line == 0) {
      report(Place{path, 1, 1, 1}, "E1007", "the file holds no configuration",
             "start with 'version: 1'");
    } else {
      problems_.push_back(
          warning_at(Place{path, 1, 1, 1}, "W1001", "the file holds no configuration"));
    }
  }

  void add(const std::string& path, const ValuePtr& root) {
    if (root->kind == ValueKind::null)
      return report_empty(path, open_.size() > 1 ? root->place : Place{});
    if (root->kind != ValueKind::mapping) {
      report(root->place, "E2002",
             fmt::format("expected a mapping such as 'version: 1', found {}", describe(*root)));
      return;
    }
    if (!started_) root_.place = root->place;
    started_ = true;
    root_.kind = ValueKind::mapping;
    for (const auto& member : root->members) add_member(member);
    if (const auto* include = find_member(*root, "include")) follow(path, *include);
  }

  void add_member(const Member& member) {
    const auto known = root_keys_.find(member.key);
    const auto* present = known == root_keys_.end() ? nullptr : &root_.members[known->second];
    const bool section =
        std::find(kSections.begin(), kSections.end(), member.key) != kSections.end() &&
        member.value->kind == ValueKind::mapping;
    if (section) {
      if (present == nullptr) add_root(member);
      return add_section(member);
    }
    if (present == nullptr) return add_root(member);
    if (member.key == "include") return;
    const bool same_version = member.key == "version" && present->value->text == member.value->text;
    if (same_version) return;
    report(member.place, "E1018",
           fmt::format("'{}' is already given in {}:{}:{}", member.key, present->place.file,
                       present->place.line, present->place.column));
  }

  void add_root(const Member& member) {
    root_keys_.emplace(member.key, root_.members.size());
    root_.members.push_back(member);
  }

  void add_section(const Member& member) {
    auto& section = sections_[member.key];
    if (section.kind == ValueKind::null) section.place = member.value->place;
    section.kind = ValueKind::mapping;
    for (const auto& entry : member.value->members) {
      auto& first = names_[member.key + "." + entry.key];
      if (first.line > 0) {
        report(entry.place, "E1018",
               fmt::format("'{}' in {} is already given in {}:{}:{}", entry.key, member.key,
                           first.file, first.line, first.column),
               "a name belongs to one file");
        continue;
      }
      first = entry.place;
      section.members.push_back(entry);
    }
  }

  void follow(const std::string& path, const Member& include) {
    const auto& value = *include.value;
    if (value.kind == ValueKind::scalar) return follow_entry(path, value);
    if (value.kind != ValueKind::sequence) {
      report(include.place, "E2002",
             fmt::format("include: expected a file or a list of files, found {}", describe(value)));
      return;
    }
    for (const auto& item : value.items) {
      if (item->kind == ValueKind::scalar) {
        follow_entry(path, *item);
      } else {
        report(item->place, "E2002",
               fmt::format("include: expected a file, found {}", describe(*item)));
      }
    }
  }

  void follow_entry(const std::string& path, const Value& entry) {
    if (entry.broken) return;
    if (entry.text.empty()) {
      report(entry.place, "E2002", "include: expected a file, found an empty text");
      return;
    }
    if (!is_glob(entry.text)) return read(beside(path, entry.text), entry.place);
    const auto found = reader_.glob(fs::path(path).parent_path().string(), entry.text);
    if (!found) {
      report(entry.place, "E1001", fmt::format("'{}': {}", entry.text, found.error().message));
      return;
    }
    if (found->paths.empty() && !found->missing.empty()) {
      problems_.push_back(warning_at(entry.place, "W1002",
                                     fmt::format("'{}' matches nothing: there is no folder '{}'",
                                                 entry.text, found->missing)));
    }
    for (const auto& each : found->paths) {
      read(each, entry.place);
      if (full_) break;
    }
  }

  const FileReader& reader_;
  std::vector<Problem>& problems_;
  Assembled result_;
  std::vector<std::string> open_;  // files on the way from the main one to this
  Value root_;
  std::unordered_map<std::string, std::size_t> root_keys_;  // → index of the member
  bool started_ = false;
  bool full_ = false;  // more than kFilesMax, which has been reported
  std::map<std::string, Value> sections_;
  std::map<std::string, Place> names_;  // "listeners.public" → where it was given first
};

}  // namespace

Assembled assemble(const std::string& path, const FileReader& reader,
                   std::vector<Problem>& problems) {
  Assembler assembler(reader, problems);
  assembler.read(path, Place{});
  return assembler.take();
}

}  // namespace lbd::config
