// The field table: for every object of the configuration its keys, and for every key how it is
// read into which member, its JSON Schema, its default and a sentence of documentation. The parser,
// the schema and the reference are all made from the same tables, so they cannot disagree.
//
// A table is built around one object, whose members it refers to: it must not outlive it. Built
// around a default object, its defaults are the documented ones.
#pragma once

#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/problem.h"
#include "config/tree.h"

namespace lbd::config {

/// A value and how it is called: `path` is "target_groups.web.port", `label` the place of its key.
struct Cursor {
  const Value& value;
  Place label;
  std::string path;
};

/// Collects the problems and the place of everything that was read, by path.
class Decoder {
 public:
  explicit Decoder(std::vector<Problem>& problems) : problems_(problems) {}
  void error(const Place& place, std::string_view code, std::string message,
             std::string hint = {}) {
    problems_.push_back(problem_at(place, code, std::move(message), std::move(hint)));
  }
  void warning(const Place& place, std::string_view code, std::string message,
               std::string hint = {}) {
    problems_.push_back(warning_at(place, code, std::move(message), std::move(hint)));
  }
  /// "target_groups.web.port: expected a whole number, found 'x'".
  void expected(const Cursor& at, std::string_view what, std::string hint = {});
  void remember(const Cursor& at);
  [[nodiscard]] const std::map<std::string, Place>& places() const { return places_; }

