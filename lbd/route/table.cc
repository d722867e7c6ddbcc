#include "lbd/route/table.h"

#include <algorithm>
#include <array>
#include <optional>

namespace lbd::route {
namespace {

using config::When;
using Texts = std::vector<std::string>;

constexpr std::size_t kHostBytesMax = 255;
/// Up to here the rules of a host are tried one by one.
constexpr std::size_t kFew = 8;
/// Hosts times paths of one rule; above it, the rule is found by its host alone.
constexpr std::size_t kPlacesMax = 10'000;

/// The host in lower case without port and without a trailing dot, in the caller's storage; empty
/// when too long.
std::string_view plain_host(std::string_view authority,
                            std::array<char, kHostBytesMax>& storage) noexcept {
  if (authority.starts_with('[')) {  // IPv6 literal: up to the bracket
    authority = authority.substr(0, authority.find(']') + 1);
  } else {
    authority = authority.substr(0, authority.rfind(':'));
  }
  if (authority.ends_with('.')) authority.remove_suffix(1);
  if (authority.size() > storage.size()) return {};
  for (std::size_t i = 0; i < authority.size(); ++i) {
    const char c = authority[i];
    storage[i] = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }
  return {storage.data(), authority.size()};
}

/// Patterns of which one must match for the conditions to hold; nothing when there are no such.
std::optional<Texts> necessary(const When& when, Texts When::*member) {
  if (!(when.*member).empty()) return when.*member;
  for (const When& part : when.all) {
    if (auto found = necessary(part, member)) return found;
  }
  if (when.any.empty()) return std::nullopt;
  Texts joined;
  for (const When& part : when.any) {
    const auto found = necessary(part, member);
    if (!found) return std::nullopt;
    joined.insert(joined.end(), found->begin(), found->end());
  }
  return joined;
}

}  // namespace

/// Sorts rules into buckets, then writes the buckets out.
class Table::Builder {
 public:
  explicit Builder(Table& table) : table_(table) {}

  void add(std::uint32_t rule, const When& when) {
    const std::optional<Texts> hosts = necessary(when, &When::hosts);
    std::optional<Texts> paths = necessary(when, &When::paths);
    if (hosts && paths && hosts->size() * paths->size() > kPlacesMax) paths.reset();
    if (hosts) return add_to(hosts_, *hosts, rule, paths);
    const std::optional<Texts> server_names = necessary(when, &When::server_names);
    if (server_names) return add_to(server_names_, *server_names, rule, paths);
    add_to(any_, rule, paths);
  }

  void write() {
    table_.buckets_.push_back(bucket_of(any_));
    table_.hosts_ = written(hosts_);
    table_.server_names_ = written(server_names_);
  }

 private:
  using Rules = std::vector<std::uint32_t>;
  struct Draft {
    Rules all;  // every rule of the bucket
    Rules always;
    std::map<std::string, Rules> exact;
    std::map<std::string, Rules> prefixes;
    std::size_t places = 0;
  };
  struct Drafts {
    std::map<std::string, Draft> exact;
    std::map<std::string, Draft> endings;
  };

  void add_to(Drafts& drafts, const Texts& names, std::uint32_t rule,
              const std::optional<Texts>& paths) {
    for (const std::string& name : names) {
      const Pattern pattern(name);
      const bool ending = pattern.kind() == Pattern::Kind::suffix &&
                          pattern.text().starts_with('.') && pattern.text().size() < 256;
      if (pattern.kind() == Pattern::Kind::exact) {
        add_to(drafts.exact[pattern.text()], rule, paths);
      } else if (ending) {
        add_to(drafts.endings[pattern.text()], rule, paths);
      } else {
        add_to(any_, rule, paths);
      }
    }
  }

  static void add_once(Rules& rules, std::uint32_t rule) {
    if (rules.empty() || rules.back() != rule) rules.push_back(rule);
  }

  static void add_to(Draft& draft, std::uint32_t rule, const std::optional<Texts>& paths) {
    add_once(draft.all, rule);
    const bool anywhere = !paths || std::any_of(paths->begin(), paths->end(), [](const auto& path) {
      return path.find_first_of("*?") <= 1;
    });
    if (anywhere) {
      add_once(draft.always, rule);
      ++draft.places;
      return;
    }
    for (const std::string& path : *paths) {
      const std::size_t wild = path.find_first_of("*?");
      add_once(wild == std::string::npos ? draft.exact[path] : draft.prefixes[path.substr(0, wild)],
               rule);
      ++draft.places;
    }
  }

  Range range_of(const Rules& rules) {
    const Range range{static_cast<std::uint32_t>(table_.numbers_.size()),
                      static_cast<std::uint32_t>(rules.size())};
    table_.numbers_.insert(table_.numbers_.end(), rules.begin(), rules.end());
    return range;
  }

