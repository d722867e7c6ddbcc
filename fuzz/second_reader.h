// A second reader of HTTP/1.1 requests, naive and strict, which shares no code with lbd's: any
// departure from the narrowest reading of RFC 9112 is an answer, not a guess.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace second {

using Fields = std::vector<std::pair<std::string, std::string>>;  // names in lower case

struct Message {
  std::string method;
  std::string target;
  std::string version;
  Fields fields;
  std::string body;
  Fields trailers;
  std::size_t size = 0;  // of the input, all of the message
};

inline std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

/// A line without its CRLF; nothing when a CR or LF stands alone, or there is no end.
inline std::optional<std::string> take_line(std::string_view text, std::size_t& at) {
  std::string line;
  while (at < text.size() && text[at] != '\r' && text[at] != '\n') line += text[at++];
  if (text.substr(at, 2) != "\r\n") return std::nullopt;
  at += 2;
  return line;
}

inline bool is_token(std::string_view text) {
  constexpr std::string_view kAll =
      "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return !text.empty() && text.find_first_not_of(kAll) == std::string_view::npos;
}

/// Up to the empty line.
inline bool take_fields(std::string_view text, std::size_t& at, Fields& out) {
  for (;;) {
    const auto line = take_line(text, at);
    if (!line) return false;
    if (line->empty()) return true;
    const std::size_t colon = line->find(':');
    if (colon == std::string::npos || !is_token(line->substr(0, colon))) return false;
    std::string value = line->substr(colon + 1);
    value.erase(0, value.find_first_not_of(" \t"));
    value.erase(value.find_last_not_of(" \t") + 1);
    for (const char c : value) {
      const auto byte = static_cast<unsigned char>(c);
      if ((byte < 0x20 && c != '\t') || byte == 0x7f) return false;
    }
    out.emplace_back(lower(line->substr(0, colon)), value);
  }
}

inline std::vector<std::string> all(const Fields& fields, std::string_view name) {
  std::vector<std::string> values;
  for (const auto& [key, value] : fields) {
    if (key == name) values.push_back(value);
  }
  return values;
}

/// Of digits only, and few enough of them.
inline unsigned long long number(std::string_view digits, unsigned base) {
  unsigned long long out = 0;
  for (const char c : digits) {
    out = out * base + static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return out;
}

inline bool take_chunks(std::string_view text, std::size_t& at, Message& out) {
  for (;;) {
    const auto line = take_line(text, at);
    if (!line) return false;
    const std::string digits = lower(line->substr(0, line->find(';')));
    if (digits.empty() || digits.size() > 15 ||
        digits.find_first_not_of("0123456789abcdef") != std::string::npos) {
      return false;
    }
    const unsigned long long size = number(digits, 16);
    if (size == 0) return take_fields(text, at, out.trailers);
    if (size > text.size() - at || text.substr(at + size, 2) != "\r\n") return false;
    out.body += text.substr(at, size);
    at += size + 2;
  }
}

/// The one message that `text` begins with, or nothing when it begins with none that everyone would
/// read alike.
inline std::optional<Message> read(std::string_view text) {
  Message out;
  std::size_t at = 0;
  const auto first = take_line(text, at);
  if (!first) return std::nullopt;
  const std::size_t one = first->find(' ');
  const std::size_t two = one == std::string::npos ? one : first->find(' ', one + 1);
  if (two == std::string::npos) return std::nullopt;
  out.method = first->substr(0, one);
  out.target = first->substr(one + 1, two - one - 1);
  out.version = first->substr(two + 1);
  if (!is_token(out.method) || out.target.empty()) return std::nullopt;
  if (out.version != "HTTP/1.1" && out.version != "HTTP/1.0") return std::nullopt;
  if (!take_fields(text, at, out.fields)) return std::nullopt;
  const auto lengths = all(out.fields, "content-length");
  const auto codings = all(out.fields, "transfer-encoding");
  if (all(out.fields, "host").size() > 1 || lengths.size() + codings.size() > 1)
    return std::nullopt;
  if (!codings.empty()) {
    if (lower(codings[0]) != "chunked" || !take_chunks(text, at, out)) return std::nullopt;
  } else if (!lengths.empty()) {
    const std::string& digits = lengths[0];
    if (digits.empty() || digits.size() > 18 ||
        digits.find_first_not_of("0123456789") != std::string::npos) {
      return std::nullopt;
    }
    const unsigned long long size = number(digits, 10);
    if (size > text.size() - at) return std::nullopt;
    out.body = text.substr(at, size);
    at += size;
  }
  out.size = at;
  return out;
}

}  // namespace second