 private:
  std::vector<Problem>& problems_;
  std::map<std::string, Place> places_;
};

/// One kind of value, bound to where it goes.
struct Kind {
  std::function<void(Decoder&, const Cursor&)> read;
  std::function<boost::json::object()> schema;
  std::string fallback;  // the default as it would be written; empty: none
};

struct Field {
  std::string_view key;
  Kind kind;
  std::string_view doc;
  bool required = false;
};

struct Table {
  std::string_view doc;
  std::vector<Field> fields;
  std::vector<std::string_view> later;  // keys of a later version: a clear error
  /// Called after the fields of a mapping were read, for what concerns several of them.
  std::function<void(Decoder&, const Cursor&)> after = {};
  /// For the schema: exactly one of these keys must be there (empty: no such rule).
  std::vector<std::string_view> one_of = {};
};

/// Reads a mapping by its table: unknown keys, missing keys, then every field.
void decode(Decoder& decoder, const Cursor& at, const Table& table);
[[nodiscard]] boost::json::object schema_of(const Table& table);

[[nodiscard]] Origin origin_of(const Cursor& at);
/// The cursor of a key's value within a mapping; absent when the key is.
[[nodiscard]] std::optional<Cursor> member_of(const Cursor& at, std::string_view key);
[[nodiscard]] Cursor item_of(const Cursor& at, std::size_t index);
/// The text of a scalar, or an error "expected WHAT" and nothing.
[[nodiscard]] const std::string* scalar_of(Decoder& decoder, const Cursor& at,
                                           std::string_view what);
/// True for the plain words `off` or `false`.
[[nodiscard]] bool is_off(const Value& value);

template <class T>
struct Range {
  T least = 0;
  T most = std::numeric_limits<T>::max();
};

struct DurationRange {
  milliseconds least{0};
  milliseconds most{std::chrono::hours(24 * 365)};
  bool off = false;  // `off` is another way to write 0
};

// ---- kinds of one value
[[nodiscard]] Kind text(std::string& out);
/// Of a mapping whose values are all texts, as YAML writes them.
[[nodiscard]] boost::json::object text_map_schema();
[[nodiscard]] Kind required_text(std::string& out, std::string_view what);       // not empty
[[nodiscard]] Kind texts(std::vector<std::string>& out, std::string_view what);  // one or a list
[[nodiscard]] Kind text_map(std::map<std::string, std::string>& out, std::string_view what);
[[nodiscard]] Kind flag(bool& out);
[[nodiscard]] Kind whole(std::uint32_t& out, Range<std::uint32_t> range);
[[nodiscard]] Kind whole_or(std::uint32_t& out, std::string_view word_for_zero,
                            Range<std::uint32_t> range);
[[nodiscard]] Kind optional_whole(std::optional<std::uint32_t>& out);
[[nodiscard]] Kind port(std::uint16_t& out);
[[nodiscard]] Kind optional_port(std::optional<std::uint16_t>& out);
[[nodiscard]] Kind duration(milliseconds& out, DurationRange range = {});
[[nodiscard]] Kind duration(seconds& out, DurationRange range = {});
[[nodiscard]] Kind optional_duration(std::optional<milliseconds>& out, DurationRange range = {});
[[nodiscard]] Kind size(std::uint32_t& out, Range<std::uint32_t> range);
[[nodiscard]] Kind size_or_off(std::uint64_t& out);
[[nodiscard]] Kind ratio(double& out, Range<double> range);
[[nodiscard]] Kind status(int& out, Range<int> range);
[[nodiscard]] Kind addresses(std::vector<Address>& out);
[[nodiscard]] Kind networks(std::vector<Cidr>& out);
[[nodiscard]] Kind codes(std::vector<CodeRange>& out);

/// One of a few words. `later` are words of a later version, refused with that sentence; `others`
/// what other programs call it, refused with what to write instead.
struct Words {
  std::vector<std::string_view> words;
  std::vector<std::string_view> later;
  std::vector<std::pair<std::string_view, std::string_view>> others = {};
};
[[nodiscard]] Kind choice(Words words, std::size_t now, std::function<void(std::size_t)> set);
[[nodiscard]] Kind word(std::string& out, std::vector<std::string_view> words);

template <class E>
[[nodiscard]] Kind word(E& out, Words words) {
  return choice(std::move(words), static_cast<std::size_t>(out),
                [&out](std::size_t index) { out = static_cast<E>(index); });
}

// ---- kinds made of others
/// A mapping read by its own table. Built when needed, since tables nest.
[[nodiscard]] Kind object(const std::function<Table()>& table);
/// A kind whose result is looked at once more; a secret is read but not judged.
[[nodiscard]] Kind checked(Kind kind, std::function<void(Decoder&, const Cursor&)> check);
/// As `kind`, or `off`, which clears `enabled`.
[[nodiscard]] Kind or_off(bool& enabled, Kind kind);
/// A list whose elements are read one by one; `sample` describes an element for the schema.
struct ListItems {
  std::function<void(Decoder&, const Cursor&)> read;
  std::function<boost::json::object()> sample;
};
[[nodiscard]] Kind list(ListItems items);
/// A mapping of names that users choose; `read` gets the value under each name.
struct NamedItems {
  std::function<void(Decoder&, const Cursor&, const std::string&)> read;
  std::function<boost::json::object()> sample;
};
[[nodiscard]] Kind named(NamedItems items);

template <class T>
[[nodiscard]] Kind objects(std::vector<T>& out, Table (*table)(T&)) {
  return list({.read =
                   [&out, table](Decoder& decoder, const Cursor& at) {
                     T item;
                     if constexpr (requires { item.origin; }) item.origin = origin_of(at);
                     decode(decoder, at, table(item));
                     out.push_back(std::move(item));
                   },
               .sample =
                   [table] {
                     T sample;
                     return schema_of(table(sample));
                   }});
}

template <class T>
[[nodiscard]] Kind named_objects(std::map<std::string, T>& out, Table (*table)(T&)) {
  return named({.read =
                    [&out, table](Decoder& decoder, const Cursor& at, const std::string& name) {
                      T item;
                      item.name = name;
                      item.origin = origin_of(at);
                      decode(decoder, at, table(item));
                      out.insert_or_assign(name, std::move(item));
                    },
                .sample =
                    [table] {
                      T sample;
                      return schema_of(table(sample));
                    }});
}

}  // namespace lbd::config
