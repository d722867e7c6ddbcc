#include "lbd/route/template.h"

#include <charconv>

namespace lbd::route {
namespace {

constexpr std::string_view kHex = "0123456789ABCDEF";

bool is_unreserved(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

void append_byte(char c, Encoding encoding, Buffer& out) {
  const auto byte = static_cast<unsigned char>(c);
  switch (encoding) {
    case Encoding::line:
      out.append((byte < 0x20 && c != '\t') || byte == 0x7f ? '?' : c);
      return;
    case Encoding::url: {
      const char encoded[] = {'%', kHex[byte >> 4], kHex[byte & 15]};
      out.append(is_unreserved(c) ? std::string_view(&c, 1) : std::string_view(encoded, 3));
      return;
    }
    case Encoding::html:
      if (is_unreserved(c)) return out.append(c);
      out.append("&#");
      out.append_decimal(byte);
      out.append(';');
      return;
  }
}

}  // namespace

void append_encoded(std::string_view text, Encoding encoding, Buffer& out) {
  for (const char c : text) append_byte(c, encoding, out);
}

Template::Template(std::string_view text) {
  while (!text.empty()) {
    const config::TemplatePiece piece = config::next_piece(text);
    pieces_.push_back({std::string(piece.text), piece.variable});
  }
}

void Template::append(const Variables& variables, Encoding encoding, Buffer& out) const {
  for (const Piece& piece : pieces_) {
    if (piece.variable) {
      append_encoded(variables[static_cast<std::size_t>(*piece.variable)], encoding, out);
    } else {
      out.append(piece.text);
    }
  }
}

ErrorPages::ErrorPages(const std::map<std::string, config::ErrorPage>& pages) {
  for (const auto& [key, page] : pages) {
    int status = 0;  // of "5xx": 5
    std::from_chars(key.data(), key.data() + key.size(), status);
    pages_.emplace(status, ErrorPage{page.content_type, Template(page.body)});
  }
}

const ErrorPage* ErrorPages::find(int status) const noexcept {
  auto found = pages_.find(status);
  if (found == pages_.end()) found = pages_.find(status / 100);
  return found == pages_.end() ? nullptr : &found->second;
}

}  // namespace lbd::route