  Bucket bucket_of(const Draft& draft) {
    if (draft.places <= kFew) return {range_of(draft.all), HashSlots::kNone};
    const auto places = [this](const std::map<std::string, Rules>& by_text) {
      std::vector<Numbered> numbered;
      for (const auto& [text, rules] : by_text) {
        numbered.emplace_back(text, static_cast<std::uint32_t>(table_.ranges_.size()));
        table_.ranges_.push_back(range_of(rules));
      }
      return numbered;
    };
    table_.paths_.push_back({Literals(places(draft.exact)), Prefixes(places(draft.prefixes))});
    return {range_of(draft.always), static_cast<std::uint32_t>(table_.paths_.size() - 1)};
  }

  Names written(const Drafts& drafts) {
    Names made{written(drafts.exact), written(drafts.endings), {}};
    for (const auto& [ending, draft] : drafts.endings) made.ending_lengths[ending.size()] = true;
    return made;
  }

  Literals written(const std::map<std::string, Draft>& drafts) {
    std::vector<Numbered> numbered;
    for (const auto& [text, draft] : drafts) {
      numbered.emplace_back(text, static_cast<std::uint32_t>(table_.buckets_.size()));
      table_.buckets_.push_back(bucket_of(draft));
    }
    return Literals(numbered);
  }

  Table& table_;
  Draft any_;
  Drafts hosts_;
  Drafts server_names_;
};

Table::Table(const std::vector<config::Rule>& rules) {
  Builder builder(*this);
  for (const config::Rule& rule : rules) {
    builder.add(static_cast<std::uint32_t>(rules_.size()), rule.when);
    rules_.push_back(compile(rule.when, needs_));
  }
  builder.write();
}

void Table::try_each(Range range, const Facts& facts, std::uint32_t& best) const noexcept {
  const std::uint32_t* number = numbers_.data() + range.first;
  for (std::uint32_t left = range.count; left > 0 && *number < best; --left, ++number) {
    if (holds(rules_[*number], facts)) best = *number;
  }
}

void Table::look_into(std::uint32_t number, const Facts& facts,
                      std::uint32_t& best) const noexcept {
  const Bucket& bucket = buckets_[number];
  try_each(bucket.always, facts, best);
  if (bucket.by_path == HashSlots::kNone) return;
  const Paths& paths = paths_[bucket.by_path];
  const std::uint32_t exact = paths.exact.find(facts.request.path);
  if (exact != HashSlots::kNone) try_each(ranges_[exact], facts, best);
  paths.prefixes.each_of(facts.request.path,
                         [&](std::uint32_t prefix) { try_each(ranges_[prefix], facts, best); });
}

void Table::look_for(std::string_view name, const Names& names, const Facts& facts,
                     std::uint32_t& best) const noexcept {
  const std::uint32_t exact = names.exact.find(name);
  if (exact != HashSlots::kNone) look_into(exact, facts, best);
  for (std::size_t dot = name.find('.'); dot != std::string_view::npos;
       dot = name.find('.', dot + 1)) {
    const std::size_t length = name.size() - dot;
    if (length >= names.ending_lengths.size() || !names.ending_lengths[length]) continue;
    const std::uint32_t ending = names.endings.find(name.substr(dot));
    if (ending != HashSlots::kNone) look_into(ending, facts, best);
  }
}

std::size_t Table::find(const Request& request) const noexcept {
  std::array<char, kHostBytesMax> storage{};
  const Facts facts{request, plain_host(request.authority, storage)};
  std::uint32_t best = HashSlots::kNone;
  look_for(facts.host, hosts_, facts, best);
  if (!request.server_name.empty()) look_for(request.server_name, server_names_, facts, best);
  look_into(0, facts, best);
  return best == HashSlots::kNone ? kNone : best;
}

std::size_t Table::find_one_by_one(const Request& request) const noexcept {
  std::array<char, kHostBytesMax> storage{};
  const Facts facts{request, plain_host(request.authority, storage)};
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    if (holds(rules_[i], facts)) return i;
  }
  return kNone;
}

std::vector<Table::Verdict> Table::explain(const Request& request) const {
  std::array<char, kHostBytesMax> storage{};
  Request lucky = request;
  Request unlucky = request;
  if (request.draws == Draws::by_lot) {
    lucky.draws = Draws::all_hold;
    unlucky.draws = Draws::none_holds;
  }
  const Facts best{lucky, plain_host(request.authority, storage)};
  const Facts worst{unlucky, best.host};
  std::vector<Verdict> verdicts;
  for (const Conjunction& rule : rules_) {
    const bool may = holds(rule, best);
    const bool must = holds(rule, worst);
    if (may && must) {
      verdicts.push_back({Fate::matched, "every condition holds"});
      break;
    }
    if (may || must) {
      verdicts.push_back(
          {Fate::sometimes, "every condition holds but for the lot of a percentage"});
    } else {
      verdicts.push_back({Fate::lost, why_not(rule, best)});
    }
  }
  return verdicts;
}

}  // namespace lbd::route
